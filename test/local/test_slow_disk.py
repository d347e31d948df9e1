"""A disk that is slow to sync: recovery waits for what has to be on it, the daemon serves meanwhile."""

import os
import struct
import time

import pytest
from classic import Client
from endpoint import Endpoint
from lockwatch import _Node
from support import CALM, PATIENCE, wait_until

DB, GET_STATUS, GET_STALLS = 0x20C70005, 1, 2
NORMAL, RUNNING = 0, 1
ATTACH_PERSISTENT, SET_RECMODE, RECMODE_ACTIVE, SET_TUNABLE = 61, 16, 1, 48
SYNC_MS = 3000  # longer than a machine with much to do may keep a process from running
DATABASES = 3


class Slow:
    """What is preloaded into the daemons: each sync takes as long as a file says."""

    def __init__(self, build, directory):
        self.library = os.path.join(os.path.abspath(build), "bench", "ctdb-bench-sync.so")
        self.path = os.path.join(directory, "sync-ms")
        self.set(0)

    def set(self, ms):
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.write(str(ms))
        os.rename(self.path + ".new", self.path)

    def env(self):
        return {"LD_PRELOAD": self.library, "CTDB_BENCH_SYNC_FILE": self.path, "ASAN_OPTIONS": "verify_asan_link_order=0"}


@pytest.fixture(scope="module")
def disk(request, tmp_path_factory):
    slow = Slow(request.config.getoption("--build"), tmp_path_factory.mktemp("disk"))
    assert os.path.exists(slow.library), slow.library
    return slow


@pytest.fixture
def cluster(cluster_factory, disk):
    yield cluster_factory(2, extra_config=CALM, env={pnn: disk.env() for pnn in range(2)})
    disk.set(0)


def ask(endpoint, pnn, procedure):
    reply = endpoint.call(("db", pnn), DB, procedure)
    assert reply.status == 0
    reply.data, reply.pos = reply.payload, 0
    return reply


def client(cluster, pnn):
    return Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)


def state(endpoint, pnn):
    """(state, recoveries)"""
    reply = ask(endpoint, pnn, GET_STATUS)
    what = reply.take("I")[0]
    reply.string()
    _, _, count = reply.take("IQI")
    return what, count


def test_lineages_are_written_beside_the_loop(cluster, disk):
    """A recovery of persistent databases ends after its lineages were synced, and no request waits for that, however many databases there are."""
    with client(cluster, 0) as c:
        for i in range(DATABASES):
            c.good(ATTACH_PERSISTENT, f"p{i}.tdb".encode() + b"\0")
    cluster.wait_ready(2 * PATIENCE)
    with Endpoint(_Node(cluster.node(0)), "slow") as endpoint:
        before = state(endpoint, 0)
        assert before[0] == NORMAL
        disk.set(SYNC_MS)
        with client(cluster, 0) as c:
            c.good(SET_RECMODE, struct.pack("=I", RECMODE_ACTIVE))
        wait_until(lambda: state(endpoint, 0)[0] == RUNNING, what="the recovery to begin")
        answers, end = 0, time.monotonic() + 4 * PATIENCE
        while state(endpoint, 0)[0] != NORMAL:
            answers += 1
            assert time.monotonic() < end, "the recovery does not end"
        disk.set(0)
        assert state(endpoint, 0)[1] == before[1] + 1
        assert answers > 10
        longest = ask(endpoint, 0, GET_STALLS).take("QQ")[1]
        assert longest < SYNC_MS * 1000, longest


@pytest.fixture
def hung(request, cluster_factory, tmp_path_factory):
    """Three nodes; the disk of the last one can hang."""
    slow = Slow(request.config.getoption("--build"), tmp_path_factory.mktemp("hung"))
    yield cluster_factory(3, extra_config=CALM, env={2: slow.env()}), slow
    slow.set(0)


def test_a_hung_disk_costs_its_node_not_the_cluster(hung):
    """What a node cannot write it says so: the recovery goes on without it, however long the disk hangs."""
    cluster, disk = hung
    with client(cluster, 0) as c:
        c.good(ATTACH_PERSISTENT, b"p.tdb\0")
    cluster.wait_ready(2 * PATIENCE)
    for pnn in range(3):
        with client(cluster, pnn) as c:
            c.good(SET_TUNABLE, struct.pack("=II", 9, 15) + b"RecoverTimeout\0")
    with Endpoint(_Node(cluster.node(0)), "hung") as endpoint:
        before = state(endpoint, 0)
        assert before[0] == NORMAL
        disk.set(1000000)
        with client(cluster, 0) as c:
            c.good(SET_RECMODE, struct.pack("=I", RECMODE_ACTIVE))
        wait_until(lambda: state(endpoint, 0)[1] > before[1] and state(endpoint, 0)[0] == NORMAL, 4 * PATIENCE, "a recovery without the node")
        wait_until(lambda: state(endpoint, 1)[0] == NORMAL, what="the other node")
