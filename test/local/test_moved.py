"""A node whose address has changed comes back by itself, as the node that it was; and who only says so does not."""

import json
import os
import shutil
import stat

import pytest
from support import CAPTURE, PATIENCE, output, wait_until


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def text(cluster, pnn, *name):
    with open(cluster.node(pnn).file(*name), encoding="utf-8", errors="replace") as f:
        return f.read()


def write(cluster, pnn, content, *name):
    with open(cluster.node(pnn).file(*name), "w", encoding="utf-8") as f:
        f.write(content)


def log(cluster, pnn):
    path = cluster.node(pnn).file("log", "log.ctdb")
    return text(cluster, pnn, "log", "log.ctdb") if os.path.exists(path) else ""


def move(cluster, pnn, number):
    """Its own configuration has another address; its nodes file is as it was. Returns the address."""
    was = cluster.node(pnn).address
    address = f"{was.rpartition('.')[0]}.{number}"
    config = text(cluster, pnn, "ctdb.conf")
    start = config.index("node address = ")
    write(cluster, pnn, config[:start] + f"node address = {address}" + config[config.index("\n", start):], "ctdb.conf")
    return address


def known(cluster, pnn, by):
    """That all of by remember who the node is."""
    own = text(cluster, pnn, "var", "state", "node-id").split()
    assert len(own[0]) == 32 and own[1] == str(pnn)

    def remembered(other):
        path = cluster.node(other).file("var", "state", "node-ids")
        return os.path.exists(path) and any(line.split()[:2] == [str(pnn), own[0]] for line in text(cluster, other, "var", "state", "node-ids").splitlines())
    wait_until(lambda: all(remembered(other) for other in by), what=f"node {pnn} to be known")


def addresses(cluster, pnn):
    return [n["address"] for n in json.loads(ctdb(cluster, pnn, "-o", "json", "node", "list"))["nodes"]]


def replace(cluster, pnn, address):
    """When the others have noticed that the node is off."""
    wait_until(lambda: cluster.node(0).run(["ctdb", "node", "replace", str(pnn), address], timeout=4 * PATIENCE, check=False, **CAPTURE).returncode == 0,
               what=f"node {pnn} to be replaced")


def lead_by(cluster, pnn):
    def leads():
        done = cluster.node(0).run(["ctdb", "-o", "json", "leader", "show"], timeout=4 * PATIENCE, check=False, **CAPTURE)
        leader = json.loads(done.stdout)["leader"] if done.returncode == 0 else None
        if leader not in (None, pnn):
            cluster.node(leader).run(["ctdb", "leader", "resign"], timeout=4 * PATIENCE, check=False, **CAPTURE)
        return leader == pnn
    wait_until(leads, 4 * PATIENCE, what=f"node {pnn} to lead")


def test_comes_back(cluster_factory):
    cluster = cluster_factory(3)
    ctdb(cluster, 2, "db", "attach", "kept.tdb", "--model", "persistent")
    ctdb(cluster, 2, "record", "set", "kept.tdb", "key", "value")
    known(cluster, 2, [0, 1])
    for pnn in range(3):
        for name in ("node-id", "node-ids"):
            assert stat.S_IMODE(os.stat(cluster.node(pnn).file("var", "state", name)).st_mode) == 0o600
    was = text(cluster, 0, "nodes")
    identity = text(cluster, 2, "var", "state", "node-id")

    def comes_back(number, lead):
        lead_by(cluster, lead)
        cluster.fault(2, "power-off")
        address = move(cluster, 2, number)
        os.rename(cluster.node(2).file("nodes"), cluster.node(2).file("elsewhere"))
        os.symlink("elsewhere", cluster.node(2).file("nodes"))
        cluster.fault(2, "power-on")
        cluster.wait_ready(4 * PATIENCE)
        lines = was.split()
        for pnn in range(3):
            assert text(cluster, pnn, "nodes").split() == [lines[0], lines[1], address]
            assert addresses(cluster, pnn) == [lines[0], lines[1], address]
        assert os.readlink(cluster.node(2).file("nodes")) == "elsewhere"
        os.rename(cluster.node(2).file("elsewhere"), cluster.node(2).file("nodes"))
        assert text(cluster, 2, "var", "state", "node-id") == identity
        assert ctdb(cluster, 2, "record", "get", "kept.tdb", "key") == "value"
        known(cluster, 2, [0, 1])
        assert f"node 2 has the address {address} now" in log(cluster, 2)
        return address

    address = comes_back(91, 0)
    assert any(f"node 2 says that its address is {address} now" in log(cluster, pnn) for pnn in (0, 1))  # later ones may be too many lines for a minute
    # Then it asks one that has to ask the leader: not always at first, since the first that is asked may not have missed it yet.
    for number in range(92, 102):
        comes_back(number, 1)
        if "cluster of node 0 asks for a change of the nodes list" in log(cluster, 1):
            return
    pytest.fail("node 0 was never the one that is asked")


def test_keeps_its_second_address(cluster_factory):
    cluster = cluster_factory(3)
    net = cluster.node(0).address.rpartition(".")[0]
    for pnn in range(3):
        cluster.fault(pnn, "shutdown")
    lines = [f"{cluster.node(pnn).address},{net}.{200 + pnn}" for pnn in range(3)]
    for pnn in range(3):
        write(cluster, pnn, "".join(line + "\n" for line in lines), "nodes")
        cluster.fault(pnn, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    known(cluster, 2, [0, 1])
    cluster.fault(2, "power-off")
    address = move(cluster, 2, 91)
    cluster.fault(2, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    for pnn in range(3):
        assert text(cluster, pnn, "nodes").split() == [lines[0], lines[1], f"{address},{net}.202"]


def test_waits_for_the_others(cluster_factory):
    """The first of the cluster to start; and without a majority nothing is changed."""
    cluster = cluster_factory(3)
    known(cluster, 2, [0, 1])
    was = text(cluster, 0, "nodes")
    for pnn in (0, 1, 2):
        cluster.fault(pnn, "power-off")
    address = move(cluster, 2, 91)
    cluster.fault(2, "power-on")
    wait_until(lambda: "node 2 waits for a member that takes its new address" in log(cluster, 2), what="it to say that it waits")
    begin = len(log(cluster, 0))
    cluster.fault(0, "power-on")
    wait_until(lambda: f"node 2 says that its address is {address} now" in log(cluster, 0)[begin:] or "there is no leader" in log(cluster, 2) or
               "ready" in log(cluster, 0)[begin:], what="node 0")
    assert text(cluster, 0, "nodes") == was and text(cluster, 2, "nodes") == was
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert addresses(cluster, 1)[2] == address


def test_address_of_the_kernels_choice(cluster_factory):
    """No node address is configured, and no address of the nodes file is on an interface."""
    cluster = cluster_factory(3)
    known(cluster, 1, [0, 2])
    cluster.fault(1, "power-off")
    config = text(cluster, 1, "ctdb.conf")
    write(cluster, 1, "".join(line + "\n" for line in config.splitlines() if "node address" not in line), "ctdb.conf")
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert addresses(cluster, 0) == [cluster.node(0).address, "127.0.0.1", cluster.node(2).address]
    with open(cluster.node(1).file("run", "ctdbd.pid"), encoding="ascii") as f:
        assert f"ctdbd[{int(f.read())}]" in log(cluster, 1)


def test_disk_of_another_node(cluster_factory):
    """By its address it is who it is; its identity is a new one."""
    cluster = cluster_factory(2)
    known(cluster, 1, [0])
    cluster.fault(1, "power-off")
    write(cluster, 1, text(cluster, 0, "var", "state", "node-id"), "var", "state", "node-id")
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert "by its address this is node 1, but it was node 0 when it ran last" in log(cluster, 1)
    known(cluster, 1, [0])
    assert text(cluster, 0, "var", "state", "node-id").split()[0] != text(cluster, 1, "var", "state", "node-id").split()[0]


@pytest.fixture(scope="module")
def shared(module_factory):
    cluster = module_factory(3)
    known(cluster, 2, [0, 1])
    return cluster


def refused_with(cluster, pnn, expected, patience=PATIENCE, watched=0):
    """The node does not come back; nothing has changed; it is what it was afterwards."""
    was = text(cluster, watched, "nodes")
    config = text(cluster, pnn, "ctdb.conf")
    begin = len(log(cluster, pnn)), len(text(cluster, pnn, "log", "ctdbd"))
    move(cluster, pnn, 91)
    cluster.fault(pnn, "power-on")
    try:
        wait_until(lambda: expected in log(cluster, pnn)[begin[0]:] + text(cluster, pnn, "log", "ctdbd")[begin[1]:], patience,
                   what=lambda: f"{expected!r} in {text(cluster, pnn, 'log', 'ctdbd')}")
        for other in cluster.running() - {pnn}:
            assert text(cluster, other, "nodes") == was
    finally:
        cluster.fault(pnn, "power-off")
        write(cluster, pnn, config, "ctdb.conf")


def test_wrong_identity(shared):
    known(shared, 2, [0, 1])
    shared.fault(2, "power-off")
    path = shared.node(2).file("var", "state", "node-id")
    shutil.copy(path, path + ".kept")
    write(shared, 2, "00112233445566778899aabbccddeeff 2\n", "var", "state", "node-id")
    refused_with(shared, 2, "by another identity: it was installed anew or replaced since")
    write(shared, 2, "damaged", "var", "state", "node-id")
    refused_with(shared, 2, "var/state/node-id: damaged: remove it")
    os.unlink(path)
    refused_with(shared, 2, "is not in it: add it, or correct node address")
    os.rename(path + ".kept", path)
    shared.fault(2, "power-on")
    shared.wait_ready(4 * PATIENCE)


def test_installed_anew(shared):
    """The right address and key: another identity is remembered."""
    shared.fault(2, "power-off")
    os.unlink(shared.node(2).file("var", "state", "node-id"))
    shared.fault(2, "power-on")
    shared.wait_ready(4 * PATIENCE)
    known(shared, 2, [0, 1])
    wait_until(lambda: "has another identity than before: it was installed anew" in log(shared, 0), what="node 0 to say so")


def test_not_while_the_node_is_connected(shared):
    """Node 1 has a copy of the disk of node 2, and its own address is gone."""
    known(shared, 2, [0, 1])
    shared.fault(1, "power-off")
    path = shared.node(1).file("var", "state", "node-id")
    shutil.copy(path, path + ".kept")
    shutil.copy(shared.node(2).file("var", "state", "node-id"), path)
    refused_with(shared, 1, "ctdbd: this node cannot come back as node 2 with another address: ", 4 * PATIENCE)  # it hopes for half a minute
    assert f"If this machine is a copy of that node, remove {shared.node(1).file('var', 'state')}/node-id" in text(shared, 1, "log", "ctdbd")
    os.rename(path + ".kept", path)
    shared.fault(1, "power-on")
    shared.wait_ready(4 * PATIENCE)


def test_not_without_tls(cluster_factory):
    cluster = cluster_factory(2, tls=False)
    cluster.fault(1, "power-off")
    refused_with(cluster, 1, "It was node 1: if its address has changed, run 'ctdb node replace 1 ADDRESS' on a member")


def test_stops_at_once_while_it_waits(cluster_factory):
    cluster = cluster_factory(2)
    known(cluster, 1, [0])
    for pnn in (0, 1):
        cluster.fault(pnn, "power-off")
    move(cluster, 1, 91)
    cluster.fault(1, "power-on")
    wait_until(lambda: "node 1 waits for a member" in log(cluster, 1), what="it to wait")
    pid_file = cluster.node(1).file("run", "ctdbd.pid")
    with open(pid_file, encoding="ascii") as f:
        os.kill(int(f.read()), 15)
    wait_until(lambda: "stopped before it had a place in the cluster" in log(cluster, 1), what="it to stop")


def set_version(cluster, pnn, version):
    config = "".join(line + "\n" for line in text(cluster, pnn, "ctdb.conf").splitlines() if "interface version" not in line and line != "[transport]")
    write(cluster, pnn, config + (f"[transport]\n\tinterface version = {version}\n" if version else ""), "ctdb.conf")


def restart_with_version(cluster, pnn, version):
    cluster.fault(pnn, "shutdown")
    set_version(cluster, pnn, version)
    cluster.fault(pnn, "power-on")


def test_nodes_of_the_version_before(cluster_factory):
    """They take no node that has moved, and nothing is the worse for it; one upgraded node is enough."""
    cluster = cluster_factory(3)
    lines = text(cluster, 0, "nodes").split()
    known(cluster, 2, [0, 1])
    restart_with_version(cluster, 0, 1)
    cluster.wait_ready(4 * PATIENCE)
    lead_by(cluster, 0)
    cluster.fault(2, "power-off")
    address = move(cluster, 2, 91)
    cluster.fault(2, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    lines[2] = address
    for pnn in range(3):
        assert text(cluster, pnn, "nodes").split() == lines
    assert f"node 2 says that its address is {address} now" not in log(cluster, 0)
    known(cluster, 2, [1])

    cluster.fault(2, "power-off")
    restart_with_version(cluster, 1, 1)
    cluster.wait_ready(4 * PATIENCE)
    address = move(cluster, 2, 92)
    begin = len(log(cluster, 2))
    cluster.fault(2, "power-on")
    wait_until(lambda: "it does not take the connection" in log(cluster, 2)[begin:], what="node 2 to say why it waits")
    wait_until(lambda: f"connection from {address} refused: not the address of another node" in log(cluster, 0), what="node 0 to say whom it refused")
    cluster.wait_ready(4 * PATIENCE, [0, 1])
    for pnn in range(3):
        assert text(cluster, pnn, "nodes").split() == lines
    restart_with_version(cluster, 1, None)
    cluster.wait_ready(4 * PATIENCE)
    assert addresses(cluster, 0) == [lines[0], lines[1], address]

    # It would have to be asked itself: told what to do.
    cluster.fault(0, "power-off")
    refused_with(cluster, 0, "It was node 0: if its address has changed, run 'ctdb node replace 0 ADDRESS' on a member", watched=1)


def test_replaced_before_it_asks(cluster_factory):
    """By the administrator, or it died before it had written its nodes file: it gets the list as it is."""
    cluster = cluster_factory(3)
    lines = text(cluster, 0, "nodes").split()
    cluster.fault(2, "power-off")
    address = move(cluster, 2, 91)
    second = f"{address.rpartition('.')[0]}.202"
    replace(cluster, 2, f"{address},{second}")
    assert text(cluster, 2, "nodes").split() == lines
    cluster.fault(2, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    for pnn in range(3):
        assert text(cluster, pnn, "nodes").split() == [lines[0], lines[1], f"{address},{second}"]


def test_who_refuses_it_may_know_least(cluster_factory):
    """A member that does not know it, while the one that does is not up yet, is not the last word."""
    cluster = cluster_factory(3)
    known(cluster, 2, [0, 1])
    for pnn in range(3):
        cluster.fault(pnn, "power-off")
    os.unlink(cluster.node(0).file("var", "state", "node-ids"))
    address = move(cluster, 2, 91)
    cluster.fault(0, "power-on")
    cluster.fault(2, "power-on")
    wait_until(lambda: "does not know who node 2 was" in log(cluster, 0), what="node 0 to refuse")
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert "cannot come back" not in log(cluster, 2) + text(cluster, 2, "log", "ctdbd")
    assert addresses(cluster, 1)[2] == address


def test_address_and_databases_of_others(cluster_factory):
    """All machines have exchanged their addresses: their databases are those of other numbers, and would not be used."""
    cluster = cluster_factory(3)
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    ctdb(cluster, 0, "record", "set", "kept.tdb", "key", "value")
    configs = [text(cluster, pnn, "ctdb.conf") for pnn in range(3)]
    for pnn in range(3):
        cluster.fault(pnn, "power-off")
    for pnn in range(3):
        other = (pnn + 1) % 3
        write(cluster, pnn, configs[pnn].replace(f"node address = {cluster.node(pnn).address}", f"node address = {cluster.node(other).address}"), "ctdb.conf")
        cluster.fault(pnn, "power-on")
        wait_until(lambda pnn=pnn, other=other: f"this is node {other}, but it was node {pnn} when it ran last" in text(cluster, pnn, "log", "ctdbd"),
                   what=f"node {pnn} to refuse")
        cluster.fault(pnn, "power-off")
        write(cluster, pnn, configs[pnn], "ctdb.conf")
    for pnn in range(3):
        cluster.fault(pnn, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert ctdb(cluster, 1, "record", "get", "kept.tdb", "key") == "value"


def test_copy_while_the_original_is_off(cluster_factory):
    """The copy becomes the node; the original is told why it is kept out, and gets its place back by the administrator."""
    cluster = cluster_factory(3)
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    known(cluster, 2, [0, 1])
    original = {name: text(cluster, 2, name) for name in ("ctdb.conf", "nodes")}
    cluster.fault(2, "power-off")
    move(cluster, 2, 91)
    cluster.fault(2, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    ctdb(cluster, 2, "record", "set", "kept.tdb", "key", "of the copy")
    cluster.fault(2, "power-off")
    for name, content in original.items():
        write(cluster, 2, content, name)
    begin = len(log(cluster, 2))
    cluster.fault(2, "power-on")
    wait_until(lambda: "your address is not in the nodes list here" in log(cluster, 2)[begin:], what="the original to be told why")
    assert addresses(cluster, 0)[2].endswith(".91")
    cluster.wait_ready(4 * PATIENCE, [0, 1])
    replace(cluster, 2, cluster.node(2).address)
    cluster.wait_ready(4 * PATIENCE)
    assert ctdb(cluster, 2, "record", "get", "kept.tdb", "key") == "of the copy"


def test_dies_at_each_step(cluster_factory):
    """Whatever was done by then: it comes back, with the same list as the others."""
    cluster = cluster_factory(3)
    known(cluster, 2, [0, 1])
    lines = text(cluster, 0, "nodes").split()
    for number, step in enumerate(("asks", "is heard", "is in the list", "has the list"), 91):
        cluster.fault(2, "power-off")
        address = move(cluster, 2, number)
        begin = [len(log(cluster, pnn)) for pnn in range(3)]
        reached = {
            "asks": lambda begin=begin: "asking the other nodes" in log(cluster, 2)[begin[2]:],
            "is heard": lambda address=address: any(f"node 2 says that its address is {address}" in log(cluster, pnn) for pnn in (0, 1)),
            "is in the list": lambda address=address: any(address in text(cluster, pnn, "nodes").split() for pnn in (0, 1)),
            "has the list": lambda address=address: address in text(cluster, 2, "nodes").split(),
        }[step]
        cluster.fault(2, "power-on")
        wait_until(reached, 4 * PATIENCE, what=f"node 2 to come so far that it {step}")
        cluster.fault(2, "power-off")
        cluster.fault(2, "power-on")
        cluster.wait_ready(4 * PATIENCE)
        for pnn in range(3):
            assert text(cluster, pnn, "nodes").split() == [lines[0], lines[1], address]
        known(cluster, 2, [0, 1])


def test_removed_meanwhile(cluster_factory):
    cluster = cluster_factory(3)
    known(cluster, 2, [0, 1])
    cluster.fault(2, "power-off")
    wait_until(lambda: cluster.node(0).run(["ctdb", "node", "remove", "2"], timeout=4 * PATIENCE, check=False, **CAPTURE).returncode == 0,
               what="node 2 to be removed")
    refused_with(cluster, 2, "there is no node 2, or it has been removed from the nodes list")


@pytest.mark.parametrize("arbitration", ["lock", "none"])
def test_one_of_two_without_majorities(cluster_factory, arbitration):
    cluster = cluster_factory(2, arbitration=arbitration)
    known(cluster, 1, [0])
    cluster.fault(1, "power-off")
    address = move(cluster, 1, 91)
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    assert addresses(cluster, 0) == [cluster.node(0).address, address]


def test_one_of_two(cluster_factory):
    """No majority without it: it waits, says why, and fills no log."""
    cluster = cluster_factory(2)
    known(cluster, 1, [0])
    was = text(cluster, 0, "nodes")
    cluster.fault(1, "power-off")
    address = move(cluster, 1, 91)
    begin = len(log(cluster, 0))
    cluster.fault(1, "power-on")
    wait_until(lambda: "node 1 waits for a member that takes its new address" in log(cluster, 1), what="it to say that it waits")
    wait_until(lambda: "no leader:" in ctdb(cluster, 0, "cluster", "status"), what="node 0 to have no majority")
    assert log(cluster, 0)[begin:].count(address) < 10
    assert text(cluster, 0, "nodes") == was and text(cluster, 1, "nodes") == was
    cluster.fault(1, "power-off")
    write(cluster, 1, text(cluster, 1, "ctdb.conf").replace(address, cluster.node(1).address), "ctdb.conf")
    cluster.fault(1, "power-on")
    cluster.wait_ready(4 * PATIENCE)


def test_nobody_goes_back_to_a_former_list(cluster_factory):
    """Back at its first address, it asks a node that was off when it moved: that one's list has the address, but is not the list in use."""
    cluster = cluster_factory(5)
    known(cluster, 2, [0, 1, 3, 4])
    was = text(cluster, 0, "nodes")
    config = text(cluster, 2, "ctdb.conf")
    cluster.fault(4, "power-off")
    cluster.fault(2, "power-off")
    address = move(cluster, 2, 91)
    cluster.fault(2, "power-on")
    cluster.wait_ready(4 * PATIENCE, [0, 1, 2, 3])
    now = text(cluster, 2, "nodes")
    assert address in now.split() and text(cluster, 4, "nodes") == was
    known(cluster, 2, [0, 1, 3])
    for pnn in range(4):
        cluster.fault(pnn, "power-off")
    write(cluster, 2, config, "ctdb.conf")
    cluster.fault(4, "power-on")
    wait_until(lambda: cluster.node(4).run(["ctdb", "cluster", "status"], timeout=4 * PATIENCE, check=False, **CAPTURE).returncode == 0, what="node 4 to answer")
    cluster.fault(2, "power-on")
    wait_until(lambda: "node 4 is not active, so its nodes list may be a former one" in log(cluster, 2), 2 * PATIENCE, what="node 4 to be asked")
    assert text(cluster, 2, "nodes") == now
    for pnn in (0, 1, 3):
        cluster.fault(pnn, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    for pnn in range(5):
        assert text(cluster, pnn, "nodes") == was
