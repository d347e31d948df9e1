"""Nodes that do not reach each other: one of the two is left out, all say why, and it comes back."""

import json

import pytest
from support import CALM, CAPTURE, PATIENCE, need_programs, wait_until


@pytest.fixture
def cluster(cluster_factory, need_root):
    need_programs("ip", "nft")
    return cluster_factory(4, mode="netns", extra_config=CALM)


def status(cluster, pnn):
    """What a node says of itself. A node that just became inactive disconnects its clients: asked again."""
    def ask():
        done = cluster.node(pnn).run(["ctdb", "-o", "json", "cluster", "status"], timeout=60, check=False, **CAPTURE)
        return json.loads(done.stdout) if done.returncode == 0 else None
    return wait_until(ask, what=f"the status of node {pnn}")


def serving(cluster):
    return [pnn for pnn in range(4) if status(cluster, pnn)["ready"]]


def says(cluster, pnn, text):
    return text in json.dumps(status(cluster, pnn))


def record(cluster, pnn, *words):
    done = cluster.node(pnn).run(["ctdb", "record", *words], timeout=60, check=False, **CAPTURE)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def test_link_between_two_followers(cluster):
    leader = status(cluster, 0)["leader"]
    low, high = [pnn for pnn in range(4) if pnn != leader][:2]
    rest = [pnn for pnn in range(4) if pnn != high]
    cluster.node(0).run(["ctdb", "db", "attach", "mesh.tdb"], timeout=60, **CAPTURE)
    cluster.fault(low, f"deaf:{high}")
    wait_until(lambda: serving(cluster) == rest, timeout=2 * PATIENCE, what=f"node {high} to be left out")
    wait_until(lambda: status(cluster, low)["leader"] == leader, what="the leader to stay")
    wait_until(lambda: says(cluster, high, f"node {high} cannot reach node {low}: left out by the leader"), what="it to say why")
    for pnn in rest:
        wait_until(lambda pnn=pnn: says(cluster, pnn, f"it and node {low} cannot reach each other"), what=f"node {pnn} to say why")
    wait_until(lambda: record(cluster, low, "set", "mesh.tdb", "key", "without it") is not None, what="the others to serve")
    cluster.fault(low, "hear")
    cluster.wait_ready(2 * PATIENCE)
    assert record(cluster, high, "get", "mesh.tdb", "key") == "without it"


def test_leader_that_loses_half_of_the_others(cluster):
    """Each of its links is as bad as the other end's, but the others reach more: it goes."""
    leader = status(cluster, 0)["leader"]
    others = [pnn for pnn in range(4) if pnn != leader]
    cluster.fault(leader, f"deaf:{others[0]},{others[1]}")
    wait_until(lambda: serving(cluster) == others, timeout=2 * PATIENCE, what=f"node {leader} to be left out")
    new = wait_until(lambda: [pnn for pnn in [status(cluster, others[0])["leader"]] if pnn in others], what="another leader")[0]
    # the new leader has told it, or is one of those that it does not hear
    reasons = (f"node {leader} cannot reach node", "2 of 4 configured nodes reachable")
    wait_until(lambda: any(says(cluster, leader, text) for text in reasons), what="the former leader to say why")
    cluster.fault(leader, "hear")
    cluster.wait_ready(2 * PATIENCE)
    wait_until(lambda: status(cluster, leader)["leader"] == new, what="leadership to stay where it is")


def test_ring(cluster):
    """Each node reaches its two neighbours only: no three reach each other, so two that are neighbours go on."""
    cluster.fault(0, "deaf:2")
    cluster.fault(1, "deaf:3")

    def settled():
        s = serving(cluster)
        return len(s) == 2 and (s[1] - s[0]) % 4 in (1, 3) and sum(not n["flags"] for n in status(cluster, s[0])["nodes"]) == 2
    wait_until(settled, timeout=2 * PATIENCE, what="two nodes to serve")
    cluster.fault(0, "hear")
    cluster.fault(1, "hear")
    cluster.wait_ready(2 * PATIENCE)
