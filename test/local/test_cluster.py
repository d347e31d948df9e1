"""Three nodes on loopback addresses: what users of a cluster count on."""

import json

import pytest
from support import CAPTURE, PATIENCE, output, wait_until

DAEMONS = ["ctdb-transportd", "ctdb-clusterd", "ctdb-dbd", "ctdb-dbkeep"]


def ctdb(cluster, pnn, *words):
    """The standard output of a ctdb command that has to succeed."""
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def try_ctdb(cluster, pnn, *words):
    """The standard output, or None."""
    done = cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def status(cluster, pnn):
    """What a node says of itself. A node that just became inactive disconnects its clients: asked again."""
    return json.loads(wait_until(lambda: try_ctdb(cluster, pnn, "-o", "json", "cluster", "status"), what=f"the status of node {pnn}"))


def pids(cluster, pnn, program):
    return {p.pid for p in cluster.node(pnn).find_program(program)}


@pytest.mark.valgrind
def test_all_nodes_agree(cluster):
    def agreed():
        told = [status(cluster, pnn) for pnn in range(3)]
        return told if len({(s["leader"], s["generation"]) for s in told}) == 1 else None
    told = wait_until(agreed, what="one leader and one generation")  # news of the start may still be on the way
    assert {s["leader"] for s in told} <= {0, 1, 2}
    assert all([node["flags"] for node in s["nodes"]] == [[], [], []] for s in told)


@pytest.mark.valgrind
def test_volatile_record_moves(cluster):
    ctdb(cluster, 0, "db", "attach", "moves.tdb")
    ctdb(cluster, 0, "record", "set", "moves.tdb", "key", "0")
    for step in range(1, 7):
        pnn = step % 3
        assert ctdb(cluster, pnn, "record", "get", "moves.tdb", "key") == str(step - 1)
        ctdb(cluster, pnn, "record", "set", "moves.tdb", "key", str(step))
    assert ctdb(cluster, 1, "record", "get", "moves.tdb", "key") == "6"


@pytest.mark.valgrind
@pytest.mark.parametrize("model", ["persistent", "replicated"])
def test_record_is_on_all_nodes(cluster, model):
    name = f"{model}.tdb"
    ctdb(cluster, 0, "db", "attach", name, "--model", model)
    for pnn in range(3):
        ctdb(cluster, pnn, "record", "set", name, f"key{pnn}", f"of node {pnn}")
    for pnn in range(3):
        for other in range(3):
            assert ctdb(cluster, pnn, "record", "get", name, f"key{other}") == f"of node {other}"


@pytest.mark.valgrind
def test_deleted_record_is_gone_everywhere(cluster):
    ctdb(cluster, 0, "db", "attach", "deleted.tdb")
    for pnn in range(3):
        ctdb(cluster, pnn, "record", "set", "deleted.tdb", "key", "value")
    ctdb(cluster, 1, "record", "delete", "deleted.tdb", "key")
    for pnn in range(3):
        assert cluster.node(pnn).run(["ctdb", "record", "get", "deleted.tdb", "key"], **CAPTURE).returncode == 3


def test_persistent_data_survives_a_power_cut_of_all_nodes(cluster_factory):
    cluster = cluster_factory(3)
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    ctdb(cluster, 1, "record", "set", "kept.tdb", "key", "value")
    for pnn in range(3):
        cluster.fault(pnn, "power-off")
    for pnn in range(3):
        cluster.fault(pnn, "power-on")
    cluster.wait_ready(2 * PATIENCE)
    assert ctdb(cluster, 2, "record", "get", "kept.tdb", "key") == "value"


@pytest.mark.parametrize("daemon", DAEMONS)
def test_killed_daemon_comes_back_and_nothing_is_lost(cluster, daemon):
    name = f"{daemon}.tdb"
    ctdb(cluster, 0, "db", "attach", name)
    for pnn in range(3):
        ctdb(cluster, pnn, "record", "set", name, f"key{pnn}", f"of node {pnn}")
    before = pids(cluster, 1, daemon)
    assert before
    cluster.fault(1, f"kill:{daemon}")
    wait_until(lambda: pids(cluster, 1, daemon) - before, what=f"a new {daemon}")
    cluster.wait_ready(2 * PATIENCE)
    for pnn in range(3):
        assert wait_until(lambda pnn=pnn: try_ctdb(cluster, 2 - pnn, "record", "get", name, f"key{pnn}")) == f"of node {pnn}"
    ctdb(cluster, 1, "record", "set", name, "key0", "new")
    assert ctdb(cluster, 0, "record", "get", name, "key0") == "new"


def test_killed_supervisor_takes_its_daemons_along_and_comes_back(cluster):
    before = {daemon: pids(cluster, 2, daemon) for daemon in DAEMONS}
    cluster.fault(2, "kill:ctdbd")
    for daemon in DAEMONS:
        wait_until(lambda daemon=daemon: pids(cluster, 2, daemon) and not pids(cluster, 2, daemon) & before[daemon], what=f"a new {daemon}")
    cluster.wait_ready(2 * PATIENCE)


def test_power_cut_of_each_node(cluster):
    ctdb(cluster, 0, "db", "attach", "cut.tdb")
    for victim in range(3):
        left = [pnn for pnn in range(3) if pnn != victim]
        ctdb(cluster, left[0], "record", "set", "cut.tdb", "key", f"before {victim}")
        generation = status(cluster, left[0])["generation"]
        cluster.fault(victim, "power-off")
        wait_until(lambda: all(status(cluster, pnn)["generation"] not in (None, generation) for pnn in left), what="a recovery")
        cluster.wait_ready(2 * PATIENCE, left)
        assert ctdb(cluster, left[1], "record", "get", "cut.tdb", "key") == f"before {victim}"
        ctdb(cluster, left[1], "record", "set", "cut.tdb", "key", f"without {victim}")
        cluster.fault(victim, "power-on")
        cluster.wait_ready(2 * PATIENCE)
        assert ctdb(cluster, victim, "record", "get", "cut.tdb", "key") == f"without {victim}"


@pytest.mark.valgrind
def test_node_that_is_stopped_in_order(cluster):
    ctdb(cluster, 0, "db", "attach", "order.tdb")
    ctdb(cluster, 0, "record", "set", "order.tdb", "key", "value")
    cluster.fault(2, "shutdown")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    assert ctdb(cluster, 1, "record", "get", "order.tdb", "key") == "value"
    cluster.fault(2, "power-on")
    cluster.wait_ready(2 * PATIENCE)
    assert ctdb(cluster, 2, "record", "get", "order.tdb", "key") == "value"


def test_minority_does_not_serve(cluster_factory):
    cluster = cluster_factory(3)
    cluster.fault(0, "power-off")
    cluster.fault(1, "power-off")
    wait_until(lambda: not status(cluster, 2)["ready"], what="the last node to stop serving")
    cluster.fault(0, "power-on")
    cluster.wait_ready(2 * PATIENCE, [0, 2])


def test_last_node_serves_without_arbitration(cluster_factory):
    cluster = cluster_factory(3, arbitration="none")
    ctdb(cluster, 2, "db", "attach", "alone.tdb")
    ctdb(cluster, 2, "record", "set", "alone.tdb", "key", "value")
    cluster.fault(0, "power-off")
    cluster.fault(1, "power-off")
    wait_until(lambda: not [n for n in status(cluster, 2)["nodes"] if n["pnn"] != 2 and not n["flags"]], what="node 2 to notice")
    cluster.wait_ready(2 * PATIENCE, [2])
    assert ctdb(cluster, 2, "record", "get", "alone.tdb", "key") == "value"


def test_cluster_of_one(cluster_factory):
    cluster = cluster_factory(1)
    ctdb(cluster, 0, "db", "attach", "one.tdb")
    ctdb(cluster, 0, "record", "set", "one.tdb", "key", "value")
    assert ctdb(cluster, 0, "record", "get", "one.tdb", "key") == "value"
