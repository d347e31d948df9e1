"""Nodes with a network of their own: partitions and power cuts."""

import json

import pytest
from support import CAPTURE, PATIENCE, need_programs, output, wait_until


@pytest.fixture
def cluster(cluster_factory, need_root):
    need_programs("ip")
    return cluster_factory(3, mode="netns")


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=60, check=False, **CAPTURE)).rstrip("\n")


def status(cluster, pnn):
    """What a node says of itself. A node that just became inactive disconnects its clients: asked again."""
    def ask():
        done = cluster.node(pnn).run(["ctdb", "-o", "json", "cluster", "status"], timeout=60, check=False, **CAPTURE)
        return json.loads(done.stdout) if done.returncode == 0 else None
    return wait_until(ask, what=f"the status of node {pnn}")


def serving(cluster):
    return [pnn for pnn in range(3) if status(cluster, pnn)["ready"]]


def test_majority_goes_on_and_minority_does_not(cluster):
    ctdb(cluster, 0, "db", "attach", "split.tdb")
    ctdb(cluster, 0, "record", "set", "split.tdb", "key", "before")
    for lonely in range(3):
        majority = [pnn for pnn in range(3) if pnn != lonely]
        ctdb(cluster, majority[0], "record", "set", "split.tdb", "key", f"before {lonely}")
        cluster.partition([majority, [lonely]])
        wait_until(lambda lonely=lonely: not status(cluster, lonely)["ready"], what=f"node {lonely} to stop serving")
        cluster.wait_ready(2 * PATIENCE, majority)
        assert ctdb(cluster, majority[1], "record", "get", "split.tdb", "key") == f"before {lonely}"
        ctdb(cluster, majority[1], "record", "set", "split.tdb", "key", f"without {lonely}")
        assert cluster.node(lonely).run(["ctdb", "-t", "2", "record", "set", "split.tdb", "key", "wrong"], **CAPTURE).returncode != 0
        wait_until(lambda majority=majority: serving(cluster) == majority, what="the majority, and nobody else, to serve")
        cluster.heal()
        cluster.wait_ready(2 * PATIENCE)
        assert ctdb(cluster, lonely, "record", "get", "split.tdb", "key") == f"without {lonely}"


def test_nobody_serves_when_all_are_alone(cluster):
    cluster.partition([[0], [1], [2]])
    wait_until(lambda: serving(cluster) == [], what="all nodes to stop serving")
    cluster.heal()
    cluster.wait_ready(2 * PATIENCE)


def test_persistent_database_after_a_split(cluster):
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    ctdb(cluster, 0, "record", "set", "kept.tdb", "key", "before")
    cluster.partition([[0, 1], [2]])
    wait_until(lambda: not status(cluster, 2)["ready"], what="node 2 to stop serving")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    ctdb(cluster, 1, "record", "set", "kept.tdb", "key", "after")
    cluster.heal()
    cluster.wait_ready(2 * PATIENCE)
    assert ctdb(cluster, 2, "record", "get", "kept.tdb", "key") == "after"


def test_power_cut_sends_no_farewell(cluster):
    """The others notice by silence: their connections to the dead node were not closed by it."""
    before = {p.pid for p in cluster.node(0).find_program("ctdb-transportd")}
    cluster.fault(2, "power-off")
    wait_until(lambda: [n["pnn"] for n in status(cluster, 0)["nodes"] if n["flags"]] == [2], what="node 0 to notice")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    cluster.fault(2, "power-on")
    cluster.wait_ready(2 * PATIENCE)
    assert {p.pid for p in cluster.node(0).find_program("ctdb-transportd")} == before
