"""Two nodes, clients of the classic socket in raw packets: what Samba and the classic tools count on."""

import errno
import os
import struct

import classic
import pytest
from classic import ACTIVE, ALL, CONNECTED, CURRENT, FETCH_WITH_HEADER, HEADER, NOREPLY, Client, Closed, without_vacuuming
from support import CALM, PATIENCE, wait_until


@pytest.fixture(scope="module")
def shared(module_factory):
    return module_factory(2, extra_config=CALM)


@pytest.fixture
def cluster(cluster):
    without_vacuuming(cluster)
    return cluster


def connect(cluster, pnn):
    return Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)


@pytest.fixture
def clients(cluster):
    """A client on each node."""
    with connect(cluster, 0) as a, connect(cluster, 1) as b:
        yield a, b


# ---- identity ----


@pytest.mark.valgrind
def test_greeting(clients):
    for pnn, c in enumerate(clients):
        assert c.control(35)[0] == pnn
        assert c.control(30)[0] > 1 and len(c.good(69)) == 64
        nodemap = c.good(91)
        assert struct.unpack_from("=I", nodemap)[0] == 2 and len(nodemap) == 4 + 2 * 36
        assert [struct.unpack_from("=II", nodemap, 4 + 36 * i) for i in range(2)] == [(0, 0), (1, 0)]
        c.register(0x123456789ABCDEF0)
        assert c.control(15)[0] == 0
        generation, slots = struct.unpack_from("=II", c.good(5))
        assert generation not in (0, 1) and slots > 0


def test_control_to_other_node(clients):
    a, b = clients
    assert [a.control(35, dest=pnn)[0] for pnn in (CURRENT, 0, 1)] == [0, 0, 1]
    assert b.control(35, dest=0)[0] == 0
    status, _, error = a.control(35, dest=7)
    assert (status, error) == (-1, "ctdb_control to disconnected node")
    assert a.control(35, dest=ALL)[0] == -1
    assert a.good(156, struct.pack("=II", 0, 5) + b"bytes", dest=1)[8:] == b"bytes"
    assert a.control(999, dest=1)[0] == -1


def test_process_and_address(clients):
    a, b = clients
    b.register(0x42424242)
    pid = os.getpid()
    assert a.control(0, struct.pack("=i", pid), dest=1)[0] == 0
    assert a.control(0, struct.pack("=i", 1), dest=1)[0] == -1
    assert a.control(151, struct.pack("=iQ", pid, 0x42424242), dest=1)[0] == 0
    assert a.control(151, struct.pack("=iQ", pid, 0x42424242), dest=0)[0] == -1


def test_leader_message(clients):
    for c in clients:
        c.register(0xF101000000000000)
    leaders = [struct.unpack("=I", c.next_message(0xF101000000000000)[1])[0] for c in clients]
    assert leaders[0] == leaders[1] and leaders[0] in (0, 1)


# ---- messages ----


@pytest.mark.valgrind
def test_messages(clients):
    a, b = clients
    srvid = 0xAE00000000000001
    for c in clients:
        c.register(srvid)
    for dest in (ALL, ACTIVE, CONNECTED):
        a.message(dest, srvid, b"to all")
        assert [c.next_message(srvid)[1] for c in clients] == [b"to all"] * 2
    for i in range(500):
        a.message(1, srvid, b"%d" % i)
    assert [b.next_message(srvid)[1] for _ in range(500)] == [b"%d" % i for i in range(500)]
    large = os.urandom(3 << 20)
    b.message(0, srvid, large)
    assert a.next_message(srvid)[1] == large


def test_malformed_packet_ends_only_its_sender(cluster, clients):
    a, _ = clients
    with connect(cluster, 0) as bad:
        assert bad.control(35)[0] == 0
        bad.socket.sendall(struct.pack("=8I", 60, classic.MAGIC, 1, 0, 7, CURRENT, 0, 1) + struct.pack("=7I", 35, 0, 0, 0, 0, 0, 99))
        with pytest.raises(Closed):
            bad.packet()
    assert a.control(35)[0] == 0
    assert "malformed packet" in cluster.node(0).log_tail(50)


# ---- databases ----


@pytest.mark.valgrind
def test_attach_is_everywhere(clients):
    a, b = clients
    for name, opcode, flags in (("everywhere_v.tdb", 18, 0), ("everywhere_p.tdb", 61, 1), ("everywhere_r.tdb", 150, 8)):
        db = a.attach(name, opcode)
        ident = struct.pack("=I", db)
        for c in clients:
            assert c.good(25, ident) == name.encode() + b"\0"
            assert os.path.exists(c.good(4, ident)[:-1])
            number, *entries = struct.unpack("=I", c.good(9)[:4])
            dbmap = c.good(9)
            entries = [struct.unpack_from("=IB", dbmap, 4 + 8 * i) for i in range(number)]
            assert (db, flags) in entries
        assert b.attach(name) == db
    assert b.control(61, b"everywhere_v.tdb\0")[0] == -1
    for bad in (b"no nul", b"\0", b"with/slash\0", b".hidden\0", b"x" * 300 + b"\0"):
        assert a.control(18, bad)[0] == -1


def dmaster(c, db, key):
    return HEADER.unpack(c.call(db, key, FETCH_WITH_HEADER)[:24])[1]


@pytest.mark.valgrind
def test_records_move(clients):
    a, b = clients
    db = a.attach("calls.tdb")
    keys = [b"key %d" % i for i in range(20)]
    last = {}
    for turn in range(6):
        c = clients[turn % 2]
        for key in keys:
            header = HEADER.unpack(c.call(db, key, FETCH_WITH_HEADER)[:24])
            assert header[1] == turn % 2 and header[0] >= last.get(key, 0)
            last[key] = header[0]
    # Many at once, from both nodes: each gets its answer.
    waiting = [(c, c.call_send(db, key)) for key in keys for c in clients for _ in range(5)]
    for c, reqid in waiting:
        assert c.call_answer(reqid)[:2] == (classic.REPLY_CALL, 0)
    owners = {key: [dmaster(a, db, key), dmaster(b, db, key)] for key in keys}
    assert set(map(tuple, owners.values())) == {(0, 1)}


def test_calls_without_sense_are_answered(clients):
    a, _ = clients
    persistent = a.attach("nocalls.tdb", 61)
    for db in (0x12345678, persistent):
        assert a.call_answer(a.call_send(db, b"key"))[0] == classic.REPLY_ERROR


@pytest.mark.valgrind
def test_traverse(clients):
    a, b = clients
    db = a.attach("traverse.tdb")
    assert a.traverse(db) == []
    # An empty record that never left its location master is removed at once: these were on both nodes.
    for turn in (1, 0):
        for i in range(100):
            clients[(i + turn) % 2].call(db, b"%d" % i)
    for c in clients:
        assert c.traverse(db) == []  # the records are empty
        found = {key: header[1] for key, header, _ in c.traverse(db, with_empty=True)}
        assert found == {b"%d" % i: i % 2 for i in range(100)}


# ---- what the other daemons say ----


def interface_call(c, endpoint, node, interface, procedure, payload=b"", timeout_ms=5000):
    """(status, result) of INTERFACE_CALL."""
    name = endpoint.encode() + b"\0"
    head = struct.pack("=7I", interface, 1, procedure, timeout_ms, node, len(name), len(payload))
    data = c.good(513, head + name + payload)
    status, length = struct.unpack_from("=iI", data)
    return status, data[8 : 8 + length]


CLUSTER, GET_STATE = 0x20C70001, 1


@pytest.mark.valgrind
def test_gateway(clients):
    """Every daemon of every node is reached through any node's socket."""
    a, b = clients
    for c in clients:
        for node in (CURRENT, 0, 1):
            status, result = interface_call(c, "cluster", node, CLUSTER, GET_STATE)
            assert status == 0 and len(result) > 20
    assert interface_call(a, "cluster", 1, CLUSTER, GET_STATE)[1][:16] == interface_call(b, "cluster", 1, CLUSTER, GET_STATE)[1][:16]
    assert interface_call(a, "nobody", 0, CLUSTER, GET_STATE)[0] == errno.ENOENT
    assert interface_call(a, "nobody", 1, CLUSTER, GET_STATE)[0] == errno.ENOENT
    assert interface_call(a, "cluster", 7, CLUSTER, GET_STATE)[0] == errno.EHOSTUNREACH
    assert interface_call(a, "cluster", 0, CLUSTER, 9999)[0] == errno.ENOSYS
    assert a.control(513, b"short")[0] == -1


# ---- what recovery daemons answered ----


def test_questions_by_message(clients):
    a, _ = clients
    reply = 0xCE01000000000042
    a.register(reply)
    leader = struct.unpack("=I", leader_message(a))[0]
    a.message(CONNECTED, 0xFB00000000000000, struct.pack("=I4xQ", 0, reply))  # TAKEOVER_RUN: the leader answers
    assert struct.unpack("=i", a.next_message(reply)[1])[0] == leader
    a.message(CONNECTED, 0xFB03000000000000, struct.pack("=I4xQI4x", 0, reply, 10))  # DISABLE_TAKEOVER_RUNS: all do
    assert {struct.unpack("=i", a.next_message(reply)[1])[0] for _ in range(2)} == {0, 1}
    a.message(CONNECTED, 0xFB04000000000000, struct.pack("=I4xQI4x", 0, reply, 10))  # DISABLE_RECOVERIES: all agree
    assert {struct.unpack("=i", a.next_message(reply)[1])[0] for _ in range(2)} == {0, 1}
    a.message(1, 0xF800000000000000, struct.pack("=I4xQ", 0, reply))  # MEM_DUMP
    assert b"talloc" in a.next_message(reply)[1]
    # Nobody wants an answer; nobody can get one; too short.
    for data in (struct.pack("=I4xQ", 0, 0), struct.pack("=I4xQ", 99, reply), b"abc", b""):
        a.message(CONNECTED, 0xFB00000000000000, data)
    a.message(CURRENT, reply, b"last")
    assert a.next_message(reply)[1] == b"last"


def leader_message(c):
    c.register(0xF101000000000000)
    return c.next_message(0xF101000000000000)[1]


def test_controls_without_sense_are_answered(clients):
    """Every number, to both nodes: one answer each. Left out is what stops nodes or freezes databases."""
    a, _ = clients
    for dest in (CURRENT, 1):
        asked = {n: a.ask(n, dest=dest) for n in (*range(171), 500, 511, 514, 0xFFFFFFFF) if n not in (16, 33, 36, 101, 109)}
        answers = {n: a.answer(reqid) for n, reqid in asked.items()}
        assert all(answers[n][0] == -1 and not answers[n][1] for n in (2, 10, 19, 34, 68, 100, 163, 500, 514, 0xFFFFFFFF))
        assert "public addresses" in answers[134][2]
        assert "event scripts" in answers[137][2]
    for n in (101, 102, 157, 158):  # payloads of a wrong size
        assert a.control(n, b"x" * 4)[0] == -1
    assert a.control(109, struct.pack("=II", 1, 10))[0] == -1  # another node's ban
    assert struct.unpack("=II", a.good(110)) == (0, 0)


# ---- databases that end ----


@pytest.mark.valgrind
def test_detach(clients):
    a, b = clients
    db = a.attach("detach.tdb")
    ident = struct.pack("=I", db)
    for i in range(50):
        clients[i % 2].call(db, b"%d" % i)
    assert a.control(139, ident)[0] == -1

    def allow(value):
        for c in clients:
            c.good(48, struct.pack("=II", value, 20) + b"AllowClientDBAttach\0")

    allow(0)
    try:
        a.good(139, ident)
        for c in clients:
            wait_until(lambda c=c: c.control(4, ident)[0] == -1, what="the end of the database")
            assert c.call_answer(c.call_send(db, b"1"))[0] == classic.REPLY_ERROR
    finally:
        allow(1)
    assert b.attach("detach.tdb") == db
    assert a.traverse(db, with_empty=True) == []
    clients[1].call(db, b"1")
    assert dmaster(a, db, b"1") == 0


# ---- transactions ----


@pytest.mark.valgrind
def test_commit(clients):
    a, b = clients
    db = a.attach("commit.tdb", 61)
    assert [c.seqnum(db) for c in clients] == [0, 0]
    assert a.control(119, a.commit_buffer(db, [(b"k1", b"v1"), (b"k2", b"v2")], 1))[0] == 0
    assert [c.seqnum(db) for c in clients] == [1, 1]
    assert b.control(119, b.commit_buffer(db, [(b"k1", b"new")], 2, 1, 2))[0] == 0
    # The same once more changes nothing and succeeds.
    assert b.control(119, b.commit_buffer(db, [(b"k1", b"new")], 2, 1, 2))[0] == 0
    for c in clients:
        records = {key: data for key, _, data in c.traverse(db)}
        assert records == {b"k1": b"new", b"k2": b"v2", classic.SEQNUM_KEY: struct.pack("=Q", 2)}
    assert a.control(119, a.commit_buffer(db, [(b"k1", b"v1")], 3)[:-1])[0] == -1
    assert a.control(119, a.commit_buffer(0x1234, [(b"k1", b"v1")], 3))[0] == -1


def test_conflicting_commit_ends_in_recovery(clients):
    a, b = clients
    db = a.attach("conflict.tdb", 61)
    assert a.control(119, a.commit_buffer(db, [(b"k", b"first")], 1))[0] == 0
    recoveries = struct.unpack_from("=qq", a.good(69), 48)
    # Same record sequence number, other data: refused by all; a recovery sees to it that all are equal, then the client is told.
    status, _, error = b.control(119, b.commit_buffer(db, [(b"k", b"second")], 2))
    assert (status, error) == (2, "trans3 commit ended by recovery")
    assert struct.unpack_from("=qq", a.good(69), 48) >= recoveries
    assert [c.seqnum(db) for c in clients] == [1, 1]
    assert b.control(119, b.commit_buffer(db, [(b"k", b"second")], 2, 1, 2))[0] == 0
    assert [c.seqnum(db) for c in clients] == [2, 2]


def test_commits_of_both_nodes_at_once(clients):
    a, b = clients
    dbs = [c.attach(f"parallel{i}.tdb", 61) for i, c in enumerate(clients)]
    for n in range(1, 30):
        asked = [c.ask(119, c.commit_buffer(db, [(b"k", b"%d" % n)], n, rsn=n)) for c, db in zip(clients, dbs)]
        assert [c.answer(r)[0] for c, r in zip(clients, asked)] == [0, 0]
    assert [[c.seqnum(db) for db in dbs] for c in clients] == [[29, 29]] * 2


def test_pushed_record_is_there_before_the_next_commit(clients):
    a, b = clients
    db, companion = a.attach("push.tdb"), a.attach("push_persistent.tdb", 61)
    for n in range(1, 20):
        key = b"push %d" % n
        rsn = HEADER.unpack(a.call(db, key, FETCH_WITH_HEADER)[:24])[0]
        generation = struct.unpack_from("=I", a.good(5))[0]
        data = struct.pack("=II", generation, db) + HEADER.pack(rsn, 0, 0, 1, 0) + struct.pack("=I", len(key)) + key
        a.ask(162, data + struct.pack("=I", 5) + b"value", dest=ACTIVE, flags=NOREPLY)
        assert a.control(119, a.commit_buffer(companion, [(key, b"value")], n))[0] == 0


# ---- nodes that go ----


def test_lost_node(cluster, clients):
    a, _ = clients
    with connect(cluster, 0) as c:
        db = c.attach("lost.tdb", 61)
        assert c.control(119, c.commit_buffer(db, [(b"k", b"1")], 1))[0] == 0
        cluster.fault(1, "kill:ctdb-dbd")
        # Whatever is asked now gets an answer; the transaction is stored at last.
        status = c.control(119, c.commit_buffer(db, [(b"k", b"2")], 2, rsn=2))[0]
        assert status in (0, 2, -1)
        c.control(35, dest=1)

        def committed():
            return c.seqnum(db) == 2 or c.control(119, c.commit_buffer(db, [(b"k", b"2")], 2, rsn=2))[0] == 0

        wait_until(committed, 4 * PATIENCE, "a commit after a node's databases were lost")
        cluster.wait_ready(4 * PATIENCE)
        assert c.control(35, dest=1)[0] == 1
        assert c.seqnum(db, 1) == 2
