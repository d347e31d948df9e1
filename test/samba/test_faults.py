"""Clients of Samba when nodes and daemons fail."""

import re
import time

import smb2
from support import wait_until


def put_and_get(smb, tmp_path, text, putter, getter):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text(text)
    smb.smbclient(putter, f"put {source} passed-on")
    smb.smbclient(getter, f"get passed-on {target}")
    assert target.read_text() == text


def test_power_cut_of_a_node_with_locks(smb, tmp_path):
    victim, witness = smb.agent(2), smb.agent(0)
    victim.call("open", name="cut-open", share=smb2.SHARE_NONE)
    locked = victim.call("open", name="cut-lock")
    assert victim.call("lock", file_id=locked, offset=0, length=10) == smb2.OK
    own = witness.call("open", name="cut-lock")
    assert witness.call("create", name="cut-open")[0] == smb2.SHARING_VIOLATION
    assert witness.call("lock", file_id=own, offset=0, length=10) == smb2.LOCK_NOT_GRANTED

    smb.cluster.fault(2, "power-off")
    wait_until(lambda: witness.call("create", name="cut-open")[0] == smb2.OK, 60, "the dead node's open to vanish")
    wait_until(lambda: witness.call("lock", file_id=own, offset=0, length=10) == smb2.OK, 60, "the dead node's lock to vanish")
    put_and_get(smb, tmp_path, "two nodes left", 0, 1)
    wait_until(lambda: not re.search(r"^2:\d+ ", smb.smbstatus(0), re.M), what="the sessions of the dead node to vanish")

    smb.cluster.fault(2, "power-on")
    smb.cluster.wait_ready(60)
    smb.wait_serving(2)
    put_and_get(smb, tmp_path, "three nodes again", 0, 2)
    back = smb.agent(2)
    assert witness.call("lock", file_id=own, offset=0, length=10, flags=smb2.LOCK_UNLOCK) == smb2.OK
    again = back.call("open", name="cut-lock")
    assert back.call("lock", file_id=again, offset=0, length=10) == smb2.OK
    assert witness.call("lock", file_id=own, offset=0, length=10) == smb2.LOCK_NOT_GRANTED


def clients_do_not_notice(smb, program):
    """Kills a daemon of node 1 while clients of all nodes go on working with connections and opens that they had before."""
    agents = [smb.agent(pnn) for pnn in range(3)]
    kept = [agent.call("open", name=f"kept-{program}-{agent.pnn}") for agent in agents]
    node = smb.cluster.node(1)
    before = {p.pid for p in node.find_program(program)}
    assert before
    smb.cluster.fault(1, f"kill:{program}")
    wait_until(lambda: {p.pid for p in node.find_program(program)} - before, what=f"a new {program}")
    end = time.monotonic() + 5
    number = 0
    while time.monotonic() < end or number < 30:
        for agent, file_id in zip(agents, kept):
            assert agent.call("write", file_id=file_id, offset=number, data=b"x") == smb2.OK
            common = agent.call("open", name=f"common-{number % 5}")
            agent.call("close_file", file_id=common)
        number += 1
    smb.cluster.wait_ready(60)
    for agent, file_id in zip(agents, kept):
        assert agent.call("read", file_id=file_id, offset=0, length=number)[0] == smb2.OK


def test_clients_do_not_notice_a_killed_clusterd(smb, own_daemons):
    clients_do_not_notice(smb, "ctdb-clusterd")


def test_clients_do_not_notice_a_killed_transportd(smb, own_daemons):
    clients_do_not_notice(smb, "ctdb-transportd")


def test_killed_dbd_comes_back_and_samba_with_it(smb, own_daemons, tmp_path):
    others = [smb.agent(pnn) for pnn in (0, 2)]
    kept = [agent.call("open", name=f"kept-dbd-{agent.pnn}", share=smb2.SHARE_NONE) for agent in others]
    node = smb.cluster.node(1)
    # This node owns the record of a file that a client of node 0 has open: it must survive the restart.
    assert smb.agent(1).call("create", name="kept-dbd-0")[0] == smb2.SHARING_VIOLATION
    before, servers = {p.pid for p in node.find_program("ctdb-dbd")}, node.find_program("smbd")
    smb.cluster.fault(1, "kill:ctdb-dbd")
    wait_until(lambda: {p.pid for p in node.find_program("ctdb-dbd")} - before, what="a new ctdb-dbd")
    wait_until(lambda: not any(p.alive() for p in servers), 60, "the former smbd to notice")
    smb.cluster.wait_ready(60)
    smb.wait_serving(1)
    agent = smb.agent(1)
    for other in others:
        assert agent.call("create", name=f"kept-dbd-{other.pnn}")[0] == smb2.SHARING_VIOLATION
    for other, file_id in zip(others, kept):
        assert other.call("write", file_id=file_id, offset=0, data=b"still here") == smb2.OK
    put_and_get(smb, tmp_path, "after the restart", 1, 0)


def test_partitioned_node_stops_serving_and_comes_back(smb, own_daemons, tmp_path):
    lonely, witness = smb.agent(2), smb.agent(0)
    lonely.call("open", name="split", share=smb2.SHARE_NONE)
    smb.cluster.partition([[0, 1], [2]])
    # The majority goes on without what node 2 held. Node 2 must not serve in the meantime: its clients are thrown out.
    wait_until(lambda: witness.call("create", name="split")[0] == smb2.OK, 60, "the majority to go on")
    wait_until(lambda: smb.cluster.node(2).waiting_for(), 60, "node 2 to say that it does not serve")
    smb.cluster.heal()
    smb.cluster.wait_ready(60)
    smb.wait_serving(2)
    put_and_get(smb, tmp_path, "healed", 0, 2)
