"""ctdb-transportd on loopback addresses: packets between nodes, links that come and go, bad input. The test speaks the protocol itself."""

import errno
import fcntl
import mmap
import os
import random
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

from support import PATIENCE, wait_until

REQUEST, REPLY, NOTIFY = 1, 2, 3
TRANSPORT = 0x20C70002
GET_LINKS, SUBSCRIBE, LINK_CHANGED = 1, 2, 3
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def xdr_string(text):
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw + bytes(-len(raw) % 4)


class Reader:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, fmt):
        values = struct.unpack_from(">" + fmt, self.data, self.pos)
        self.pos += struct.calcsize(">" + fmt)
        return values if len(values) > 1 else values[0]

    def string(self):
        n = self.take("I")
        raw = self.data[self.pos:self.pos + n]
        self.pos += n + -n % 4
        return raw.decode()


def encode(kind, source, destination, interface, proc, payload=b"", ident=0, status=0, memfd=False, flags=0):
    """source, destination: (endpoint, node)."""
    header = struct.pack(">III", 0x43544E4D, 2 if flags else 1, kind) + xdr_string(source[0]) + struct.pack(">I", source[1])
    header += xdr_string(destination[0]) + struct.pack(">IIIIQiII", destination[1], interface, 1, proc, ident, status, len(payload), memfd)
    header += struct.pack(">I", flags) if flags else b""
    return header if memfd else header + payload


class Packet:
    def __init__(self, data, fds):
        r = Reader(data)
        _, self.header_version, self.kind = r.take("III")
        self.source = (r.string(), r.take("I"))
        self.destination = (r.string(), r.take("I"))
        self.interface, self.version, self.proc, self.ident, self.status, size, memfd = r.take("IIIQiII")
        self.flags = r.take("I") if self.header_version >= 2 else 0
        self.payload = data[r.pos:]
        if memfd:
            assert fcntl.fcntl(fds[0], fcntl.F_GET_SEALS) & SEALS == SEALS
            with mmap.mmap(fds[0], size, prot=mmap.PROT_READ) as m:
                self.payload = m[:]
        for fd in fds:
            os.close(fd)
        assert len(self.payload) == size


class Endpoint:
    """An endpoint of a node, spoken by the test."""

    def __init__(self, node, name):
        self.node, self.name = node, name
        self.path = node.path("run", "msg", name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(self.path)
        self.ident = random.getrandbits(60)
        self.pending = []

    def close(self):
        if self.socket.fileno() >= 0:
            self.socket.close()
            os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def send(self, kind, destination, interface, proc, payload=b"", ident=0, status=0, flags=0):
        data = encode(kind, (self.name, self.node.pnn), destination, interface, proc, payload, ident, status, len(payload) > 65536, flags)
        fds = []
        if len(payload) > 65536:
            fds = [os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)]
            os.write(fds[0], payload)
            fcntl.fcntl(fds[0], fcntl.F_ADD_SEALS, SEALS)
        to = destination[0] if destination[1] == self.node.pnn else "transport"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fds[0]))] if fds else []
        self.socket.sendmsg([data], rights, 0, self.node.path("run", "msg", to))
        for fd in fds:
            os.close(fd)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.socket, 70000, 4)
        return Packet(data, fds)

    def call(self, destination, interface, proc, payload=b""):
        """The reply. Other packets that come meanwhile are kept for notification()."""
        self.ident += 1
        self.send(REQUEST, destination, interface, proc, payload, self.ident)
        while True:
            p = self.receive()
            if p.kind == REPLY and p.ident == self.ident:
                assert p.source == destination
                return p
            self.pending.append(p)

    def notification(self):
        return self.pending.pop(0) if self.pending else self.receive()

    def links(self, node=None):
        """{pnn: (up, ups)} as transportd of a node says."""
        p = self.call(("transport", self.node.pnn if node is None else node), TRANSPORT, GET_LINKS)
        assert p.status == 0
        return parse_links(p.payload)

    def link_change(self):
        p = self.notification()
        assert (p.kind, p.interface, p.proc) == (NOTIFY, TRANSPORT, LINK_CHANGED)
        pnn, up, incarnation, reason = struct.unpack(">IIQI", p.payload)
        return pnn, bool(up), incarnation, reason


def parse_links(payload):
    r = Reader(payload)
    found = {}
    for _ in range(r.take("I")):
        pnn = r.take("I")
        address = r.string()
        up, since, rtt, rtt_max, bytes_in, bytes_out, ups = r.take("IQQQQQQ")
        assert address == f"127.0.0.{21 + pnn}" and rtt <= rtt_max
        found[pnn] = (bool(up), ups)
    return found


class Node:
    """A node of which only transportd runs."""

    def __init__(self, base, bindir, pnn, port, dead=10000, version=2):
        self.base, self.bindir, self.pnn, self.port = os.path.join(base, str(pnn)), bindir, pnn, port
        self.process = None
        os.makedirs(self.path("run"))
        with open(self.path("ctdb.conf"), "w", encoding="utf-8") as f:
            f.write(f"[cluster]\nnode address = 127.0.0.{21 + pnn}\nheartbeat interval = 100\ndead interval = {dead}\n"
                    f"[transport]\nport = {port}\nsecurity = none\ninterface version = {version}\n[logging]\nlocation = file:{self.path('log')}\n")

    def path(self, *parts):
        return os.path.join(self.base, *parts)

    def nodes(self, n):
        with open(self.path("nodes"), "w", encoding="utf-8") as f:
            f.writelines(f"127.0.0.{21 + i}\n" for i in range(n))

    def popen(self, **options):
        return subprocess.Popen([os.path.join(self.bindir, "ctdb-transportd"), *options.pop("args", [])],
                                env={**os.environ, "CTDB_BASE": self.base}, stdin=subprocess.DEVNULL, **options)

    def start(self):
        ours, theirs = os.pipe()
        with open(self.path("stderr"), "ab") as stderr:
            self.process = self.popen(args=["--ready-fd", str(theirs)], stderr=stderr, pass_fds=[theirs])
        os.close(theirs)
        with os.fdopen(ours, "rb") as f:
            if f.read(1) != b"R":
                pytest.fail(f"transportd of node {self.pnn} did not start: {self.log()}{self.stderr()}")

    def kill(self, number=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            if number in (signal.SIGKILL, signal.SIGTERM):
                self.process.wait(PATIENCE)

    def log(self):
        with open(self.path("log"), encoding="utf-8") as f:
            return f.read()

    def stderr(self):
        with open(self.path("stderr"), encoding="utf-8") as f:
            return f.read()


def free_port(n):
    """A port that is free on the addresses of n nodes, outside of what the kernel gives to connections."""
    while True:
        port = random.randrange(20000, 32000)
        sockets = []
        try:
            for i in range(n):
                sockets.append(socket.create_server((f"127.0.0.{21 + i}", port)))
            return port
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
        finally:
            for s in sockets:
                s.close()


@pytest.fixture
def make_nodes(base, bindir):
    made = []

    def make(n, listed=None, **options):
        port = free_port(listed or n)
        for i in range(n):
            made.append(Node(base, bindir, i, port, **options))
            made[-1].nodes(listed or n)
            made[-1].start()
        return made

    yield make
    for node in made:
        node.kill(signal.SIGCONT)
        node.kill()


def wait_linked(endpoint, *pnns, ups=1):
    wait_until(lambda: all(endpoint.links()[p][0] and endpoint.links()[p][1] >= ups for p in pnns), what=f"links to {pnns}")


@pytest.mark.valgrind
def test_packets(make_nodes):
    a, b = make_nodes(2)
    with Endpoint(a, "cli.1") as cli, Endpoint(b, "sink") as sink:
        wait_linked(cli, 1)
        # what its own transportd says, and what the other one says over the link
        assert cli.links() == {1: (True, 1)}
        assert cli.links(node=1) == {0: (True, 1)}
        assert cli.call(("nobody", 1), TRANSPORT, GET_LINKS).status == errno.ENOENT
        assert cli.call(("transport", 7), TRANSPORT, GET_LINKS).status == errno.EHOSTUNREACH
        assert cli.call(("transport", 1), TRANSPORT, 99).status == errno.ENOSYS
        assert cli.call(("transport", 1), TRANSPORT, SUBSCRIBE, xdr_string("cli.1")).status == errno.EPERM
        assert cli.call(("transport", 1), 0x1234, GET_LINKS).status == errno.ENOSYS
        # both directions, small and large, unchanged
        for size in (0, 1, 65536, 65537, 10 << 20):
            data = random.randbytes(size)
            cli.send(REQUEST, ("sink", 1), 77, 5, data, ident=99)
            p = sink.receive()
            assert (p.kind, p.source, p.destination) == (REQUEST, ("cli.1", 0), ("sink", 1))
            assert (p.interface, p.proc, p.ident) == (77, 5, 99) and p.payload == data
            sink.send(REPLY, p.source, 77, 5, data[::-1], ident=99)
            assert cli.receive().payload == data[::-1]


def in_group(node):
    return {"all": 0xFFFFFFF0, "connected": 0xFFFFFFF1, "active": 0xFFFFFFF2}[node]


def test_groups(make_nodes):
    """Each node gets a copy of its own; requests cannot go to groups; nobody is active where no daemon says so."""
    nodes = make_nodes(3, listed=4)
    with Endpoint(nodes[0], "cli.1") as cli, Endpoint(nodes[0], "sink") as own, Endpoint(nodes[1], "sink") as one, Endpoint(nodes[2], "sink") as two:
        wait_linked(cli, 1, 2)
        for group in ("all", "connected"):
            cli.send(NOTIFY, ("sink", in_group(group)), 77, 5, group.encode())
            for sink in (own, one, two):
                p = sink.receive()
                assert (p.kind, p.source, p.destination) == (NOTIFY, ("cli.1", 0), ("sink", sink.node.pnn)) and p.payload == group.encode()
        cli.send(NOTIFY, ("sink", in_group("active")), 77, 5, b"x")
        p = cli.receive()  # what its message library counts
        assert (p.kind, p.source, p.ident, p.status) == (REPLY, ("transport", 0), 0, errno.EHOSTUNREACH)
        cli.send(REQUEST, ("sink", in_group("all")), 77, 5, b"x", ident=1)
        cli.send(NOTIFY, ("sink", 0xFFFFFFF3), 77, 5, b"x")
        wait_until(lambda: "only notifications can go to a group" in nodes[0].log(), what="the refusal")
        assert cli.links()[3] == (False, 0)


@pytest.mark.parametrize("versions", [(2, 2), (2, 1), (1, 2), (1, 1)])
def test_bulk(make_nodes, base, bindir, versions):
    """Packets of the bulk class arrive in order among themselves, also where a node knows no classes."""
    port = free_port(2)
    nodes = [Node(base, bindir, pnn, port, version=version) for pnn, version in enumerate(versions)]
    try:
        for node in nodes:
            node.nodes(2)
            node.start()
        with Endpoint(nodes[0], "cli.1") as cli, Endpoint(nodes[1], "sink") as sink:
            wait_linked(cli, 1)
            for i in range(200):
                cli.send(NOTIFY, ("sink", 1), 77, 5, struct.pack(">I", i) + bytes(100 * i), flags=i % 2)
                if i % 20 == 19:
                    got = [sink.receive() for _ in range(20)]
                    for bulk in (0, 1):
                        numbers = [n for n in (struct.unpack_from(">I", p.payload)[0] for p in got) if n % 2 == bulk]
                        assert numbers == list(range(i - 19 + bulk, i + 1, 2))
                    # a node that does not know classes has not passed them on either
                    assert all(p.flags == (struct.unpack_from(">I", p.payload)[0] % 2 if versions == (2, 2) else 0) for p in got)
                    assert all(p.destination == ("sink", 1) for p in got)
    finally:
        for node in nodes:
            node.kill()


def test_order(make_nodes):
    """Far more than the kernel keeps for a receiver, in order, while the receiver is slow."""
    a, b = make_nodes(2)
    with Endpoint(a, "cli.1") as cli, Endpoint(b, "sink") as sink:
        wait_linked(cli, 1)
        sent = got = 0
        while got < 5000:
            while sent < 5000 and sent - got < 500:
                cli.send(NOTIFY, ("sink", 1), 77, 5, struct.pack(">Q", sent) + bytes(sent % 3000))
                sent += 1
            p = sink.receive()
            assert struct.unpack_from(">Q", p.payload)[0] == got
            got += 1


def test_peer_dies(make_nodes):
    a, b = make_nodes(2)
    with Endpoint(a, "cli.1") as cli:
        wait_linked(cli, 1)
        p = cli.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string("cli.1"))
        assert p.status == 0 and parse_links(p.payload) == {1: (True, 1)}
        seen = set()
        for _ in range(3):
            b.kill()
            pnn, up, incarnation, reason = cli.link_change()
            assert (pnn, up, incarnation, reason) == (1, False, 0, errno.ECONNRESET)
            assert cli.call(("transport", 1), TRANSPORT, GET_LINKS).status == errno.EHOSTUNREACH
            b.start()  # over the socket that the dead one left
            pnn, up, incarnation, reason = cli.link_change()
            assert (pnn, up, reason) == (1, True, 0) and incarnation not in seen
            seen.add(incarnation)
        assert cli.links(node=1) == {0: (True, 1)}
        assert cli.links() == {1: (True, 4)}
    # its kernel closes, or resets if there was something unread
    assert len(re.findall(r"link to node 1 \(127\.0\.0\.22\) is down: (?:closed|Connection reset|Broken)", a.log())) == 3


def test_peer_hangs(make_nodes):
    """Its kernel still acknowledges everything: only the heartbeats tell."""
    a, b = make_nodes(2, dead=4000)
    with Endpoint(a, "cli.1") as cli:
        wait_linked(cli, 1)
        cli.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string("cli.1"))
        b.kill(signal.SIGSTOP)
        assert cli.link_change() == (1, False, 0, errno.ETIMEDOUT)
        b.kill(signal.SIGCONT)
        pnn, up, _, _ = cli.link_change()
        assert (pnn, up) == (1, True)
        assert cli.links(node=1)[0][0]
    assert "nothing was heard for 4000 ms" in a.log()


def test_listener_hangs(make_nodes):
    """While it hangs the other one tries again and again, and its kernel accepts: none of that comes up afterwards but the last."""
    a, b = make_nodes(2, dead=3000)
    with Endpoint(a, "cli.1") as cli:
        wait_linked(cli, 1)
        cli.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string("cli.1"))
        a.kill(signal.SIGSTOP)
        subprocess.run(["sleep", "7"], check=True)
        a.kill(signal.SIGCONT)
        changes = [cli.link_change()]
        while not changes[-1][1]:
            changes.append(cli.link_change())
        assert [c[:2] for c in changes] == [(1, False), (1, True)]
        assert cli.links(node=1)[0][0]
        assert cli.links() == {1: (True, 2)}
    assert a.log().count("is up") == 2


def test_stall_of_own(make_nodes):
    """Who was stopped itself finds nobody dead when it goes on: what the others said meanwhile is still to be read."""
    a, b = make_nodes(2, dead=30000)
    a.kill()
    with open(a.path("ctdb.conf"), "r+", encoding="utf-8") as f:
        text = f.read().replace("dead interval = 30000", "dead interval = 3000")
        f.seek(0)
        f.write(text)
        f.truncate()
    a.start()
    with Endpoint(a, "cli.1") as cli:
        wait_linked(cli, 1)
        assert cli.links(node=1)[0][0]  # b has written its lines about it
        a.kill(signal.SIGSTOP)

        def said():
            return [line for line in b.log().splitlines() if "nothing else was served" not in line]

        before = said()
        subprocess.run(["sleep", "6"], check=True)
        a.kill(signal.SIGCONT)
        assert cli.links() == {1: (True, 1)}
        assert said() == before
    wait_until(lambda: re.search(r"this process stalled for \d+ ms", a.log()), what="the line about the stall")


def test_subscriber_gone(make_nodes):
    a, b = make_nodes(2)
    with Endpoint(a, "cli.2") as other, Endpoint(a, "cli.1") as cli:
        wait_linked(cli, 1)
        for endpoint in (other, cli):
            assert endpoint.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string(endpoint.name)).status == 0
        assert cli.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string("../x")).status == errno.EINVAL
        assert cli.call(("transport", 0), TRANSPORT, SUBSCRIBE, b"").status == errno.EBADMSG
        other.close()
        b.kill()
        assert cli.link_change()[:2] == (1, False)  # told although another subscriber is gone
        assert cli.call(("transport", 0), TRANSPORT, SUBSCRIBE, xdr_string("cli.1")).status == 0


def test_nodes_reloaded(make_nodes, base, bindir):
    nodes = make_nodes(2)
    a, b = nodes
    with Endpoint(a, "cli.1") as cli:
        wait_linked(cli, 1)
        nodes.append(Node(base, bindir, 2, a.port))
        for node in nodes:
            node.nodes(3)
        a.kill(signal.SIGHUP)
        b.kill(signal.SIGHUP)
        nodes[2].start()
        wait_until(lambda: 2 in cli.links(), what="the new node")
        wait_linked(cli, 1, 2)
        assert cli.links()[1] == (True, 1)  # the old link was not touched
        wait_until(lambda: cli.links(node=2) == {0: (True, 1), 1: (True, 1)}, what="the new node's links")
        with open(a.path("nodes"), "w", encoding="utf-8") as f:
            f.write("127.0.0.21\n#127.0.0.22\n127.0.0.23\n")
        a.kill(signal.SIGHUP)
        wait_until(lambda: 1 not in cli.links(), what="the deleted node to go")
        assert cli.call(("transport", 1), TRANSPORT, GET_LINKS).status == errno.EHOSTUNREACH
        assert cli.links()[2] == (True, 1)


def test_bad_input(make_nodes):
    """Garbage on the endpoint and on the port: logged now and then, and nothing else happens."""
    a, b = make_nodes(2)
    rnd, begin = random.Random(4711), time.monotonic()
    good = encode(REQUEST, ("cli.1", 0), ("transport", 1), TRANSPORT, GET_LINKS, ident=5)
    with Endpoint(a, "cli.1") as cli, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as raw:
        wait_linked(cli, 1)
        raw.bind("\0ctdb-msg/cli.1/" + str(os.getpid()))  # one of the sockets with which cli.1 sends
        raw.connect(a.path("run", "msg", "transport"))
        for cut in range(len(good)):
            raw.send(good[:cut])
        for _ in range(500):
            data = bytearray(good)
            for _ in range(rnd.randrange(1, 5)):
                data[rnd.randrange(12, len(data))] = rnd.randrange(256)
            raw.send(data)
        for i in range(100):
            with socket.create_connection(("127.0.0.21", a.port), source_address=(f"127.0.0.{22 if i % 2 else 99}", 0)) as s:
                s.sendall(rnd.randbytes(rnd.randrange(1, 200)))
        while True:  # some of the changed packets were requests still
            p = cli.call(("transport", 1), TRANSPORT, GET_LINKS)
            if p.status == 0:
                break
        assert cli.links() == {1: (True, 1)}
    assert a.process.poll() is None and b.process.poll() is None
    # one of a kind in a second at most; 700 were sent
    assert 2 <= len(re.findall(r"malformed|refused|closed", a.log())) < 60 + 4 * (time.monotonic() - begin)


def test_spoofed_source(make_nodes):
    """Nobody speaks in another one's name: neither for an endpoint of the node nor, but for transport, for another node."""
    a, b = make_nodes(2)
    with Endpoint(a, "cli.1") as cli, Endpoint(a, "cli.2") as victim, Endpoint(b, "sink") as sink:
        wait_linked(cli, 1)
        to = a.path("run", "msg", "transport")
        for source in (("cli.2", 0), ("cli.1", 1), ("transport", 0)):
            cli.socket.sendto(encode(REQUEST, source, ("sink", 1), 77, 5, b"bad", ident=1), to)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            nameless.sendto(encode(REQUEST, ("cli.2", 0), ("sink", 1), 77, 5, b"bad", ident=1), to)
        cli.send(NOTIFY, ("sink", 1), 77, 5, b"good")
        assert sink.receive().payload == b"good"
        victim.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            victim.socket.recv(1)
    assert "was not sent by the endpoint that it names" in a.log()


def test_port_in_use(make_nodes, base, bindir):
    (a,) = make_nodes(1, listed=2)
    b = Node(base, bindir, 1, a.port)
    b.nodes(2)
    with socket.create_server(("127.0.0.22", a.port)):
        done = b.popen(stderr=subprocess.PIPE, text=True)
        _, stderr = done.communicate(timeout=PATIENCE)
    assert done.returncode == 1
    assert f"127.0.0.22:{a.port}" in stderr and "Address already in use" in stderr
    assert os.listdir(b.path("run", "msg")) == []  # nothing half-started
    # the endpoint of a living process
    done = a.popen(stderr=subprocess.PIPE, text=True)
    _, stderr = done.communicate(timeout=PATIENCE)
    assert done.returncode == 1 and a.path("run", "msg", "transport") in stderr
    with Endpoint(a, "cli.1") as cli:
        assert cli.links() == {1: (False, 0)}


def test_stop(make_nodes):
    a, b = make_nodes(2)
    with Endpoint(b, "cli.1") as cli:
        wait_linked(cli, 0)
        a.kill(signal.SIGTERM)
        assert a.process.returncode == 0
        assert os.listdir(a.path("run", "msg")) == []
        wait_until(lambda: cli.links() == {0: (False, 1)}, what="the link to be down")
        a.start()
        wait_linked(cli, 0, ups=2)
