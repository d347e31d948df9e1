"""Nodes that keep the cluster from going on: they are banned for a while, and never too many."""

import itertools
import json
import os
import struct
import threading

import pytest
from classic import Client, Closed
from support import CALM, CAPTURE, PATIENCE, SLOW, output, wait_until

SET_RECMODE, SET_TUNABLE, GET_NODEMAP, SET_BAN_STATE, INTERFACE_CALL = 16, 48, 91, 109, 513
CLUSTER_INTERFACE, SET_OWN_FLAGS, GET_STATE = 0x20C70001, 7, 1
UNHEALTHY, PARTIAL = 0x02, 0x100


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def status(cluster, pnn):
    def ask():
        done = cluster.node(pnn).run(["ctdb", "-o", "json", "cluster", "status"], timeout=4 * PATIENCE, check=False, **CAPTURE)
        return json.loads(done.stdout) if done.returncode == 0 else None
    return wait_until(ask, what=f"the status of node {pnn}")


def flags(cluster, pnn, of):
    return status(cluster, pnn)["nodes"][of]["flags"]


def client(cluster, pnn):
    return Client(cluster.node(pnn).file("run", "ctdbd.socket"))


def control(cluster, pnn, opcode, data):
    """Its status. A node that just became inactive disconnects its clients: asked again."""
    def ask():
        try:
            with client(cluster, pnn) as c:
                return [c.control(opcode, data)[0]]
        except (Closed, OSError):
            return None
    return wait_until(ask, what=f"node {pnn} to take a request")[0]


def recover(cluster, pnn):
    """Asks for a recovery; whether it has begun yet is not waited for."""
    control(cluster, pnn, SET_RECMODE, struct.pack("=I", 1))


def set_tunable(cluster, name, value):
    for node in cluster.nodes:
        assert control(cluster, node.pnn, SET_TUNABLE, struct.pack("=II", value, len(name) + 1) + name.encode() + b"\0") == 0


def set_patience(cluster, seconds):
    """What a recovery waits for a node."""
    set_tunable(cluster, "RecoverTimeout", seconds)


def ban(cluster, pnn, seconds):
    """0: ends one."""
    assert control(cluster, pnn, SET_BAN_STATE, struct.pack("=II", pnn, seconds)) == 0


def log(cluster, pnn):
    return cluster.node(pnn).log_tail(10000)


def kill_workers(node):
    """Those that there are: there may be none at this moment."""
    for worker in node.find_program("ctdb-db-worker"):
        worker.kill()


class Sickness:
    """The directory of a node's persistent databases is gone: each recovery fails there."""

    def __init__(self, cluster, pnn):
        self.node = cluster.node(pnn)
        self.path = self.node.file("var", "persistent")
        os.rename(self.path, self.path + ".gone")
        # Those that run have the files open.
        kill_workers(self.node)

    def heal(self):
        os.rename(self.path + ".gone", self.path)


@pytest.fixture
def cluster(cluster_factory, request):
    # From one ban to the next a leader waits for ten of these.
    quick = request.node.name == "test_ban_ends_by_itself"
    cluster = cluster_factory(3, extra_config="[cluster]\n\tdead interval = 2s\n" if quick else CALM)
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    ctdb(cluster, 0, "db", "attach", "shared.tdb")
    ctdb(cluster, 0, "record", "set", "kept.tdb", "key", "before")
    return cluster


def not_leader(cluster):
    leader = status(cluster, 0)["leader"]
    return leader, [pnn for pnn in range(3) if pnn != leader]


def test_node_whose_recovery_fails_is_banned(cluster):
    leader, (other, sick) = not_leader(cluster)
    sickness = Sickness(cluster, sick)
    recover(cluster, leader)
    wait_until(lambda: "BANNED" in flags(cluster, other, sick), 4 * PATIENCE, what=f"node {sick} to be banned")
    cluster.wait_ready(2 * PATIENCE, [leader, other])
    ctdb(cluster, other, "record", "set", "kept.tdb", "key", "without it")
    ctdb(cluster, other, "record", "set", "shared.tdb", "key", "without it")
    assert any("is banned for 300 s" in log(cluster, pnn) and "kept.tdb" in log(cluster, pnn) for pnn in range(3))
    assert status(cluster, other)["leader"] != sick
    wait_until(lambda: not status(cluster, sick)["ready"], what="the node not to serve")
    # Well again, and let in by command.
    sickness.heal()
    ban(cluster, sick, 0)
    cluster.wait_ready(2 * PATIENCE)
    assert ctdb(cluster, sick, "record", "get", "kept.tdb", "key") == "without it"
    assert ctdb(cluster, sick, "record", "get", "shared.tdb", "key") == "without it"


def test_ban_ends_by_itself(cluster):
    """And comes again as long as the node is sick."""
    leader, (_, sick) = not_leader(cluster)
    set_tunable(cluster, "RecoveryBanPeriod", 2)
    sickness = Sickness(cluster, sick)
    recover(cluster, leader)
    wait_until(lambda: log(cluster, sick).count("the ban of this node is over") > 1, timeout=4 * PATIENCE, what="the end of two bans")
    sickness.heal()
    cluster.wait_ready(2 * PATIENCE)
    assert any("is banned for 2 s" in log(cluster, pnn) for pnn in range(3))


def test_leader_that_is_sick_itself(cluster):
    """It cannot ban itself: another leads, and bans it."""
    sick, others = not_leader(cluster)
    sickness = Sickness(cluster, sick)
    recover(cluster, sick)
    wait_until(lambda: "BANNED" in flags(cluster, others[0], sick), timeout=4 * PATIENCE, what=f"node {sick} to be banned")
    cluster.wait_ready(2 * PATIENCE, others)
    assert status(cluster, others[0])["leader"] in others
    sickness.heal()
    ban(cluster, sick, 0)
    cluster.wait_ready(2 * PATIENCE)


def test_two_of_three_are_sick(cluster):
    """Who is left could not go on alone, so nobody is banned; it may as well be the leader's fault: another one tries."""
    leader, others = not_leader(cluster)
    sick = [Sickness(cluster, pnn) for pnn in others]
    recover(cluster, leader)

    def told():
        return "may be at fault itself" in log(cluster, leader) or "too few nodes would be left" in log(cluster, leader)
    wait_until(told, timeout=4 * PATIENCE, what="the leader to notice")
    wait_until(lambda: any("may be at fault itself" in log(cluster, pnn) or "keeps the cluster from going on" in log(cluster, pnn) for pnn in others),
               timeout=4 * PATIENCE, what="the next one to notice")
    banned = {of for pnn in range(3) for of in range(3) if "BANNED" in flags(cluster, pnn, of)}
    assert len(banned) <= 1, "a storm of bans"
    for sickness in sick:
        sickness.heal()

    def let_in():
        """Who was sick a moment ago may be banned a moment later."""
        for pnn in range(3):
            if "BANNED" in flags(cluster, pnn, pnn):
                ban(cluster, pnn, 0)
        return not any(node.waiting_for() for node in cluster.nodes)
    wait_until(let_in, 4 * PATIENCE, "the nodes to serve")
    cluster.wait_ready(4 * PATIENCE)
    assert ctdb(cluster, others[0], "record", "get", "kept.tdb", "key") == "before"


def cluster_call(cluster, pnn, procedure, payload=b""):
    """A call of clusterd's interface on a node."""
    with client(cluster, pnn) as c:
        data = c.good(INTERFACE_CALL, struct.pack("=7I", CLUSTER_INTERFACE, 1, procedure, 5000, pnn, 8, len(payload)) + b"cluster\0" + payload)
    status, length = struct.unpack_from("=iI", data)
    assert status == 0
    return data[8 : 8 + length]


def test_flags_that_the_old_map_does_not_have(cluster):
    """Interfaces that are down are told by the view, but not to clients that know nothing of it."""
    def old_flags():
        with client(cluster, 1) as c:
            return struct.unpack_from("=III", c.good(GET_NODEMAP), 4)[1]

    def set_flags(on, off):
        cluster_call(cluster, 0, SET_OWN_FLAGS, struct.pack(">IIII", on, off, 0, 0))
    set_flags(UNHEALTHY | PARTIAL, 0)
    wait_until(lambda: old_flags() != 0, what="node 1 to hear of it")
    assert old_flags() == UNHEALTHY
    assert struct.pack(">II", 0, UNHEALTHY | PARTIAL) in cluster_call(cluster, 1, GET_STATE)
    set_flags(0, UNHEALTHY | PARTIAL)
    cluster.wait_ready(2 * PATIENCE)


@pytest.mark.skipif(SLOW, reason="the time-out is for processes at full speed")
def test_worker_that_stands_still_is_replaced(cluster):
    leader, (_, sick) = not_leader(cluster)
    set_patience(cluster, 9)
    ctdb(cluster, leader, "record", "set", "kept.tdb", "key", "so that the recovery has work for workers")
    cluster.fault(sick, "stop:ctdb-db-worker")
    recover(cluster, leader)
    wait_until(lambda: "has not moved" in log(cluster, sick), 2 * PATIENCE, what="the node to notice")
    cluster.wait_ready(2 * PATIENCE)
    assert flags(cluster, leader, sick) == []


@pytest.mark.skipif(SLOW, reason="the time-out is for processes at full speed")
def test_node_whose_workers_always_stand_still_is_banned(cluster):
    leader, (other, sick) = not_leader(cluster)
    set_patience(cluster, 9)
    end, values = threading.Event(), itertools.count()

    def stop_all():
        while not end.wait(0.002):
            try:
                cluster.fault(sick, "stop:ctdb-db-worker")
            except Exception:  # noqa: BLE001  none runs at this moment
                pass

    def banned():
        """A recovery has work for workers only if something was written since the last one; what is there already is not."""
        cluster.node(leader).run(["ctdb", "-t", "2", "record", "set", "kept.tdb", "key", f"{next(values)}"], timeout=PATIENCE, check=False, **CAPTURE)
        recover(cluster, leader)
        return "BANNED" in flags(cluster, other, sick)
    thread = threading.Thread(target=stop_all)
    thread.start()
    try:
        wait_until(banned, timeout=4 * PATIENCE, what=f"node {sick} to be banned")
        cluster.wait_ready(2 * PATIENCE, [leader, other])
    finally:
        end.set()
        thread.join()
        kill_workers(cluster.node(sick))
    ban(cluster, sick, 0)
    cluster.wait_ready(2 * PATIENCE)


@pytest.mark.skipif(SLOW, reason="the time-out is for processes at full speed")
def test_node_whose_dbd_stands_still_is_banned(cluster):
    leader, (other, sick) = not_leader(cluster)
    set_patience(cluster, 5)
    cluster.fault(sick, "stop:ctdb-dbd")
    wait_until(lambda: "BANNED" in flags(cluster, other, sick), timeout=4 * PATIENCE, what=f"node {sick} to be banned")
    cluster.wait_ready(2 * PATIENCE, [leader, other])
    cluster.fault(sick, "cont:ctdb-dbd")
    ban(cluster, sick, 0)
    cluster.wait_ready(2 * PATIENCE)
