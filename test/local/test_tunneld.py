"""ctdb-tunneld with existing daemons that are played by the test: what they refuse, lose, repeat, say wrong, or do not read."""

import errno
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import threading

import pytest
from endpoint import GET_LINKS, LINK_CHANGED, NOTIFY, SUBSCRIBE, TRANSPORT, Endpoint, links, xdr_string
from support import PATIENCE, SLOW, wait_until

ADDRESS = 0x8E0043544E470001
MAGIC = 0x43544442
REQ_MESSAGE, REQ_CONTROL, REPLY_CONTROL, REQ_TUNNEL = 5, 7, 8, 10
GET_PNN, REGISTER_SRVID, TUNNEL_REGISTER = 35, 23, 152
DATA = 4
DEAD = 10000 if SLOW else 4000


class Connection:
    """A client of a played daemon."""

    def __init__(self, sock, pnn):
        self.socket, self.pnn = sock, pnn
        self.srvid = self.tunnel = False
        self.incoming, self.outgoing = b"", bytearray()


def packet(operation, body, reqid=0, pnn=0):
    body += bytes(-len(body) % 8)
    return struct.pack("=8I", 32 + len(body), MAGIC, 1, 1, operation, 0, pnn, reqid) + body


class OldCluster:
    """Existing daemons of all nodes, in one thread. What may be wrong with them is in the attributes; lock guards them."""

    def __init__(self, directory, n):
        self.paths = [os.path.join(directory, f"old{pnn}") for pnn in range(n)]
        self.pnns = list(range(n))     # that they say
        self.tunnels = [True] * n      # whether they know them
        self.deaf = [False] * n        # daemons that pass nothing on
        self.lose = self.double = 0    # so many of the next DATA packets
        self.held = {pnn: 0 for pnn in range(n)}  # bytes of DATA that a deaf daemon was given
        self.carried = {REQ_MESSAGE: 0, REQ_TUNNEL: 0}
        self.lock = threading.RLock()
        self.selector = selectors.DefaultSelector()
        self.listeners, self.connections = {}, []
        self.wake_read, self.wake_write = os.pipe()
        self.selector.register(self.wake_read, selectors.EVENT_READ, None)
        self.ending = False
        for pnn in range(n):
            self.listen(pnn)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def listen(self, pnn):
        with self.lock:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind(self.paths[pnn])
            s.listen(10)
            self.listeners[pnn] = s
            self.selector.register(s, selectors.EVENT_READ, pnn)
            os.write(self.wake_write, b"x")

    def stop(self, pnn):
        """The daemon of a node ends."""
        with self.lock:
            self.selector.unregister(self.listeners[pnn])
            self.listeners.pop(pnn).close()
            os.unlink(self.paths[pnn])
            for c in [c for c in self.connections if c.pnn == pnn]:
                self.drop(c)

    def close(self):
        self.ending = True
        os.write(self.wake_write, b"x")
        self.thread.join(PATIENCE)
        for s in [*self.listeners.values(), *(c.socket for c in self.connections)]:
            s.close()
        os.close(self.wake_read)
        os.close(self.wake_write)
        self.selector.close()

    def say(self, pnn, raw):
        """Bytes to every client of a node."""
        with self.lock:
            for c in self.connections:
                if c.pnn == pnn:
                    self.send(c, raw)

    def run(self):
        while not self.ending:
            for key, mask in self.selector.select():
                with self.lock:
                    self.event(key, mask)

    def event(self, key, mask):
        if key.fileobj == self.wake_read:
            os.read(self.wake_read, 100)
        elif isinstance(key.data, Connection):
            if key.data not in self.connections:
                return
            if mask & selectors.EVENT_WRITE:
                self.flush(key.data)
            if mask & selectors.EVENT_READ:
                self.read(key.data)
        elif self.listeners.get(key.data) is key.fileobj:
            c = Connection(key.fileobj.accept()[0], key.data)
            c.socket.setblocking(False)
            self.connections.append(c)
            self.selector.register(c.socket, selectors.EVENT_READ, c)

    def drop(self, c):
        self.connections.remove(c)
        self.selector.unregister(c.socket)
        c.socket.close()

    def send(self, c, raw):
        c.outgoing += raw
        self.flush(c)

    def flush(self, c):
        try:
            while c.outgoing:
                del c.outgoing[:c.socket.send(c.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            return  # its reader finds the end
        self.selector.modify(c.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if c.outgoing else 0), c)

    def read(self, c):
        try:
            data = c.socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.drop(c)
            return
        c.incoming += data
        while len(c.incoming) >= 32 and len(c.incoming) >= struct.unpack_from("=I", c.incoming)[0]:
            size, magic, version, _, operation, node, _, reqid = struct.unpack_from("=8I", c.incoming)
            assert (magic, version, size % 8) == (MAGIC, 1, 0)
            body, c.incoming = c.incoming[32:size], c.incoming[size:]
            self.packet(c, operation, node, reqid, body)

    def packet(self, c, operation, node, reqid, body):
        if operation == REQ_CONTROL:
            opcode, _, srvid = struct.unpack_from("=IIQ", body)
            self.send(c, packet(REPLY_CONTROL, struct.pack("=iII", self.control(c, opcode, srvid), 0, 0), reqid))
            return
        address, first, second = struct.unpack_from("=QII", body)
        assert address == ADDRESS
        size, data = (second, body[16:]) if operation == REQ_TUNNEL else (first, body[12:])
        self.carry(operation, node, data[:size], body)

    def control(self, c, opcode, srvid):
        if opcode == GET_PNN:
            return self.pnns[c.pnn]
        assert srvid == ADDRESS
        if opcode == REGISTER_SRVID:
            c.srvid = True
            return 0
        assert opcode == TUNNEL_REGISTER
        c.tunnel = self.tunnels[c.pnn]
        return 0 if c.tunnel else -1

    def carry(self, operation, node, data, body):
        assert node in range(len(self.paths))
        is_data = struct.unpack_from(">I", data, 8)[0] == DATA
        if self.deaf[node]:
            self.held[node] += len(data) if is_data else 0
            return
        if is_data and self.lose:
            self.lose -= 1
            return
        copies = 1
        if is_data and self.double:
            self.double -= 1
            copies = 3
        for c in self.connections:
            if c.pnn == node and (c.tunnel if operation == REQ_TUNNEL else c.srvid):
                self.carried[operation] += 1
                self.send(c, packet(operation, body, pnn=node) * copies)


class Node:
    """A node of which only tunneld runs."""

    def __init__(self, base, bindir, pnn, old, n, extra=""):
        self.base, self.bindir, self.pnn = os.path.join(base, str(pnn)), bindir, pnn
        self.process = None
        os.makedirs(os.path.join(self.base, "run"))
        with open(os.path.join(self.base, "ctdb.conf"), "w", encoding="utf-8") as f:
            f.write(f"[cluster]\nnode address = 127.0.0.{31 + pnn}\nheartbeat interval = 100\ndead interval = {DEAD}\n"
                    f"[transport]\ncarrier = tunnel\nsecurity = none\ntunnel socket = {old.paths[pnn]}\n{extra}\n"
                    f"[logging]\nlocation = file:{self.base}/log\nlog level = DEBUG\n")
        self.nodes([f"127.0.0.{31 + i}" for i in range(n)])
        self.start()

    def path(self, name=""):
        return os.path.join(self.base, "run", name)

    def nodes(self, lines):
        with open(os.path.join(self.base, "nodes"), "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in lines)

    def start(self):
        ours, theirs = os.pipe()
        self.process = subprocess.Popen([os.path.join(self.bindir, "ctdb-tunneld"), "--ready-fd", str(theirs)], pass_fds=[theirs],
                                        env={**os.environ, "CTDB_BASE": self.base}, stdin=subprocess.DEVNULL)
        os.close(theirs)
        with os.fdopen(ours, "rb") as f:
            if f.read(1) != b"R":
                pytest.fail(f"tunneld of node {self.pnn} did not start: {self.log()}")

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)

    def log(self):
        with open(os.path.join(self.base, "log"), encoding="utf-8") as f:
            return f.read()


@pytest.fixture
def make(base, bindir):
    """make(n, extra={pnn: configuration}, prepare=function of the OldCluster): (old daemons, nodes)"""
    old, nodes = [], []

    def start(n=2, extra=None, prepare=lambda old: None):
        old.append(OldCluster(base, n))
        prepare(old[0])
        for pnn in range(n):
            nodes.append(Node(base, bindir, pnn, old[0], n, (extra or {}).get(pnn, "")))
        return old[0], nodes

    yield start
    for node in nodes:
        node.kill(signal.SIGTERM)
    for cluster in old:
        cluster.close()


def wait_up(nodes, up=True):
    wait_until(lambda: all(state == up for n in nodes for state, _ in links(n).values()), what=f"links {'up' if up else 'down'}")


def ping(source, target):
    with Endpoint(source, "pinger") as e:
        p = e.call(("transport", target.pnn), TRANSPORT, GET_LINKS)
    assert (p.status, p.source) == (0, ("transport", target.pnn))


@pytest.mark.parametrize("tunnels", [(True, True), (True, False), (False, False)], ids=["both", "one", "none"])
def test_ways(make, tunnels):
    def prepare(old):
        old.tunnels[:] = tunnels

    old, nodes = make(prepare=prepare)
    wait_up(nodes)
    before = dict(old.carried)
    for _ in range(20):
        ping(nodes[0], nodes[1])
    way = REQ_TUNNEL if all(tunnels) else REQ_MESSAGE
    assert old.carried[way] >= before[way] + 40
    assert all(tunnels) or old.carried[REQ_TUNNEL] == 0


@pytest.mark.valgrind
def test_sizes(make):
    old, nodes = make()
    wait_up(nodes)
    with Endpoint(nodes[0], "source") as source, Endpoint(nodes[1], "sink") as sink:
        for i, size in enumerate((0, 1, 60000, 65536, 131072, 300001, 1 << 20, 5000000)):
            for bulk in (False, True):
                data = bytes((i * 31 + k) & 0xFF for k in range(1000)) * (size // 1000 + 1)
                source.request(("sink", 1), 77, i, data[:size], bulk=bulk)
                p = sink.receive()
                assert (p.proc, p.source) == (i, ("source", 0)) and p.payload == data[:size]
    assert links(nodes[0])[1] == (True, 1)


def test_no_daemon_at_first(make):
    old, nodes = make(prepare=lambda old: old.stop(1))
    with Endpoint(nodes[0], "asker") as e:
        assert e.call(("transport", 1), TRANSPORT, GET_LINKS).status == errno.EHOSTUNREACH
    assert links(nodes[1])[0] == (False, 0)
    wait_until(lambda: "cannot connect: No such file" in nodes[1].log(), what="the message")
    old.listen(1)
    wait_up(nodes)
    ping(nodes[0], nodes[1])


def test_daemon_ends_and_comes_back(make):
    old, nodes = make(3)
    wait_up(nodes)
    with Endpoint(nodes[0], "watcher") as e:
        assert e.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string("watcher")).status == 0
        old.stop(0)
        found = set()
        while len(found) < 2:
            p = e.receive()
            assert (p.kind, p.interface, p.proc) == (NOTIFY, TRANSPORT, LINK_CHANGED)
            pnn, up, incarnation, reason = struct.unpack(">IIQI", p.payload)
            assert (up, incarnation, reason) == (0, 0, errno.ECONNRESET)
            found.add(pnn)
        assert found == {1, 2}
        old.listen(0)
        while len(found) > 0:
            pnn, up, incarnation, _ = struct.unpack(">IIQI", e.receive().payload)
            assert up and incarnation
            found.discard(pnn)
    wait_up(nodes)
    ping(nodes[0], nodes[1])
    assert links(nodes[1])[2] == (True, 1)


def test_wrong_node(make):
    def prepare(old):
        old.pnns[1] = 7

    old, nodes = make(prepare=prepare)
    wait_until(lambda: "it is node 7, this one is 1: both need the same nodes file" in nodes[1].log(), what="the message")
    assert links(nodes[1])[0] == (False, 0)
    with old.lock:
        old.pnns[1] = 1
    wait_up(nodes)


@pytest.mark.valgrind
def test_loss_and_repetition(make):
    """What is lost with a link is not delivered later, nothing is delivered twice; the link comes back by itself."""
    old, nodes = make()
    wait_up(nodes)
    with Endpoint(nodes[0], "source") as source, Endpoint(nodes[1], "sink") as sink:
        with old.lock:
            old.double = 5
        for i in range(10):
            source.send(NOTIFY, ("sink", 1), 77, i, bytes(1000))
        assert [sink.receive().proc for _ in range(10)] == list(range(10))
        assert links(nodes[0])[1] == (True, 1)
        with old.lock:
            old.lose = 1
        for i in range(10):
            source.send(NOTIFY, ("sink", 1), 77, 100 + i, bytes(200000))
        wait_until(lambda: links(nodes[0])[1][1] >= 2 and links(nodes[1])[0][1] >= 2, what="new links")
        wait_up(nodes)
        ping(nodes[0], nodes[1])
        source.send(NOTIFY, ("sink", 1), 77, 999)
        got = [sink.receive().proc]
        while got[-1] != 999:
            got.append(sink.receive().proc)
        assert got == sorted(set(got)) and 100 not in got
    assert "something that it sent was lost on the way" in nodes[1].log()


@pytest.mark.valgrind
def test_malformed(make):
    """From the daemon itself: what breaks the stream ends the connection, the rest is skipped."""
    old, nodes = make()
    wait_up(nodes)
    junk = os.urandom(300)
    old.say(0, packet(99, junk) + packet(REQ_MESSAGE, b"") + packet(REQ_TUNNEL, junk[:8]) + packet(REPLY_CONTROL, b"", 1))
    old.say(0, packet(REQ_MESSAGE, struct.pack("=QI", ADDRESS, 1 << 31) + junk))
    old.say(0, packet(REQ_TUNNEL, struct.pack("=QII", ADDRESS, 0, 0xFFFFFFFF) + junk))
    old.say(0, packet(REQ_MESSAGE, struct.pack("=QI", ADDRESS + 1, 8) + junk))
    old.say(0, packet(REQ_MESSAGE, bytes(5 << 20)) + packet(REQ_MESSAGE, bytes(150000)))
    ping(nodes[0], nodes[1])
    ping(nodes[1], nodes[0])
    assert links(nodes[0])[1] == (True, 1)
    assert "skipping a packet of" in nodes[0].log()
    ups = 1
    for bad in (bytes(32), struct.pack("=8I", 31, MAGIC, 1, 0, 5, 0, 0, 0), struct.pack("=8I", 40, MAGIC, 2, 0, 5, 0, 0, 0) + bytes(8)):
        old.say(0, bad)
        wait_until(lambda before=ups: links(nodes[0])[1][1] > before, what="another link")
        ups = links(nodes[0])[1][1]
        wait_up(nodes)
    ping(nodes[0], nodes[1])


def test_daemon_that_does_not_pass_on(make):
    """Never more than the window is on its way; the link is given up after the dead interval; then it comes back."""
    old, nodes = make()
    wait_up(nodes)
    with old.lock:
        old.deaf[1] = True
    with Endpoint(nodes[0], "source") as source:
        for i in range(8):
            source.request(("sink", 1), 77, i, bytes(1 << 20), bulk=i % 2 == 1)
        wait_until(lambda: not links(nodes[0])[1][0], what="the link to be down")
        # The other side finds out by itself: the farewell does not reach it.
        wait_until(lambda: "nothing was heard for" in nodes[1].log(), what="the other side to notice")
        with old.lock:
            assert (1 << 19) < old.held[1] < (1 << 20) + 20000
            old.deaf[1] = False
        wait_until(lambda: links(nodes[0])[1][0], what="the link")
    wait_up(nodes)
    ping(nodes[0], nodes[1])


def test_interface_versions(make):
    """With a node that speaks the version before, headers are those of that version, and bulk is delivered all the same."""
    old, nodes = make(extra={1: "interface version = 1"})
    wait_up(nodes)
    for a, b in ((0, 1), (1, 0)):
        with Endpoint(nodes[a], "source") as source, Endpoint(nodes[b], "sink") as sink:
            source.request(("sink", b), 77, 5, b"payload", bulk=True)
            p = sink.receive()
            assert (p.version, p.proc, p.payload) == (1, 5, b"payload")


def test_nodes_file(make):
    old, nodes = make(3)
    wait_up(nodes)
    nodes[0].nodes(["127.0.0.31", "127.0.0.32", "#127.0.0.33"])
    nodes[0].process.send_signal(signal.SIGHUP)
    wait_until(lambda: set(links(nodes[0])) == {1}, what="node 2 to be forgotten")
    assert links(nodes[0])[1] == (True, 1)
    wait_until(lambda: links(nodes[2])[0] == (False, 1), what="node 2 to notice")
    nodes[0].nodes(["127.0.0.31", "127.0.0.32", "127.0.0.33"])
    nodes[0].process.send_signal(signal.SIGHUP)
    wait_up(nodes)
    ping(nodes[2], nodes[0])


def test_restart_and_stop(make):
    old, nodes = make()
    wait_up(nodes)
    nodes[1].kill()
    nodes[1].start()
    wait_until(lambda: links(nodes[0])[1] == (True, 2), what="the link to the new one")
    before = len(nodes[0].log())
    nodes[1].kill(signal.SIGTERM)
    assert nodes[1].process.returncode == 0
    wait_until(lambda: not links(nodes[0])[1][0], what="the link to be down")
    # by its farewell, not by silence
    log = nodes[0].log()[before:]
    assert "nothing was heard" not in log and re.search("link to node 1 is down: Connection reset", log)


def test_socket_that_cannot_be(base, bindir):
    path = "/" + "x" * 120
    with open(os.path.join(base, "ctdb.conf"), "w", encoding="utf-8") as f:
        f.write(f"[cluster]\nnode address = 127.0.0.31\n[transport]\ncarrier = tunnel\nsecurity = none\ntunnel socket = {path}\n"
                f"[logging]\nlocation = file:{base}/log\n")
    with open(os.path.join(base, "nodes"), "w", encoding="utf-8") as f:
        f.write("127.0.0.31\n")
    os.mkdir(os.path.join(base, "run"))
    done = subprocess.run([os.path.join(bindir, "ctdb-tunneld"), "--log", "stderr"], env={**os.environ, "CTDB_BASE": base}, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert path in done.stderr and "tunnel socket in [transport]" in done.stderr
