"""Read-only copies of records (delegations): three nodes, clients of the classic socket that look into their files themselves."""

import ctypes
import ctypes.util
import os
import struct
import threading
import time

import pytest
from classic import FETCH, FETCH_WITH_HEADER, HEADER, NULL, Client
from support import PATIENCE, wait_until

MIGRATE, WANT_READONLY = 1, 4
DELEGATIONS, READONLY, RO_FLAGS, MIGRATED = 0x01000000, 0x02000000, 0x0F000000, 0x00010000
SET_READONLY, SET_STICKY, GET_DBMAP, DB_STATISTICS, STATISTICS_RESET, SET_TUNABLE, DB_READONLY, DB_STICKY = 129, 133, 9, 132, 17, 48, 2, 4


class Data(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p), ("n", ctypes.c_size_t)]


def data(b):
    buffer = ctypes.create_string_buffer(b, len(b) or 1)
    made = Data(ctypes.addressof(buffer), len(b))
    made.buffer = buffer
    return made


class File:
    """The node's file as Samba uses it: chain locks, header in front of the value."""

    lib = ctypes.CDLL(ctypes.util.find_library("tdb") or "libtdb.so.1")
    libc = ctypes.CDLL(None)
    lib.tdb_open.restype = ctypes.c_void_p
    lib.tdb_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint]
    lib.tdb_fetch.restype = Data
    lib.tdb_fetch.argtypes = [ctypes.c_void_p, Data]
    lib.tdb_store.argtypes = [ctypes.c_void_p, Data, Data, ctypes.c_int]
    for name in ("tdb_chainlock", "tdb_chainunlock"):
        getattr(lib, name).argtypes = [ctypes.c_void_p, Data]
    lib.tdb_close.argtypes = [ctypes.c_void_p]
    libc.free.argtypes = [ctypes.c_void_p]

    def __init__(self, client, db):
        path = client.good(4, struct.pack("=I", db)).rstrip(b"\0")
        flags = struct.unpack("=i", client.good(149, struct.pack("=I", db)))[0]
        self.tdb = self.lib.tdb_open(path, 0, flags, os.O_RDWR, 0)
        assert self.tdb, path

    def close(self):
        self.lib.tdb_close(self.tdb)

    def get(self, key):
        """(rsn, dmaster, flags, value), None if there is no record."""
        d = self.lib.tdb_fetch(self.tdb, data(key))
        if not d.p:
            return None
        raw = ctypes.string_at(d.p, d.n)
        self.libc.free(d.p)
        rsn, dmaster, _, flags, _ = HEADER.unpack_from(raw)
        return rsn, dmaster, flags, raw[24:]

    def lock(self, key):
        assert self.lib.tdb_chainlock(self.tdb, data(key)) == 0

    def unlock(self, key):
        assert self.lib.tdb_chainunlock(self.tdb, data(key)) == 0

    def put(self, key, header, value):
        raw = HEADER.pack(header[0], header[1], 0, header[2], 0) + value
        assert self.lib.tdb_store(self.tdb, data(key), data(raw), 1) == 0


class Node:
    """A process of a node with the database open."""

    def __init__(self, cluster, pnn, name, readonly=True):
        self.pnn = pnn
        self.client = Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)
        self.db = self.client.attach(name)
        if readonly:
            assert self.client.control(SET_READONLY, struct.pack("=I", self.db))[0] == 0
        self.file = File(self.client, self.db)

    def close(self):
        self.file.close()
        self.client.__exit__()

    def write(self, key, value):
        """What Samba does: lock, look, ask, again."""
        while True:
            self.file.lock(key)
            have = self.file.get(key)
            if have and have[1] == self.pnn and not have[2] & DELEGATIONS:
                self.file.put(key, have, value)
                self.file.unlock(key)
                return
            self.file.unlock(key)
            self.client.call(self.db, key, NULL, MIGRATE)

    def read(self, key):
        """From the file if the copy there is usable, else a read-only copy is asked for. (from the file?, value)"""
        have = self.file.get(key)
        if have and (have[1] == self.pnn or have[2] & READONLY):
            return True, have[3]
        raw = self.client.call(self.db, key, FETCH_WITH_HEADER, WANT_READONLY)
        rsn, dmaster, _, flags, _ = HEADER.unpack_from(raw)
        assert dmaster == self.pnn or flags & READONLY
        return False, raw[24:]

    def statistics(self):
        """(read-only copies given, called back, {key: count} of hot keys, requests that came straight, that were sent on)"""
        raw = self.client.good(DB_STATISTICS, struct.pack("=I", self.db))
        hot, at = {}, 464
        for i in range(struct.unpack_from("=I", raw, 216)[0]):
            count, length = struct.unpack_from("=I12xQ", raw, 224 + 24 * i)
            if count:
                hot[raw[at:at + length]] = count
            at += length
        assert at == len(raw)
        return *struct.unpack_from("=II", raw, 144), hot, *struct.unpack_from("=II", raw, 152)

    def flags(self):
        dbs = self.client.good(GET_DBMAP)
        return dict(struct.unpack_from("=II", dbs, 4 + 8 * i) for i in range(struct.unpack_from("=I", dbs)[0]))[self.db]


@pytest.fixture
def nodes(cluster, request):
    made = [Node(cluster, pnn, request.node.name + ".tdb") for pnn in range(3)]
    yield made
    for n in made:
        n.close()


def owner_of(nodes, key):
    return [n for n in nodes if (n.file.get(key) or (0, None))[1] == n.pnn]


def test_copies_and_revocation(nodes):
    """Headers as clients know them: N before, N + 3 lent, N + 1 the copy, N + 2 the copy that was revoked."""
    a, b, c = nodes
    a.write(b"key", b"one")
    n = a.file.get(b"key")[0]
    assert b.read(b"key") == (False, b"one")
    assert a.file.get(b"key")[:3] == (n + 3, 0, DELEGATIONS | MIGRATED)
    assert b.file.get(b"key") == (n + 1, 0, READONLY | MIGRATED, b"one")
    assert b.read(b"key") == (True, b"one")
    assert c.read(b"key") == (False, b"one") and c.read(b"key") == (True, b"one")
    assert a.file.get(b"key")[0] == n + 3
    assert a.read(b"key") == (True, b"one")
    a.write(b"key", b"two")
    assert a.file.get(b"key")[1:] == (0, MIGRATED, b"two")
    for reader in (b, c):
        assert reader.file.get(b"key") == (n + 2, 0, MIGRATED, b"one")
        assert reader.read(b"key") == (False, b"two")


def test_forms_of_the_call(nodes):
    """FETCH brings the data, NULL with the wish for a copy the header too; without the wish the record itself comes."""
    a, b, _ = nodes
    a.write(b"key", b"value")
    assert b.client.call(b.db, b"key", FETCH, WANT_READONLY) == b"value"
    raw = b.client.call(b.db, b"key", NULL, MIGRATE | WANT_READONLY)
    assert HEADER.unpack_from(raw)[3] & READONLY and raw[24:] == b"value"
    assert b.client.call(b.db, b"key", FETCH, 0) == b"value"
    assert b.file.get(b"key")[1:3] == (1, MIGRATED)
    assert a.file.get(b"key")[1] == 1 and not a.file.get(b"key")[2] & RO_FLAGS


def test_record_moves_to_another_writer(nodes):
    """The next data master gets the record when no copy is left, and readers find it there."""
    a, b, c = nodes
    a.write(b"key", b"one")
    for reader in (b, c):
        assert reader.read(b"key")[1] == b"one"
    c.write(b"key", b"two")
    assert [n.pnn for n in owner_of(nodes, b"key")] == [2]
    assert not any(n.file.get(b"key")[2] & RO_FLAGS for n in nodes)
    for reader in (a, b):
        assert reader.read(b"key") == (False, b"two")
        assert reader.read(b"key") == (True, b"two")
    assert c.file.get(b"key")[2] & DELEGATIONS


def test_missing_record(nodes):
    a, b, c = nodes
    assert [n.read(b"none")[1] for n in nodes] == [b""] * 3
    b.write(b"none", b"there")
    assert [n.read(b"none")[1] for n in nodes] == [b"there"] * 3


def test_holder_busy(nodes):
    """A process that reads under the chain lock is waited for: the writer gets the record after it."""
    a, b, _ = nodes
    a.write(b"key", b"one")
    b.read(b"key")
    b.file.lock(b"key")
    reqid = a.client.call_send(a.db, b"key", NULL, MIGRATE)
    assert a.client.control(35)[0] == 0  # the daemon has both before it answers this
    assert b.file.get(b"key")[2] & READONLY and a.file.get(b"key")[2] & DELEGATIONS
    b.file.unlock(b"key")
    assert a.client.call_answer(reqid)[1] == 0
    assert not b.file.get(b"key")[2] & READONLY and not a.file.get(b"key")[2] & DELEGATIONS


def test_without_the_flag(cluster):
    """A database without the flag has no copies; a node that was not told lends none."""
    a, b = (Node(cluster, pnn, "plain.tdb", readonly=False) for pnn in (0, 1))
    try:
        a.write(b"key", b"one")
        assert b.read(b"key") == (False, b"one")
        assert b.file.get(b"key")[1:3] == (1, MIGRATED)
        assert a.client.control(SET_READONLY, struct.pack("=I", a.db))[0] == 0
        assert (a.flags(), b.flags()) == (DB_READONLY, 0)
        assert a.read(b"key") == (False, b"one")
        assert a.file.get(b"key")[1:3] == (0, MIGRATED)
    finally:
        a.close()
        b.close()


def test_writers_and_readers(nodes):
    """Whoever reads never sees the counter go back, whoever writes finds what was written last."""
    rounds, problems = 60, []

    def write(n):
        for _ in range(rounds):
            while True:
                n.file.lock(b"counter")
                have = n.file.get(b"counter")
                if have and have[1] == n.pnn and not have[2] & DELEGATIONS:
                    break
                n.file.unlock(b"counter")
                n.client.call(n.db, b"counter", NULL, MIGRATE)
            n.file.put(b"counter", have, struct.pack("=I", struct.unpack("=I", have[3] or bytes(4))[0] + 1))
            n.file.unlock(b"counter")

    def read(n):
        last = 0
        while last < 2 * rounds and not problems:
            value = struct.unpack("=I", n.read(b"counter")[1] or bytes(4))[0]
            if value < last:
                problems.append((last, value))
            last = value

    threads = [threading.Thread(target=write, args=(nodes[i],)) for i in (0, 1)]
    threads.append(threading.Thread(target=read, args=(nodes[2],)))
    for t in threads:
        t.start()
    for t in threads:
        t.join(10 * PATIENCE)
    assert not problems and not any(t.is_alive() for t in threads)
    assert nodes[0].read(b"counter")[1] == struct.pack("=I", 2 * rounds)


def test_larger_than_a_frame(cluster, nodes):
    """A record that cannot be sent stays and is used where it is; others get an error, and no recovery; once it is smaller it moves."""
    a, b, c = nodes
    large = bytes(64 * 1024 * 1024 + 1)
    a.write(b"key", b"small")
    generation = a.client.good(5)[:4]
    a.write(b"key", large)
    for n, callid, flags in ((b, NULL, MIGRATE), (c, NULL, MIGRATE), (b, FETCH, WANT_READONLY), (c, FETCH_WITH_HEADER, WANT_READONLY), (b, NULL, MIGRATE)):
        assert n.client.call_answer(n.client.call_send(n.db, b"key", callid, flags))[1] != 0, (n.pnn, callid)
    a.write(b"key", large + b"more")
    assert len(a.file.get(b"key")[3]) == len(large) + 4
    assert generation == a.client.good(5)[:4]
    log = cluster.node(0).log_tail(1000)
    assert "key 0x6b6579 (3 bytes) has 67108869 bytes" in log or "key 0x6b6579 (3 bytes) has 67108865 bytes" in log
    a.write(b"key", b"small again")
    for n in (c, b):
        wait_until(lambda node=n: node.client.call_answer(node.client.call_send(node.db, b"key", NULL, MIGRATE))[1] == 0, what="the record to move")
        assert n.read(b"key")[1] == b"small again"
    assert generation == a.client.good(5)[:4]


def test_what_is_counted(nodes):
    a, b, c = nodes
    for n in nodes:
        assert n.client.control(STATISTICS_RESET)[0] == 0 and n.statistics() == (0, 0, {}, 0, 0)
    a.write(b"key", b"one")
    assert b.read(b"key")[1] == c.read(b"key")[1] == b"one"
    a.write(b"key", b"two")
    assert a.statistics()[:2] == (2, 1)
    for value in (b"three", b"four"):
        b.write(b"key", value)
        a.write(b"key", value)
    assert all(1 <= n.statistics()[2][b"key"] <= 3 for n in (a, b)) and not c.statistics()[2]
    assert sum(sum(n.statistics()[3:]) for n in nodes) >= 6
    assert a.client.control(STATISTICS_RESET)[0] == 0 and a.statistics() == (0, 0, {}, 0, 0)


def test_sticky(cluster, nodes):
    """A record that is fought for stays at a node for a while as long as it is used there, and goes on then."""
    a, b, _ = nodes
    for n in nodes:
        assert n.client.control(SET_STICKY, struct.pack("=I", n.db))[0] == 0 and n.flags() & DB_STICKY
        for name, value in (("HopcountMakeSticky", 4), ("StickyPindown", 1500), ("StickyDuration", 600)):
            assert n.client.control(SET_TUNABLE, struct.pack("=II", value, len(name) + 1) + name.encode() + b"\0")[0] == 0

    def uses(n, other):
        """How often n used the record from when other asked for it."""
        n.write(b"key", b"mine")
        reqid, count = other.client.call_send(other.db, b"key", NULL, MIGRATE), 0
        while True:
            n.file.lock(b"key")
            have = n.file.get(b"key")
            if have[1] == n.pnn:
                n.file.put(b"key", have, b"%d" % count)
            n.file.unlock(b"key")
            if have[1] != n.pnn:
                assert other.client.call_answer(reqid)[1] == 0
                return count
            count += 1
            time.sleep(0.005)

    def fight():
        counts = [uses(a, b), uses(b, a)]
        return max(counts) >= 30  # 150 ms: longer than a record is held otherwise

    wait_until(fight, 4 * PATIENCE, "a record to stay")
    for n in nodes:
        for name, value in (("HopcountMakeSticky", 50), ("StickyPindown", 200)):
            assert n.client.control(SET_TUNABLE, struct.pack("=II", value, len(name) + 1) + name.encode() + b"\0")[0] == 0


def test_flags_travel(cluster):
    """Set at one node: the others have them after a recovery, and a node that comes later, too."""
    with Client(cluster.node(0).file("run", "ctdbd.socket")) as c:
        ids = {name: c.attach(f"{name}.tdb") for name in ("readonly", "sticky", "neither")}
        c.good(SET_READONLY, struct.pack("=I", ids["readonly"]))
        c.good(SET_STICKY, struct.pack("=I", ids["sticky"]))

    def flags(pnn):
        with Client(cluster.node(pnn).file("run", "ctdbd.socket")) as c:
            raw = c.good(GET_DBMAP)
        found = dict(struct.unpack_from("=II", raw, 4 + 8 * i) for i in range(struct.unpack_from("=I", raw)[0]))
        return [found.get(ids[name]) for name in ("readonly", "sticky", "neither")]

    assert flags(0) == [DB_READONLY, DB_STICKY, 0] and flags(1) == [0, 0, 0]
    cluster.node(1).run(["ctdb", "db", "recover"], check=True, capture_output=True, timeout=2 * PATIENCE)
    assert flags(0) == flags(1) == [DB_READONLY, DB_STICKY, 0]
    cluster.fault(1, "power-off")
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert flags(1) == [DB_READONLY, DB_STICKY, 0]


def flagged(node, keys):
    return [k for k in keys if (node.file.get(k) or (0, 0, 0))[2] & RO_FLAGS]


def test_recovery_ends_all(cluster, nodes):
    a, b, c = nodes
    keys = [b"key%d" % i for i in range(50)]
    for k in keys:
        a.write(k, b"old")
        assert b.read(k)[1] == c.read(k)[1] == b"old"
    assert len(flagged(a, keys)) == len(flagged(b, keys)) == 50
    generation = a.client.good(5)[:4]
    cluster.fault(2, "kill:ctdb-dbd")
    wait_until(lambda: all(n.client.control(5)[1][:4] not in (b"", generation) for n in (a, b)), 4 * PATIENCE, "a new generation")
    wait_until(lambda: not flagged(a, keys) and not flagged(b, keys), 2 * PATIENCE, "flags to be cleared")
    for k in keys:
        b.write(k, b"new")
        assert a.read(k)[1] == b"new"
