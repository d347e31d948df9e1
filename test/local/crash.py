"""Ends programs of a node at their n-th change of a persistent database, and takes back what a power cut may take back (crash_at.c)."""

import mmap
import os
import struct
import uuid

from support import TOP

PIDS = 128
CONTROL = struct.Struct(f"=qqqqii{PIDS}i32s")
UNDO = struct.Struct("=IIQQQQQ")
KILL, POWER = 0, 1
WRITE, SYNC, CREATE, UNLINK, RENAME = range(1, 6)
SECTOR = 512


class Crasher:
    """The control file of one node."""

    def __init__(self, directory, pnn, build):
        self.pnn, self.path = pnn, os.path.join(directory, f"crash.{pnn}")
        self.boot_id = f"{self.path}.boot"
        self._library = os.path.join(TOP, build, "test", "local", "crash_at.so")
        with open(self.path, "wb") as f:
            f.write(bytes(CONTROL.size))
        with open(self.path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), CONTROL.size)
        self._new_boot()

    def env(self):
        assert os.path.exists(self._library), f"{self._library} is missing: run make first"
        return {"LD_PRELOAD": self._library, "CTDB_TEST_CRASH": self.path, "CTDB_TEST_BOOT_ID": self.boot_id, "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def _new_boot(self):
        with open(self.boot_id, "w", encoding="ascii") as f:
            f.write(f"{uuid.uuid4()}\n")

    def arm(self, n, program="", how=KILL, node=None, then=0):
        """program: whose changes count, all of dbd's family if empty. node: that stands still at the n-th, with POWER. then: another crash so many changes later."""
        pids = [p.pid for p in node.processes() if p.pid != node.process.pid][:PIDS] if node else []
        with open(f"{self.path}.undo", "wb"):
            pass  # what is there now is on the disk
        packed = CONTROL.pack(0, 0, 0, then, how, len(pids), *(pids + [0] * (PIDS - len(pids))), program.encode())
        self._map[8:] = packed[8:]
        self._map[:8] = struct.pack("=q", n)

    def disarm(self):
        """(changes that were seen, crashes)"""
        self._map[:8] = bytes(8)
        return self.seen(), self.crashes()

    def seen(self):
        return struct.unpack("=q", self._map[8:16])[0]

    def crashes(self):
        return struct.unpack("=q", self._map[16:24])[0]

    def power_cut(self, cluster, chance):
        """The node is off; what was not synced is there or not, as chance (random.Random) will have it. What was taken back."""
        node = cluster.node(self.pnn)
        node.destroy()
        story = self._take_back(node.file("var", "persistent"), chance)
        self.disarm()
        self._new_boot()
        return story

    # What a power cut takes back.

    def _entries(self):
        with open(f"{self.path}.undo", "rb") as f:
            data = f.read()
        at = 0
        while at + UNDO.size <= len(data):
            kind, length, ino, off, len_, size, saved = UNDO.unpack_from(data, at)
            yield at, kind, ino, off, len_, size, saved, data[at + UNDO.size:at + UNDO.size + length]
            at += UNDO.size + length

    def _take_back(self, directory, chance):
        entries = list(self._entries())
        story = self._take_back_names([e for e in entries if e[1] in (CREATE, UNLINK, RENAME)], self._synced(entries, None), chance)
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            ino = os.stat(path).st_ino
            synced = self._synced(entries, ino)
            story += _take_back_contents(path, [e for e in entries if e[1] == WRITE and e[2] == ino and e[0] >= synced], chance)
        for name in os.listdir(os.path.dirname(directory)):
            if name.startswith("saved."):
                os.unlink(os.path.join(os.path.dirname(directory), name))
        return story

    @staticmethod
    def _synced(entries, ino):
        """Up to where in the undo file all is on the disk; ino None: names."""
        return max((e[3] for e in entries if e[1] == SYNC and (e[4] == 1 if ino is None else e[2] == ino)), default=0)

    @staticmethod
    def _take_back_names(changes, synced, chance):
        """File systems keep the order of changes in a directory: all behind one of them never were."""
        changes = [c for c in changes if c[0] >= synced]
        keep = chance.randint(0, len(changes))
        story = []
        for _, kind, _, _, _, _, saved, names in reversed(changes[keep:]):
            path, _, new = names.decode().partition("\0")
            story.append(f"{ {CREATE: 'create', UNLINK: 'unlink', RENAME: 'rename'}[kind] } {os.path.basename(path)}")
            kept = os.path.join(os.path.dirname(path), "..", f"saved.{saved}")
            if kind == CREATE and os.path.exists(path):
                os.unlink(path)
            elif kind == RENAME and os.path.exists(new):
                os.rename(new, path)
            if kind != CREATE and saved:
                os.rename(kept, new or path)
        return story


def _take_back_contents(path, writes, chance):
    """Each sector that was not synced: as before or as now."""
    if not writes:
        return []
    with open(path, "rb") as f:
        now = f.read()
    before = bytearray(now)
    for _, _, _, off, length, size, _, old in reversed(writes):
        before[off:off + length] = old
        del before[size:]
        before.extend(bytes(size - len(before)))
    size = chance.choice([len(now), writes[0][5]])
    now, before = now[:size].ljust(size, b"\0"), bytes(before[:size]).ljust(size, b"\0")
    mixed, mood = bytearray(now), chance.choice([0, 0.1, 0.5, 0.9, 1])
    lost = 0
    for at in range(0, size, SECTOR):
        if now[at:at + SECTOR] != before[at:at + SECTOR] and chance.random() < mood:
            mixed[at:at + SECTOR] = before[at:at + SECTOR]
            lost += 1
    with open(path, "wb") as f:
        f.write(mixed)
    return [f"{lost} sectors of {os.path.basename(path)}"] if lost or size != len(now) else []
