"""A node whose machine has another address: in its own network, after a power cut, with its old nodes file."""

import json
import os

import pytest
from support import CAPTURE, PATIENCE, need_programs, output, wait_until

NET = "10.77.0."
LOGS = ("log.ctdb", "ctdbd")


@pytest.fixture
def make(cluster_factory, need_root):
    need_programs("ip")
    return lambda nodes: cluster_factory(nodes, mode="netns")


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def status(cluster, pnn):
    """What a node says of itself. A node that just became inactive disconnects its clients: asked again."""
    def ask():
        done = cluster.node(pnn).run(["ctdb", "-o", "json", "cluster", "status"], timeout=60, check=False, **CAPTURE)
        return json.loads(done.stdout) if done.returncode == 0 else None
    return wait_until(ask, what=f"the status of node {pnn}")


def text(cluster, pnn, *name):
    path = cluster.node(pnn).file(*name)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def said(cluster, pnn, since=(0, 0)):
    """What the node has logged; since: an earlier mark()."""
    return "".join(text(cluster, pnn, "log", name)[begin:] for name, begin in zip(LOGS, since))


def mark(cluster, pnn):
    return [len(text(cluster, pnn, "log", name)) for name in LOGS]


def nodes_file(cluster, pnn):
    return text(cluster, pnn, "etc", "nodes").split()


def configure(cluster, pnn, address):
    """node address in its configuration; None: none, as in a container that cannot know it."""
    lines = [line for line in text(cluster, pnn, "etc", "ctdb.conf").splitlines() if "node address" not in line]
    if address:
        lines.insert(lines.index("[cluster]") + 1, f"\tnode address = {address}")
    with open(cluster.node(pnn).file("etc", "ctdb.conf"), "w", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in lines)


def known(cluster, pnn, by):
    """That all of by remember who the node is."""
    own = text(cluster, pnn, "var", "state", "node-id").split()[0]
    wait_until(lambda: all([str(pnn), own] in [line.split()[:2] for line in text(cluster, other, "var", "state", "node-ids").splitlines()] for other in by),
               what=f"node {pnn} to be known")


def lead_by(cluster, pnn):
    def leads():
        leader = status(cluster, pnn)["leader"]
        if leader is not None and leader != pnn:
            cluster.node(leader).run(["ctdb", "leader", "resign"], timeout=4 * PATIENCE, check=False, **CAPTURE)
        return leader == pnn
    wait_until(leads, 4 * PATIENCE, what=f"node {pnn} to lead")


def move(cluster, pnn, host, configured=True):
    """Off, and with another address at the next start: its own nodes file does not know."""
    if cluster.node(pnn).process:
        cluster.fault(pnn, "power-off")
    cluster.node(pnn).addresses[0] = f"{NET}{host}"
    configure(cluster, pnn, f"{NET}{host}" if configured else None)


def works(cluster, pnns, step):
    """A client of each node writes, the others read."""
    for pnn in pnns:
        ctdb(cluster, pnn, "record", "set", "kept.tdb", "key", f"{step} {pnn}")
        ctdb(cluster, pnn, "record", "set", "volatile.tdb", "key", f"{step} {pnn}")
        for other in pnns:
            assert ctdb(cluster, other, "record", "get", "kept.tdb", "key") == f"{step} {pnn}"
            assert ctdb(cluster, other, "record", "get", "volatile.tdb", "key") == f"{step} {pnn}"


def databases(cluster):
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    ctdb(cluster, 0, "db", "attach", "volatile.tdb")
    ctdb(cluster, 0, "record", "set", "kept.tdb", "before", "kept")
    ctdb(cluster, 0, "record", "set", "volatile.tdb", "before", "kept")


def test_another_address_after_a_power_cut(make):
    """By the configuration, then without one (the kernel has chosen); each time it is the node that it was."""
    cluster = make(3)
    databases(cluster)
    known(cluster, 1, [0, 2])
    identity = text(cluster, 1, "var", "state", "node-id")
    for host, configured in ((91, True), (92, False)):
        move(cluster, 1, host, configured)
        cluster.fault(1, "power-on")
        cluster.wait_ready(4 * PATIENCE)
        for pnn in range(3):
            wait_until(lambda pnn=pnn, host=host: nodes_file(cluster, pnn) == [f"{NET}1", f"{NET}{host}", f"{NET}3"], what="the file")
        assert ctdb(cluster, 1, "pnn").removeprefix("PNN:") == "1"
        assert text(cluster, 1, "var", "state", "node-id") == identity
        for pnn in range(3):
            assert ctdb(cluster, pnn, "record", "get", "kept.tdb", "before") == "kept"
            assert ctdb(cluster, pnn, "record", "get", "volatile.tdb", "before") == "kept"
        works(cluster, range(3), host)
        known(cluster, 1, [0, 2])
    # With the address of the list there is nothing to ask.
    begin = mark(cluster, 1)
    cluster.fault(1, "power-off")
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert "asking the other nodes" not in said(cluster, 1, begin)


def test_leader_dies_while_the_node_asks(make):
    """A change of the list that the leader does not live to end: the next one answers."""
    cluster = make(5)
    databases(cluster)
    lead_by(cluster, 1)
    known(cluster, 2, [0, 1, 3, 4])
    move(cluster, 2, 91)
    wait_until(lambda: [n["pnn"] for n in status(cluster, 0)["nodes"] if n["flags"]] == [2], what="node 2 to be missed")
    cluster.fault(3, "stop:ctdb-clusterd")  # the change waits for it
    cluster.fault(2, "power-on")
    wait_until(lambda: "node 2 says that its address is" in said(cluster, 0), what="node 0 to be asked")
    cluster.fault(1, "power-off")
    cluster.fault(3, "cont:ctdb-clusterd")
    rest = (0, 2, 3, 4)
    cluster.wait_ready(4 * PATIENCE, rest)
    for pnn in rest:  # it is in use a moment before it is written
        wait_until(lambda pnn=pnn: nodes_file(cluster, pnn) == [f"{NET}1", f"{NET}2", f"{NET}91", f"{NET}4", f"{NET}5"], what="the file")
    assert status(cluster, 0)["leader"] != 1
    works(cluster, rest, "without node 1")
    cluster.fault(1, "power-on")

    def back():
        """The change may not even have been begun when it died: then it needs to be told, as soon as it is heard that its list is another one."""
        cluster.node(0).run(["ctdb", "node", "reload"], timeout=4 * PATIENCE, check=False, **CAPTURE)
        return cluster.node(1).waiting_for() is None

    wait_until(back, 4 * PATIENCE, "node 1 to be a member")
    cluster.wait_ready(4 * PATIENCE)
    works(cluster, range(5), "with all")
    wait_until(lambda: nodes_file(cluster, 1) == nodes_file(cluster, 0), what="the file")


def refuses(cluster, pnn, expected):
    begin = mark(cluster, pnn)
    cluster.fault(pnn, "power-on")
    wait_until(lambda: expected in said(cluster, pnn, begin), what=lambda: f"{expected!r} in {said(cluster, pnn, begin)}")


def test_address_of_another_node(make):
    """The machine of node 1 has the address of node 2; then the two have exchanged their addresses. Its databases are those of node 1: it does not start."""
    cluster = make(3)
    databases(cluster)
    known(cluster, 1, [0, 2])
    known(cluster, 2, [0, 1])
    identities = [text(cluster, pnn, "var", "state", "node-id") for pnn in range(3)]
    was = nodes_file(cluster, 0)
    cluster.fault(2, "power-off")
    move(cluster, 1, 3, configured=False)
    refuses(cluster, 1, f"by its address {NET}3 this is node 2, but it was node 1 when it ran last")
    cluster.fault(1, "power-off")
    for pnn, host in ((1, 3), (2, 2)):
        move(cluster, pnn, host, configured=False)
        refuses(cluster, pnn, f"this is node {host - 1}, but it was node {pnn} when it ran last")
    for pnn in (1, 2):
        assert "if two nodes have exchanged their addresses" in said(cluster, pnn)
        cluster.fault(pnn, "power-off")
    # The configuration says what the machine does not have.
    cluster.node(1).addresses[0] = f"{NET}3"
    configure(cluster, 1, f"{NET}2")
    refuses(cluster, 1, f"{NET}2")
    cluster.fault(1, "power-off")
    for pnn in range(3):
        assert nodes_file(cluster, pnn) == was
        assert text(cluster, pnn, "var", "state", "node-id") == identities[pnn]
    for pnn in (1, 2):
        move(cluster, pnn, pnn + 1)
        cluster.fault(pnn, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert ctdb(cluster, 2, "record", "get", "kept.tdb", "before") == "kept"
    ctdb(cluster, 0, "record", "set", "volatile.tdb", "before", "kept")
    works(cluster, range(3), "again")
