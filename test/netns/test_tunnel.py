"""The new protocol over the old one: this suite beside Debian's ctdbd on each node, its packets carried by that (carrier = tunnel)."""

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import struct
import sys

import pytest
from endpoint import GET_LINKS, NOTIFY, TRANSPORT, Endpoint, links
from messenger import Messenger, find_messenger
from olddaemon import find_debian_root
from support import CAPTURE, PATIENCE, TOP, need_programs, output, wait_until

sys.path.append(os.path.join(TOP, "test", "local"))

from classic import Client  # noqa: E402

NODES = 3
numbers = itertools.count(1)
ADDRESS = 0x8E0043544E470001  # srvid and tunnel id
REQ_MESSAGE, REQ_CONTROL, REQ_TUNNEL = 5, 7, 10
TUNNEL_REGISTER = 152
CURRENT, CONNECTED = 0xF0000001, 0xF0000004
MAGIC, HELLO, DATA = 0x43544E54, 1, 4
GROUP_ALL, GROUP_ACTIVE = 0xFFFFFFF0, 0xFFFFFFF2
CONFIG = """[cluster]
\tnode address = {address}
\theartbeat interval = 200ms
\tdead interval = 5s
[transport]
\tcarrier = tunnel
\tsecurity = none
[logging]
\tlocation = file:/var/log/ctdb/log.new
\tlog level = INFO
"""


class NewNode:
    """This project's suite on a node that runs Debian's ctdbd."""

    def __init__(self, node, bindir):
        self.node, self.pnn, self.bindir = node, node.pnn, bindir
        self.process = None

    def path(self, name=""):
        """A file of the run directory, as seen from outside."""
        return f"/proc/{self.node.process.pid}/root/run/ctdb/new/run/{name}"

    def old_socket(self):
        return f"/proc/{self.node.process.pid}/root/run/ctdb/ctdbd.socket"

    def argv(self, *words):
        return ["/usr/bin/env", "-i", "CTDB_BASE=/run/ctdb/new", f"CTDB_LIBEXEC={self.bindir}",
                f"PATH={self.bindir}:/usr/sbin:/usr/bin:/sbin:/bin", *words]

    def start(self):
        base = f"/proc/{self.node.process.pid}/root/run/ctdb/new"
        os.makedirs(f"{base}/var")
        for name, text in (("nodes", "".join(n.address + "\n" for n in self.node.cluster.nodes)),
                           ("ctdb.conf", CONFIG.format(address=self.node.address))):
            with open(os.path.join(base, name), "w", encoding="utf-8") as f:
                f.write(text)
        with open(self.node.file("log", "new"), "ab") as log:
            self.process = self.node.popen(self.argv(f"{self.bindir}/ctdbd", "-F"), stdin=log, stdout=log, stderr=log)

    def programs(self, name):
        """Its own processes of that name: Debian's daemon is called ctdbd, too."""
        ours = os.path.realpath(os.path.join(self.bindir, name))
        found = []
        for p in self.node.find_program(name):
            try:
                if os.path.realpath(os.readlink(f"/proc/{p.pid}/exe")) == ours:
                    found.append(p)
            except OSError:
                pass
        return found

    def ctdb(self, *words):
        return self.node.run(self.argv(f"{self.bindir}/ctdb", *words), timeout=60, check=False, **CAPTURE)

    def status(self):
        done = self.ctdb("-o", "json", "cluster", "status")
        try:
            return json.loads(done.stdout) if done.returncode == 0 else {}
        except ValueError:
            return {}

    def log(self):
        try:
            with open(self.node.file("log", "log.new"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""


class Nodes(list):
    """All of them. held: the connection to the old ctdbd of the last node that keeps the tunnel's id from tunneld."""

    held = None

    def wait_ready(self, nodes=None):
        wanted = self if nodes is None else nodes
        wait_until(lambda: all(n.status().get("ready") for n in wanted), 4 * PATIENCE,
                   lambda: "the nodes to serve: " + "; ".join(str(n.status().get("verdict")) for n in wanted))


@pytest.fixture(scope="module")
def nodes(request, need_root, module_factory, bindir):
    need_programs("ip", "nsenter")
    cluster = module_factory(NODES, mode="netns", debian=find_debian_root(request.config))
    made = Nodes(NewNode(node, bindir) for node in cluster.nodes)
    # One node has to do with messages: there somebody else has the tunnel's id.
    made.held = Client(made[-1].old_socket())
    assert made.held.control(TUNNEL_REGISTER, srvid=ADDRESS)[0] == 0
    for node in made:
        node.start()
    made.wait_ready()
    yield made
    made.held.socket.close()


def wait_linked(nodes):
    wait_until(lambda: all(all(up for up, _ in links(n).values()) for n in nodes), 4 * PATIENCE, "all links")


def ping(source, target):
    """From an endpoint of one node to tunneld of the other and back."""
    with Endpoint(source, "pinger") as e:
        p = e.call(("transport", target.pnn), TRANSPORT, GET_LINKS)
    assert (p.status, p.source) == (0, ("transport", target.pnn))


def test_leader_and_ping(nodes):
    leaders = wait_until(lambda: (found := {n.status().get("leader") for n in nodes}) and len(found) == 1 and None not in found and found, what="one leader")
    assert leaders <= set(range(NODES))
    for a in nodes:
        wait_until(lambda a=a: {n["pnn"]: n["flags"] for n in a.status().get("nodes", [])} == {pnn: [] for pnn in range(NODES)}, what="all to be seen")
        for b in nodes:
            ping(a, b)
    # nobody listens on the transport port but Debian's daemon
    assert not nodes[0].programs("ctdb-transportd") and nodes[0].programs("ctdb-tunneld")


def test_tunnel_and_messages(nodes):
    assert "as node 0, by tunnel" in nodes[0].log()
    assert "by messages" in nodes[-1].log()


def test_records(nodes):
    output(nodes[0].ctdb("db", "attach", "through.tdb"))
    for n in nodes:
        output(n.ctdb("record", "set", "through.tdb", "key", f"by {n.pnn}"))
        for other in nodes:
            assert output(other.ctdb("record", "get", "through.tdb", "key")).rstrip("\n") == f"by {n.pnn}"


def test_no_such_endpoint(nodes):
    with Endpoint(nodes[0], "asker") as e:
        assert e.call(("nobody", 1), TRANSPORT, GET_LINKS).status == errno.ENOENT


def all_hear(speaker, listeners, group):
    """One notification to the group came to all. A node whose lease ended for a moment, on a machine with much to do, is not active."""
    number = next(numbers)
    speaker.send(NOTIFY, ("listener", group), 0x7E570001, number, b"to all")
    for listener in listeners:
        listener.socket.settimeout(3)
        proc = None
        while proc != number:
            try:
                p = listener.receive()
            except socket.timeout:
                return False
            assert (p.kind, p.source, p.payload) == (NOTIFY, ("speaker", 1), b"to all") and p.destination == ("listener", listener.node.pnn)
            assert p.proc <= number
            proc = p.proc
    return True


def test_groups(nodes):
    listeners = [Endpoint(n, "listener") for n in nodes]
    try:
        with Endpoint(nodes[1], "speaker") as e:
            for group in (GROUP_ALL, GROUP_ACTIVE):
                wait_until(lambda group=group: all_hear(e, listeners, group), what="a notification of the group to come to all")
    finally:
        for listener in listeners:
            listener.__exit__()


@pytest.mark.parametrize("target", [1, NODES - 1], ids=["tunnel", "messages"])
def test_bulk(nodes, target):
    """64 MiB in requests of 1 MiB, four at a time, between them control messages that keep their own order."""
    rng = random.Random(target)
    blocks = [rng.randbytes((1 << 20) + rng.randrange(5000)) for _ in range(8)]
    before = links(nodes[0])
    with Endpoint(nodes[0], "source") as source, Endpoint(nodes[target], "sink") as sink:
        sent = answered = 0
        taken, small = [], []
        while answered < 64:
            while sent < 64 and sent - answered < 4:
                source.request(("sink", target), 0x7E570002, sent, blocks[sent % 8], bulk=True)
                source.send(NOTIFY, ("sink", target), 0x7E570002, sent)
                sent += 1
            p = sink.receive()
            if p.kind == NOTIFY:
                small.append(p.proc)
                continue
            taken.append(p.proc)
            sink.answer(p, hashlib.sha256(p.payload).digest(), bulk=True)
            reply = source.receive()
            assert (reply.status, reply.payload) == (0, hashlib.sha256(blocks[reply.proc % 8]).digest())
            answered += 1
        while len(small) < 64:
            small.append(sink.receive().proc)
        assert taken == small == list(range(64))
    assert links(nodes[0]) == before


@pytest.mark.parametrize("target", [1, NODES - 1], ids=["tunnel", "messages"])
def test_stream(nodes, target, request):
    """64 MiB with the credits of our streams on top of the windows of the tunnel."""
    program, made = find_messenger(request.config), []
    for node, name in ((nodes[0], "cli.1"), (nodes[target], "test.1")):
        made.append(Messenger(lambda argv, n=node, **kw: n.node.popen(n.argv(*argv), **kw), program, "/run/ctdb/new/run/msg", name, node.pnn))
    writer, reader = made
    try:
        writer.say("write", f"test.1@{target}", "bytes", 64 << 20, 60000)
        assert reader.expect("stream") == ["cli.1@0"]
        reader.expect("first")
        status, digest = writer.expect("written")
        assert status == "0"
        assert reader.expect("end") == ["0", str(64 << 20), digest]
    finally:
        for one in made:
            one.close()


def test_largest_packet(nodes):
    data = random.Random(5).randbytes(64 << 20)
    with Endpoint(nodes[1], "source") as source, Endpoint(nodes[0], "sink") as sink:
        source.request(("sink", 0), 0x7E570002, 1, data, bulk=True)
        p = sink.receive()
        assert hashlib.sha256(p.payload).digest() == hashlib.sha256(data).digest()


def tunnel_packet(kind, source, target, session, to_session, body):
    packet = struct.pack(">IIIIIQQI", MAGIC, 1, kind, source, target, session, to_session, len(body))
    return packet + body + bytes(-len(body) % 4)


def garbage(rng, target):
    """Bytes that are no packet, and packets that are not from who they say."""
    yield b""
    yield b"x"
    yield rng.randbytes(44)
    yield rng.randbytes(3 << 20)
    hello = struct.pack(">QIII", 666, 2, 1, 1)
    piece = struct.pack(">IIIQI", 0, 100, 0, 0, 100) + bytes(100)
    for source in (0, 1, 2, 3, 255, 0xFFFFFFFF):
        for kind in range(9):
            for body in (b"", hello, piece, rng.randbytes(rng.randrange(300)), rng.randbytes(65600)):
                for session in (0, rng.getrandbits(64)):
                    yield tunnel_packet(kind, source, target, rng.getrandbits(64), session, body)
    cut = tunnel_packet(DATA, 0, target, 1, 1, piece)
    for n in range(0, len(cut), 7):
        yield cut[:n]


def test_garbage(nodes):
    before = [links(n) for n in nodes]
    processes = [{p.pid for p in n.programs("ctdb-tunneld")} for n in nodes]
    rng = random.Random(1)
    for source in (nodes[0], nodes[-1]):
        with Client(source.old_socket()) as c:
            for target in range(NODES):
                for data in garbage(rng, target):
                    for destination in {target, CONNECTED if target == 0 else target}:
                        c.send(REQ_MESSAGE, destination, struct.pack("=QI", ADDRESS, len(data)) + data)
                    c.send(REQ_TUNNEL, target, struct.pack("=QII", ADDRESS, 0x10, len(data)) + data)
            assert c.control(35)[0] == source.pnn  # the old daemon has read all of it
    for a in nodes:
        for b in nodes:
            ping(a, b)
    assert [links(n) for n in nodes] == before
    assert [{p.pid for p in n.programs("ctdb-tunneld")} for n in nodes] == processes
    assert any("somebody else sends to our address" in n.log() for n in nodes)


def old_daemons(node):
    ours = {p.pid for p in node.programs("ctdbd")}
    found = [p for p in node.node.find_program("ctdbd") if p.pid not in ours]
    assert found
    return found


@pytest.mark.parametrize("victim", [0, NODES - 1], ids=["tunnel", "messages"])
def test_old_daemon_restart(nodes, victim):
    """The links of that node go down and come back, those between the others do not care."""
    node = nodes[victim]
    others = [n for n in nodes if n is not node]
    before = {n.pnn: links(n) for n in nodes}
    tunneld = {p.pid for p in node.programs("ctdb-tunneld")}
    for p in old_daemons(node):
        p.signal(signal.SIGKILL)
    wait_until(lambda: all(ups > before[victim][pnn][1] for pnn, (up, ups) in links(node).items()), 4 * PATIENCE, "new links")
    nodes.wait_ready()
    wait_linked(nodes)
    for a in nodes:
        for b in nodes:
            ping(a, b)
    assert links(others[0])[others[1].pnn] == before[others[0].pnn][others[1].pnn]
    assert {p.pid for p in node.programs("ctdb-tunneld")} == tunneld
    assert output(node.ctdb("record", "get", "through.tdb", "key"))


def test_tunneld_restart(nodes):
    before = {n.pnn: links(n)[0][1] for n in nodes[1:]}
    for p in nodes[0].programs("ctdb-tunneld"):
        p.signal(signal.SIGKILL)
    wait_until(lambda: all(links(n)[0][1] > before[n.pnn] for n in nodes[1:]), 4 * PATIENCE, "new links")
    nodes.wait_ready()
    wait_linked(nodes)
    for a in nodes:
        for b in nodes:
            ping(a, b)


def test_silent_old_daemon(nodes):
    """A ctdbd that is stopped for a while: its node is given up, and comes back by itself."""
    node, others = nodes[1], [nodes[0], nodes[2]]
    stopped = old_daemons(node)
    for p in stopped:
        p.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: not any(up for up, _ in links(node).values()), what="the links to be down")
        nodes.wait_ready(others)
    finally:
        for p in stopped:
            p.signal(signal.SIGCONT)
    wait_linked(nodes)
    nodes.wait_ready()
    ping(node, nodes[0])


def test_stop_in_order(nodes):
    """The last test: a node says goodbye, the others notice at once."""
    for p in nodes[0].programs("ctdbd"):
        p.signal(signal.SIGTERM)
    assert nodes[0].process.wait(timeout=2 * PATIENCE) == 0
    wait_until(lambda: not links(nodes[1])[0][0], what="the link to be down")
    assert "link to node 0 is down" in nodes[1].log()
    shutil.rmtree(f"/proc/{nodes[0].node.process.pid}/root/run/ctdb/new", ignore_errors=True)
