"""Two nodes, clients of the classic socket in raw packets: what Samba and the classic tools count on."""

import os
import struct

import classic
import pytest
from classic import ACTIVE, ALL, CONNECTED, CURRENT, FETCH_WITH_HEADER, HEADER, NOREPLY, Client, Closed
from support import PATIENCE, wait_until


@pytest.fixture(scope="module")
def shared(module_factory):
    return module_factory(2)


@pytest.fixture
def cluster(shared):
    shared.wait_ready(2 * PATIENCE)
    return shared


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
    for i in range(100):
        clients[i % 2].call(db, b"%d" % i)
    for c in clients:
        assert c.traverse(db) == []  # the records are empty
        found = {key: header[1] for key, header, _ in c.traverse(db, with_empty=True)}
        assert found == {b"%d" % i: i % 2 for i in range(100)}


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
