"""Two networks between the nodes: one of them fails, and nobody who uses the cluster notices."""

import json
import re
import subprocess

import pytest
from support import CAPTURE, PATIENCE, need_programs, output, wait_until


@pytest.fixture
def cluster(cluster_factory, need_root):
    need_programs("ip")
    return cluster_factory(3, mode="netns", two_addresses=True, extra_config="[cluster]\n\theartbeat interval = 250\n\tdead interval = 6000\n")


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=60, check=False, **CAPTURE)).rstrip("\n")


def paths(cluster, pnn):
    """{(other node, path): state}"""
    return {(p["pnn"], p["path"]): p["state"] for p in json.loads(ctdb(cluster, pnn, "-o", "json", "node", "links"))["paths"]}


def views(cluster):
    """The views that the nodes have seen."""
    found = []
    for node in cluster.nodes:
        with open(node.file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
            found.append(re.findall(r"ctdb-clusterd\[\d+\] NOTICE: (view \d+\.\d+ of leader \d+)", f.read()))
    return found


def all_ready(cluster):
    return all(state != "down" for pnn in range(3) for state in paths(cluster, pnn).values())


def switches(cluster, pnn):
    return {link["pnn"]: link["switches"] for link in json.loads(ctdb(cluster, pnn, "-o", "json", "node", "links"))["links"]}


def use_first(cluster):
    """All links use their first paths. One that was late at the start is not used."""
    wait_until(lambda: all_ready(cluster), what="both paths of all links")
    if all(paths(cluster, pnn)[(other, 0)] == "active" for pnn in range(3) for other in range(3) if other != pnn):
        return
    for pnn in range(3):
        cluster.fault(pnn, "unplug:eth2")
    wait_until(lambda: all(paths(cluster, pnn)[(other, 0)] == "active" for pnn in range(3) for other in range(3) if other != pnn), what="the first paths")
    for pnn in range(3):
        cluster.fault(pnn, "plug:eth2")
    wait_until(lambda: all_ready(cluster), what="both paths of all links again")


def test_first_network_of_a_node_fails(cluster):
    use_first(cluster)
    ctdb(cluster, 0, "db", "attach", "paths.tdb")
    ctdb(cluster, 0, "record", "set", "paths.tdb", "key", "before")
    assert paths(cluster, 2) == {(0, 0): "active", (0, 1): "ready", (1, 0): "active", (1, 1): "ready"}
    before, former = views(cluster), switches(cluster, 2)
    cluster.fault(2, "unplug:eth0")
    others = [(0, 2), (1, 2)]
    wait_until(lambda: all(paths(cluster, pnn)[(other, 1)] == "active" for pnn, other in others), what="the second path of the links to node 2")
    wait_until(lambda: paths(cluster, 2) == {(0, 0): "down", (0, 1): "active", (1, 0): "down", (1, 1): "active"}, what="the second paths of node 2")
    assert paths(cluster, 0)[(1, 0)] == "active"
    for pnn in range(3):
        ctdb(cluster, pnn, "record", "set", "paths.tdb", "key", f"of {pnn}")
        assert ctdb(cluster, (pnn + 1) % 3, "record", "get", "paths.tdb", "key") == f"of {pnn}"
    _message_arrives(cluster, 0, 2)
    cluster.wait_ready(2 * PATIENCE)
    # Nobody was without the other long enough to be left out: no view is newer.
    assert views(cluster) == before
    assert switches(cluster, 2) == {pnn: n + 1 for pnn, n in former.items()} and set(former) == {0, 1}
    cluster.fault(2, "plug:eth0")
    wait_until(lambda: all_ready(cluster), what="both paths of all links again")
    assert paths(cluster, 2)[(0, 1)] == "active"  # no switching back while it works
    cluster.fault(2, "unplug:eth2")
    wait_until(lambda: paths(cluster, 2)[(0, 0)] == "active" and paths(cluster, 2)[(1, 0)] == "active", what="the first paths")
    cluster.wait_ready(2 * PATIENCE)
    assert views(cluster) == before


def _message_arrives(cluster, source, target):
    listener = cluster.node(target).popen(["ctdb", "message", "listen", "0x77000002", "--count", "1"], stdout=subprocess.PIPE,
                                          stdin=subprocess.DEVNULL, text=True)
    try:
        def sent():
            ctdb(cluster, source, "message", "send", "all", "0x77000002", "hello")
            return listener.poll() is not None
        wait_until(sent, what="the message to arrive")
        assert "hello" in listener.stdout.read()
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()


def test_both_networks_fail(cluster):
    """Then it is the partition that it always was."""
    wait_until(lambda: all_ready(cluster), what="both paths of all links")
    cluster.fault(2, "unplug:eth0")
    cluster.fault(2, "unplug:eth2")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    wait_until(lambda: set(paths(cluster, 0).values()) == {"active", "ready", "down"}, what="node 0 to notice")
    cluster.fault(2, "plug:eth2")
    cluster.wait_ready(2 * PATIENCE)
    cluster.partition([[0, 1], [2]])
    wait_until(lambda: not cluster.node(2).waiting_for() is None, what="node 2 to stop serving")
    cluster.heal()
    cluster.fault(2, "plug:eth0")
    cluster.wait_ready(2 * PATIENCE)


def test_only_what_is_there_can_be_unplugged(cluster_factory, need_root):
    cluster = cluster_factory(1, mode="netns")
    for interface in ("eth2", "eth9", "lo"):
        with pytest.raises(Exception, match=f"no interface {interface} here; it has eth0, eth1"):
            cluster.fault(0, f"unplug:{interface}")
