"""A node that was away (stopped, banned, its dbd or all its daemons killed) and has copies from before: nobody gets old data from it afterwards."""

import os
import struct
import time

import pytest
from classic import Client
from support import CAPTURE, PATIENCE, output, wait_until
from test_readonly import READONLY, SET_READONLY, File, Node

KEYS = [b"key%d" % i for i in range(20)]
AWAY = 1


class Story:
    """Records of node 0, read-only copies on the others; keys in the second half are owned by the node that will be away."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.nodes = [Node(cluster, pnn, name) for pnn in range(3)]
        wait_until(self.spread, what="copies of all records, between two recoveries if there are any")
        self.kept_open = self.nodes[AWAY].file
        self.inodes = [os.stat(self.path(pnn)).st_ino for pnn in range(3)]

    def spread(self):
        """Writes and reads them; whether there are copies everywhere."""
        for i, key in enumerate(KEYS):
            self.nodes[AWAY if i % 2 else 0].write(key, b"old")
            assert [n.read(key)[1] for n in self.nodes] == [b"old"] * 3
        return self.usable(AWAY) == KEYS

    def usable(self, pnn):
        """What a client of that node would take from the file without asking."""
        have = {key: self.nodes[pnn].file.get(key) for key in KEYS}
        return [key for key in KEYS if have[key] and (have[key][1] == pnn or have[key][2] & READONLY)]

    def others_write(self, value):
        for pnn in (0, 2):
            self.connect(pnn)
        for i, key in enumerate(KEYS):
            self.nodes[i % 2 * 2].write(key, value)

    def connect(self, pnn):
        """Its clients may have been disconnected. TDB opens a file once only in a process: the same one is used again."""
        node = self.nodes[pnn]
        node.client.__exit__()
        node.client = Client(self.cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)
        assert node.client.attach(self.name) == node.db
        node.client.good(SET_READONLY, struct.pack("=I", node.db))
        if os.stat(self.path(pnn)).st_ino != self.inodes[pnn]:
            if pnn != AWAY:
                node.file.close()
            node.file = File(node.client, node.db)
            self.inodes[pnn] = os.stat(self.path(pnn)).st_ino

    def path(self, pnn):
        return self.cluster.node(pnn).file("var", "volatile", f"{self.name}.{pnn}")

    def check(self, value):
        """All nodes read it, also who kept the file open over all that, and none goes back to something else."""
        self.cluster.wait_ready(2 * PATIENCE)
        for pnn in range(3):
            self.connect(pnn)
        for key in KEYS if self.nodes[AWAY].file is self.kept_open else []:
            have = self.kept_open.get(key)
            assert have is None or have[3] == value or not (have[1] == AWAY or have[2] & READONLY), (key, have)
        for _ in range(2):
            for n in (self.nodes[AWAY], self.nodes[0], self.nodes[2]):
                assert [n.read(key)[1] for key in KEYS] == [value] * len(KEYS)
        self.nodes[AWAY].write(KEYS[0], b"written by who was away")
        assert self.nodes[2].read(KEYS[0])[1] == b"written by who was away"

    def close(self):
        for file in {n.file for n in self.nodes} | {self.kept_open}:
            file.close()
        for n in self.nodes:
            n.client.__exit__()


@pytest.fixture
def story(cluster, request):
    made = Story(cluster, request.node.name.replace("[", "_").replace("]", "") + ".tdb")
    yield made
    made.close()


def ctdb(cluster, *words):
    return output(cluster.node(0).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE))


@pytest.mark.parametrize("order, back", [(["node", "stop", "1"], ["node", "continue", "1"]), (["node", "ban", "1", "600"], ["node", "unban", "1"])],
                         ids=["stopped", "banned"])
def test_node_that_was_kept_out(cluster, story, order, back):
    """The others go on without it: what it owned goes back to the newest copy that is left, which is the same here."""
    ctdb(cluster, *order)
    cluster.wait_ready(2 * PATIENCE, [0, 2])
    story.others_write(b"new")
    ctdb(cluster, *back)
    story.check(b"new")


def test_killed_dbd(cluster, story):
    """Its file is kept, with copies that others write to while it is down."""
    cluster.fault(AWAY, "kill:ctdb-dbd")
    story.others_write(b"new")
    story.check(b"new")


def test_killed_dbd_keeps_what_it_owns(cluster, story):
    """Twice, the second time in the middle of the recovery."""
    story.nodes[AWAY].write(KEYS[0], b"only here")
    for _ in range(2):
        cluster.fault(AWAY, "kill:ctdb-dbd")
        wait_until(lambda: cluster.node(AWAY).find_program("ctdb-dbd"), what="ctdb-dbd")
        time.sleep(0.05)  # not a wait for anything: the second one comes somewhere in the start
    cluster.wait_ready(2 * PATIENCE)
    story.connect(2)
    assert story.nodes[2].read(KEYS[0])[1] == b"only here"


def test_all_daemons_are_killed(cluster, story):
    """Without dbkeep its file is not trusted: made anew. (Who has the old one open keeps the old one, and has lost the daemon.)"""
    old = {p.pid for p in cluster.node(AWAY).find_program("ctdbd")}
    cluster.fault(AWAY, "kill:ctdbd")
    wait_until(lambda: (now := {p.pid for p in cluster.node(AWAY).find_program("ctdbd")}) and not now & old, what="another ctdbd")
    story.others_write(b"new")
    story.check(b"new")
