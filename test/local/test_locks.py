"""Clients that never let go of a lock: only what they hold waits, and they are named."""

import json
import os
import signal
import subprocess
import sys

import pytest
from classic import REPLY_CALL, Client
from support import CALM, CAPTURE, PATIENCE, output, wait_until

HOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lock_holder.py")
NODES = 2


def _cluster(module_factory, mutexes):
    return module_factory(NODES, extra_config=CALM + ("" if mutexes else "[database]\n\ttdb mutexes = false\n"))


@pytest.fixture(scope="module", params=[True, False], ids=["mutexes", "fcntl"])
def cluster(request, module_factory):
    return _cluster(module_factory, request.param)


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE))


def status(cluster, pnn, db):
    return json.loads(ctdb(cluster, pnn, "-o", "json", "db", "status", db))


def log(cluster, pnn):
    with open(cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
        return f.read()


class Holder:
    """A stopped process that has the lock of a chain, or a transaction."""

    def __init__(self, cluster, pnn, db, *what):
        s = status(cluster, pnn, db)
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([sys.executable, HOLDER, s["path"], s["tdb_flags"], *what], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid
        self.process.send_signal(signal.SIGSTOP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()  # the kernel and robust mutexes let go
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


def named(cluster, pnn, db, holder):
    """The lines of the status that name it."""
    return [x for x in status(cluster, pnn, db)["locks"] if x["pid"] == holder.pid]


def in_background(cluster, pnn, *words):
    return cluster.node(pnn).popen(["ctdb", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_request_for_a_record(cluster):
    """Node 1 wants a record that a stopped process of node 0 has locked; other records, also of that database, go on."""
    ctdb(cluster, 0, "db", "attach", "held.tdb")
    for key in ("one", "two"):
        ctdb(cluster, 0, "record", "set", "held.tdb", key, "old")
    with Holder(cluster, 0, "held.tdb", "chain", "one") as holder:
        waiter = in_background(cluster, 1, "--timeout", "100", "record", "set", "held.tdb", "one", "new")
        row, = wait_until(lambda: named(cluster, 0, "held.tdb", holder), what="the holder in the status")
        assert row["state"] == "stopped" and row["program"].startswith("python") and row["key"] == "one" and row["waiting"] == "record", row
        assert "one" in row["lock"], row
        text = ctdb(cluster, 0, "db", "status", "held.tdb")
        assert str(holder.pid) in text and "stopped" in text, text
        line = wait_until(lambda: [x for x in log(cluster, 0).splitlines() if f"process {holder.pid} " in x], what="the holder in the log")
        assert len(line) == 1 and "held.tdb" in line[0] and "stopped" in line[0] and 'record "one"' in line[0], line
        ctdb(cluster, 1, "record", "set", "held.tdb", "two", "new")
        assert waiter.poll() is None
        assert not status(cluster, 1, "held.tdb")["locks"]
    assert waiter.wait(4 * PATIENCE) == 0, waiter.stdout.read()
    waiter.stdout.close()
    assert ctdb(cluster, 0, "record", "get", "held.tdb", "one").strip() == "new"
    wait_until(lambda: not status(cluster, 0, "held.tdb")["locks"], what="no holder any more")
    wait_until(lambda: f"process {holder.pid} " in log(cluster, 0) and "not in the way any more" in log(cluster, 0), what="its end in the log")


def held_up(cluster, pnn, db, holder):
    """It is named as what a worker waits for."""
    return [x for x in named(cluster, pnn, db, holder) if x["waiting"] == "worker" and x["state"] == "stopped"]


def test_recovery_of_the_others_ends(cluster):
    """A recovery meets a lock of a stopped process: it ends for all other databases, and for this one when the process is gone."""
    for db in ("late.tdb", "other.tdb"):
        ctdb(cluster, 1, "db", "attach", db)
        for key in ("one", "two"):
            ctdb(cluster, 1, "record", "set", db, key, "old")
    with Holder(cluster, 1, "late.tdb", "chain", "one") as holder:
        cluster.fault(1, "kill:ctdb-dbd")  # the next one reads the files that it finds
        wait_until(lambda: cluster.node(1).run(["ctdb", "db", "status", "late.tdb"], timeout=4 * PATIENCE, check=False, **CAPTURE).returncode == 0,
                   what="the next daemon")
        waiter = in_background(cluster, 0, "--timeout", "200", "record", "set", "late.tdb", "two", "new")
        cluster.wait_ready(4 * PATIENCE)  # the recovery has ended
        row, = wait_until(lambda: held_up(cluster, 1, "late.tdb", holder), what="the holder in the status")
        assert row["program"].startswith("python"), row
        wait_until(lambda: any(f"process {holder.pid} " in x and "late.tdb" in x and "stopped" in x for x in log(cluster, 1).splitlines()), what="the holder in the log")
        for pnn in (0, 1):
            assert ctdb(cluster, pnn, "record", "get", "other.tdb", "one").strip() == "old"
            ctdb(cluster, pnn, "record", "set", "other.tdb", "one", "new")
            ctdb(cluster, pnn, "record", "set", "other.tdb", "one", "old")
        assert waiter.poll() is None
    assert waiter.wait(4 * PATIENCE) == 0, waiter.stdout.read()
    waiter.stdout.close()
    for pnn in (0, 1):
        assert ctdb(cluster, pnn, "record", "get", "late.tdb", "one").strip() == "old"
        assert ctdb(cluster, pnn, "record", "get", "late.tdb", "two").strip() == "new"
    cluster.wait_ready(2 * PATIENCE)
    wait_until(lambda: "part of the recovery has ended, too" in log(cluster, 0), what="the end of the late part in the log")


def test_clients_that_never_rest(cluster, request):
    """Four clients of node 0 use the chain of a record all the time; the record goes to node 1 and back all the same."""
    ctdb(cluster, 0, "db", "attach", "busy.tdb")
    s = status(cluster, 0, "busy.tdb")
    hammer = os.path.join(os.path.abspath(request.config.getoption("--build")), "test", "local", "hammer")
    with subprocess.Popen([hammer, s["path"], s["tdb_flags"], "hot", "4"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
        assert clients.stdout.readline() == b"ready\n"
        nodes = [Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE) for pnn in range(2)]
        db = [c.attach("busy.tdb") for c in nodes][0]
        for i in range(60):
            c = nodes[(i + 1) % 2]
            assert c.call_answer(c.call_send(db, b"hot"))[:2] == (REPLY_CALL, 0), i
        for c in nodes:
            c.socket.close()
