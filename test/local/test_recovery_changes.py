"""Recoveries look only at what has changed: what they read and send is in the log line of their end."""

import re
import struct

import pytest
from classic import Client
from support import PATIENCE, output, wait_until

SET_RECMODE, RECMODE_ACTIVE = 16, 1
RECORDS = 60
CAPTURE = {"capture_output": True, "text": True, "timeout": PATIENCE}
WORK = re.compile(r"recovery: (\d+) volatile databases, (\d+) of (\d+) slots claimed, (\d+) files read, (\d+) records seen, (\d+) claims and (\d+) orders sent, (\d+) bytes; (\d+) other")
WORDS = ("databases", "claimed", "slots", "files", "seen", "claims", "orders", "bytes", "contents")


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], **CAPTURE)).strip()


def recoveries(cluster, pnn):
    """What each recovery that has ended there cost that node, oldest first."""
    with open(cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8") as f:
        return [dict(zip(WORDS, map(int, m.groups()))) for m in WORK.finditer(f.read())]


def recover(cluster, nodes=(0, 1, 2), act=None):
    """The costs, by node, of the recoveries that act leads to, or one that is asked for."""
    before = {pnn: len(recoveries(cluster, pnn)) for pnn in nodes}
    if act is None:
        with Client(cluster.node(nodes[0]).file("run", "ctdbd.socket")) as client:
            client.good(SET_RECMODE, struct.pack("=I", RECMODE_ACTIVE))
    else:
        act()
    wait_until(lambda: all(len(recoveries(cluster, pnn)) > before[pnn] for pnn in nodes), what="a recovery")
    cluster.wait_ready(2 * PATIENCE, list(nodes))
    return [recoveries(cluster, pnn)[before[pnn] :] for pnn in nodes]


def total(costs, word):
    return sum(cost[word] for node in costs for cost in node)


@pytest.fixture(scope="module")
def shared(module_factory):
    return module_factory(3)


@pytest.fixture
def cluster(shared):
    shared.wait_ready(2 * PATIENCE)
    return shared


def fill(cluster, name, nodes=3):
    """Records of which each of the first nodes owns its share."""
    ctdb(cluster, 0, "db", "attach", name)
    for i in range(RECORDS):
        ctdb(cluster, i % nodes, "record", "set", name, f"key{i}", f"value{i}")


def check(cluster, name, pnn):
    for i in range(0, RECORDS, 7):
        assert ctdb(cluster, pnn, "record", "get", name, f"key{i}") == f"value{i}"


def test_nothing_changed(cluster):
    fill(cluster, "same.tdb")
    recover(cluster)
    costs = recover(cluster)
    for word in ("claimed", "files", "seen", "claims", "orders"):
        assert total(costs, word) == 0, costs
    assert total(costs, "slots") > 0
    check(cluster, "same.tdb", 0)
    check(cluster, "same.tdb", 2)


def test_killed_dbd_counts_its_file(cluster):
    fill(cluster, "killed.tdb")
    recover(cluster)
    costs = recover(cluster, act=lambda: cluster.fault(1, "kill:ctdb-dbd"))
    # What is not in slots of node 1 is known to the others.
    assert total(costs, "claimed") < total(costs, "slots"), costs
    check(cluster, "killed.tdb", 1)
    costs = recover(cluster)
    assert total(costs, "claimed") == total(costs, "files") == 0, costs


def test_dead_node_and_a_join(cluster):
    fill(cluster, "dead.tdb", 2)
    recover(cluster)
    for i in range(0, RECORDS, 2):  # what the victim owns has copies elsewhere
        ctdb(cluster, 2, "record", "set", "dead.tdb", f"key{i}", f"value{i}")
    costs = recover(cluster, (0, 1), act=lambda: cluster.fault(2, "power-off"))
    assert 0 < total(costs, "claimed") < total(costs, "slots"), costs
    check(cluster, "dead.tdb", 0)
    check(cluster, "dead.tdb", 1)
    costs = recover(cluster, (0, 1))
    assert total(costs, "claimed") == total(costs, "files") == 0, costs
    costs = recover(cluster, act=lambda: cluster.fault(2, "power-on"))
    assert 0 < total(costs, "claimed") < total(costs, "slots"), costs
    check(cluster, "dead.tdb", 2)
    costs = recover(cluster)
    assert total(costs, "claimed") == total(costs, "files") == 0, costs


def test_file_that_a_tool_changed(cluster, tmp_path):
    fill(cluster, "tool.tdb")
    recover(cluster)
    file = str(tmp_path / "tool.backup")
    ctdb(cluster, 0, "db", "backup", "tool.tdb", file)
    costs = recover(cluster, act=lambda: ctdb(cluster, 0, "db", "restore", file, "tool.tdb"))
    assert total(costs, "claimed") > 0 and total(costs, "files") > 0 and total(costs, "seen") >= RECORDS, costs
    check(cluster, "tool.tdb", 1)
    costs = recover(cluster)
    assert total(costs, "claimed") == total(costs, "files") == 0, costs


def test_contents_that_nobody_wrote_are_not_read(cluster):
    ctdb(cluster, 0, "db", "attach", "once.tdb", "--model", "persistent")
    ctdb(cluster, 0, "record", "set", "once.tdb", "key", "value")
    recover(cluster)
    assert total(recover(cluster), "contents") == 0
    ctdb(cluster, 1, "record", "set", "once.tdb", "key", "other")
    assert total(recover(cluster), "contents") == 3
    assert total(recover(cluster), "contents") == 0
    cluster.fault(2, "power-off")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    ctdb(cluster, 1, "record", "set", "once.tdb", "key", "without 2")
    recover(cluster, act=lambda: cluster.fault(2, "power-on"))
    assert ctdb(cluster, 2, "record", "get", "once.tdb", "key") == "without 2"
