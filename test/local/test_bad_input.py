"""Bad input to the real programs: each is refused by name, nothing is half started, and others are not disturbed."""

import os
import random
import re
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from autocluster.process import kill_all, with_environment
from classic import MAGIC, VERSION, Client, Closed

from support import CALM, CAPTURE, PATIENCE, SLOW, TEST_TOKEN, output, wait_until

ADDRESS = "127.20.0.1"  # below the ranges of test clusters
CONF = f"[cluster]\nnode address = {ADDRESS}\n"
# Controls that do harm to others because that is what they are for, whoever sends them: size of the argument that is accepted, and what
# they do. They are sent with arguments of other sizes only, and have to be refused. Those that need the id of a database (freeze, detach,
# wipe) or the number of a node (ban) are not among them: random bytes do not hit one. CONTINUE_NODE and ENABLE_NODE do nothing here.
ANY_SIZE = None
HARMFUL = {
    33: (0, "FREEZE: all databases are held for a tool, for minutes"),
    36: (ANY_SIZE, "SHUTDOWN: the node ends; never sent"),
    101: (0, "STOP_NODE: the node does not serve until it is continued"),
    157: (0, "DISABLE_NODE: the node has a flag until it is enabled"),
}
HEAD_OF_CONTROL = 28


# ---- what keeps a node from starting ----


class Place:
    """The base directory of a node that is to fail."""

    def __init__(self, base, bindir):
        self.base, self.bindir = base, bindir
        self.write("nodes", ADDRESS + "\n")
        self.write("ctdb.conf", CONF)
        self.write("cluster.key", "ab" * 32 + "\n")
        os.chmod(self.path("cluster.key"), 0o600)

    def path(self, name):
        return os.path.join(self.base, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())

    def refuse(self, *expected, base=None):
        """ctdbd says all that is expected and leaves nothing."""
        base = base or self.base
        env = {**os.environ, "CTDB_BASE": base, "CTDB_LIBEXEC": self.bindir}
        done = subprocess.run([os.path.join(self.bindir, "ctdbd"), "-F"], env=env, timeout=2 * PATIENCE, check=False, **CAPTURE)
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("ctdbd: "), done.stderr
        for text in expected:
            assert text in done.stderr
        assert with_environment("CTDB_BASE", base) == []
        sockets = [name for _, _, names in os.walk(os.path.join(base, "run", "msg")) for name in names]
        assert sockets == [] and not os.path.isfile(os.path.join(base, "run", "ctdbd.pid"))
        return done.stderr


@pytest.fixture
def place(base, bindir):
    return Place(base, bindir)


@pytest.mark.parametrize("text, expected", [
    (None, ["nodes: does not exist: write one address per line"]),
    ("\n\n", ["nodes: holds no node"]),
    (f"{ADDRESS}\n127.20.0.2\n127.20.0.2\n", ["nodes:3: address 127.20.0.2 is already in line 2"]),
    (f"{ADDRESS}\n{ADDRESS}\n", [f"nodes:2: address {ADDRESS} is already in line 1"]),
    (f"{ADDRESS}\nnode2.example.org\n", ['nodes:2: "node2.example.org" is not an IPv4 or IPv6 address']),
    (f"{ADDRESS}\n\0\n", ["nodes: is not a text file"]),
    ("127.20.0.2\n", [f"the node address {ADDRESS} of [cluster] in", "is not in it: add it, or correct node address"]),
    (ADDRESS + "\n" + "".join(f"127.20.{1 + i // 200}.{1 + i % 200}\n" for i in range(256)), ["nodes:257: more than 256 nodes are not possible"]),
])
def test_nodes_file(place, text, expected):
    if text is None:
        os.unlink(place.path("nodes"))
    else:
        place.write("nodes", text)
    place.refuse(*expected)
    assert not os.path.exists(place.path("run"))


def test_address_of_no_interface(place):
    place.write("ctdb.conf", CONF.replace(ADDRESS, "192.0.2.1"))
    place.write("nodes", "192.0.2.1\n")
    place.refuse("the address 192.0.2.1 of this node is on no interface: configure it")


@pytest.mark.parametrize("name, text, expected", [
    ("ctdb.conf", "[clutser]\nx = 1\n", "ctdb.conf:2: unknown section [clutser]"),
    ("ctdb.conf", CONF + "colour = red\n", 'ctdb.conf:3: unknown option "colour" in [cluster]'),
    ("ctdb.conf", CONF + "arbitration = maybe\n", "ctdb.conf:3: [cluster] arbitration = maybe: give majority or none"),
    ("ctdb.conf", CONF + "dead interval = 12 parsecs\n", "ctdb.conf:3: [cluster] dead interval = 12 parsecs: give a number from 100 to 60000"),
    ("ctdb.conf", CONF + "dead interval = 99999999999999999999\n", "ctdb.conf:3: [cluster] dead interval"),
    ("ctdb.conf", CONF + "nodes file = nodes\n", "ctdb.conf:3: [cluster] nodes file = nodes: give an absolute path"),
    ("ctdb.conf", CONF + "[database]\nvolatile database directory = /does/not/exist\n", "there is no directory /does/not/exist: create it"),
    ("ctdb.conf", b"[cluster]\n\0", "ctdb.conf: is not a text file"),
    ("conf.d/50-local.conf", "[cluster]\ncolour = red\n", 'conf.d/50-local.conf:2: unknown option "colour" in [cluster]'),
])
def test_configuration(place, name, text, expected):
    place.write(name, text)
    place.refuse(expected)
    assert not os.path.exists(place.path("run"))


@pytest.mark.parametrize("name", ["ctdb.conf", "nodes", "conf.d/x.conf"])
def test_directory_for_a_file(place, name):
    if os.path.exists(place.path(name)):
        os.unlink(place.path(name))
    os.makedirs(place.path(name))
    place.refuse(f"{place.path(name)}: cannot be read: Is a directory")


def test_volatile_databases_in_memory(place):
    """Not almost: a directory on a disk is refused. (That it works: test_databases_in_memory, in network namespaces.)"""
    if subprocess.run(["stat", "-f", "-c", "%T", place.base], check=True, **CAPTURE).stdout.strip() == "tmpfs":
        pytest.skip("the directory of the test is in memory itself")
    place.write("ctdb.conf", CONF + "[database]\nvolatile in memory = true\n")
    place.refuse(f"{place.path('run/volatile')} is not in memory, as [database] volatile in memory demands: mount a tmpfs there")
    place.write("elsewhere/.keep", "")
    place.write("ctdb.conf", CONF + f"[database]\nvolatile in memory = true\nvolatile database directory = {place.path('elsewhere')}\n")
    place.refuse(f"{place.path('elsewhere')} is not in memory")


@pytest.mark.parametrize("name", ["run", "run/msg", "var", "var/volatile", "var/persistent", "var/state"])
def test_file_for_a_directory(place, name):
    place.write(name, "")
    place.refuse(f"cannot make the directory {place.path(name)}: Not a directory")


@pytest.mark.parametrize("name, expected", [
    ("run/ctdbd.pid", "cannot open {}: Is a directory"),
    ("run/ctdbd.lock", "cannot lock {}: Is a directory"),
    ("run/ctdbd.socket", "client socket {}: this file is in the way and is no socket; remove it"),
    ("run/msg/cluster", "{}: exists and is not a socket; remove it"),
    ("log.ctdb", "cannot open the log file {}: Is a directory"),
    ("var/state/cluster-term.0", "{}: Is a directory: make it a file"),
    ("var/state/persistent_health.tdb.0", "{}: is not a regular file; remove it"),
    ("var/persistent/trail.tdb.0", "{}: is not a regular file; remove it"),
])
def test_directory_in_the_way(place, name, expected):
    os.makedirs(place.path(name))
    place.refuse(expected.format(place.path(name)))


def test_damaged_term_file(place):
    place.write("var/state/cluster-term.0", random.Random(1).randbytes(100))
    place.refuse("var/state/cluster-term.0: damaged: remove it when ctdbd of this node has been stopped")


def test_long_path(place):
    """A socket's path has at most 107 characters."""
    long = os.path.join(place.base, "x" * 100)
    shutil.copytree(place.base, long, ignore=lambda *_: ["x" * 100])
    place.refuse("the path is longer than 107 characters; choose a shorter run directory", base=long)


@pytest.mark.parametrize("port, option", [(4379, "port"), (4380, "db port")])
def test_port_in_use(place, port, option):
    with socket.socket() as s:
        s.bind((ADDRESS, port))
        s.listen(1)
        place.refuse(f"port {port} of {ADDRESS} is used by another program: stop that, or set {option} in [transport] on all nodes")


# ---- a running cluster ----


class Work(threading.Thread):
    """Writes and reads records on a node as long as the body of the with statement takes; all of it has to succeed."""

    def __init__(self, node):
        super().__init__()
        self.node, self.done, self.errors, self.ends = node, 0, [], threading.Event()

    def run(self):
        while not self.ends.is_set():
            for words in (["set", "work.tdb", f"k{self.done % 4}", f"v{self.done}"], ["get", "work.tdb", f"k{self.done % 4}"]):
                ended = self.node.run(["ctdb", "record", *words], check=False, **CAPTURE)
                if ended.returncode != 0:
                    self.errors.append((words, ended.stderr))
            self.done += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.join()
        assert self.errors == [] and self.done > 0


@pytest.fixture(scope="module")
def cluster(module_factory):
    cluster = module_factory(nodes=3, mode="loopback", extra_config=CALM)
    output(cluster.node(0).run(["ctdb", "db", "attach", "work.tdb"], check=False, **CAPTURE))
    return cluster


@pytest.fixture(scope="module")
def plain_cluster(module_factory):
    """Links without TLS: what arrives gets as far as the frames' reader."""
    cluster = module_factory(nodes=3, mode="loopback", tls=False, extra_config=CALM)
    output(cluster.node(0).run(["ctdb", "db", "attach", "work.tdb"], check=False, **CAPTURE))
    return cluster


def _path(node):
    return node.file("run", "ctdbd.socket")


def _log(node):
    with open(node.file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
        return f.read()


def _daemons(cluster):
    """Pids of all databases' daemons."""
    return [process.pid for node in cluster.nodes for process in node.find_program("ctdb-dbd")]


def _resident_kib(node, program):
    """Memory of a daemon that is its own."""
    with open(f"/proc/{node.find_program(program)[0].pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("RssAnon:")).split()[1])


def _wait_closed(s):
    """Reads until the other side has closed the connection."""
    s.settimeout(PATIENCE)
    try:
        while s.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


def _head(length, operation=0, magic=MAGIC, version=VERSION, dest=0):
    return struct.pack("=8I", length, magic, version, 0, operation, dest, 0, 1)


PACKETS = [
    (struct.pack("=I", 0), "length 0 is less"),
    (struct.pack("=I", 3), "length 3 is less"),
    (struct.pack("=I", 31), "length 31 is less"),
    (struct.pack("=I", 0xFFFFFFFF), "length 4294967295 is more"),
    (_head(32, magic=1), "magic 0x00000001"),
    (_head(32, version=99), "protocol version 99"),
    (_head(32, 77), "operation 77"),
    (_head(56) + struct.pack("=6I", 1, 5, 0xFF000001, 0, 0xFFFFFFFF, 0), "REQ_CALL goes beyond the packet"),
    (_head(56) + struct.pack("=6I", 1, 5, 0xFF000001, 0, 0x7FFFFFFF, 0x80000001), "REQ_CALL goes beyond the packet"),
    (_head(40, 7) + bytes(8), "REQ_CONTROL goes beyond the packet"),
    (_head(60, 7) + struct.pack("=IIQIII", 0, 0, 0, 0, 0, 0xFFFFFFFF), "REQ_CONTROL goes beyond the packet"),
    (_head(44, 5) + struct.pack("=QI", 1, 0xFFFFFFF0), "REQ_MESSAGE goes beyond the packet"),
]


def test_malformed_packets(cluster):
    """Each closes its own connection, with one line in the log."""
    node = cluster.node(0)
    with Work(node), Work(cluster.node(1)):
        for packet, expected in PACKETS:
            before = _log(node).count("malformed packet")
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(_path(node))
                s.sendall(packet)
                _wait_closed(s)
            wait_until(lambda n=before: _log(node).count("malformed packet") == n + 1, what="one line")
            assert expected in _log(node)[_log(node).rindex("malformed packet"):]


def test_half_a_packet_holds_nobody_up(cluster):
    """Silent clients, one of which has announced 64 MiB, cost neither time nor memory."""
    node = cluster.node(0)
    before = _resident_kib(node, "ctdb-dbd")
    waiting = []
    try:
        for data in [b"", b"\x20", _head(100), _head(64 << 20, 7)] * 250:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].connect(_path(node))
            waiting[-1].sendall(data)
        with Client(_path(node)) as client:
            client.good(0, struct.pack("=i", os.getpid()))
        assert SLOW or _resident_kib(node, "ctdb-dbd") - before < 64 << 10
    finally:
        for s in waiting:
            s.close()


def test_client_that_does_not_read(cluster):
    """It is disconnected when more waits for it than a client may have; who sends to it goes on."""
    node, srvid = cluster.node(0), 0xAE00000000000077
    with Client(_path(node)) as deaf, Client(_path(node)) as sender, Work(cluster.node(1)):
        deaf.register(srvid)
        for _ in range(300):
            sender.message(0, srvid, bytes(1 << 20))
        sender.good(0, struct.pack("=i", os.getpid()))
        wait_until(lambda: "does not read: more than the 268435456 bytes of option 'max queue' wait for it" in _log(node), what="the line about it")
        with pytest.raises((Closed, ConnectionResetError)):
            while deaf.packet():
                pass
    wait_until(lambda: SLOW or _resident_kib(node, "ctdb-dbd") < 64 << 10, what="the memory to be given back")


def _harmless(rng, size):
    """A control that may be sent with an argument of this size."""
    return rng.choice([n for n in range(170) if n not in HARMFUL or HARMFUL[n][0] not in (ANY_SIZE, size)])


def _fuzz_packet(rng):
    # Arguments of 0, 4, 8, 12 bytes: what most controls have.
    body = bytearray(rng.randbytes(rng.choice([0, 8, 28, 32, 36, 40, 100, 1000])))
    dest = rng.choice([0, 1, 2, 3, 0xF0000001, 0xF0000002, 0xF0000004, rng.getrandbits(32)])
    operation = rng.choice([0, 5, 7, rng.randrange(12)])
    if operation == 7 and len(body) >= 28:
        size = len(body) - HEAD_OF_CONTROL
        struct.pack_into("=I", body, 0, _harmless(rng, size))
        struct.pack_into("=I", body, 24, size)
    elif operation == 0 and len(body) >= 24:
        struct.pack_into("=6I", body, 0, rng.randrange(4), rng.getrandbits(32), rng.choice([0xFF000001, 0xFF000002, 5]), 0, len(body) - 24, 0)
    elif operation == 5 and len(body) >= 12:
        struct.pack_into("=I", body, 8, len(body) - 12)
    if rng.random() < 0.1:
        return rng.randbytes(50)
    return _head(32 + len(body), operation, dest=dest) + body


def test_harmful_controls_of_a_wrong_size(cluster):
    """From a client and by way of another node: refused, and nothing of it is done."""
    with Work(cluster.node(0)), Client(_path(cluster.node(0))) as client:
        for opcode, (size, _) in HARMFUL.items():
            for wrong in (0, 1, 4, 8, 12, 1000):
                for dest in (0, 1):
                    assert size in (ANY_SIZE, wrong) or client.control(opcode, bytes(wrong), dest)[0] == -1
    cluster.wait_ready()


def test_random_packets(cluster):
    """How far the daemon comes with a connection is not known: an answer to one that is closed already ends it, with what is left unread."""
    rng, before = random.Random(42), _daemons(cluster)
    with Work(cluster.node(0)), Work(cluster.node(1)):
        for _ in range(200 if SLOW else 1500):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(_path(cluster.node(0)))
                try:
                    for _ in range(rng.randrange(1, 20)):
                        s.sendall(_fuzz_packet(rng))
                except (BrokenPipeError, ConnectionResetError):
                    pass
    cluster.wait_ready()
    assert _daemons(cluster) == before


FRAMES = [struct.pack(">II", 0, 0), struct.pack(">II", 3, 0), struct.pack(">II", 0xFFFFFFFF, 0), struct.pack(">I", 0x80000020) + bytes(32),
          b"GET / HTTP/1.0\r\n\r\n", struct.pack(">II", 4, 1), struct.pack(">II", 4, 99), random.Random(3).randbytes(200), b""]


def _send_frame(source, address, port, frame):
    with socket.socket() as s:
        s.bind((source, 0))
        s.connect((address, port))
        try:
            s.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            return
        _wait_closed(s)


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("port", [4379, 4380])
def test_malformed_frames(cluster, plain_cluster, port, tls):
    """From the address of another node and from elsewhere: the connection is closed, the links stay."""
    cluster = cluster if tls else plain_cluster
    node = cluster.node(0)
    with Work(node), Work(cluster.node(1)):
        before = [_log(n).count(" is down: ") for n in cluster.nodes]
        for source in (cluster.node(1).address, "127.0.0.1"):
            for frame in FRAMES:
                _send_frame(source, node.address, port, frame)
        assert [_log(n).count(" is down: ") for n in cluster.nodes] == before
    reason = "it does not speak TLS: is security = none there?" if tls else "malformed frame"

    def said(source, text):
        """Such lines are limited: one that came just before may have been the only one for a while."""
        if text not in _log(node):
            _send_frame(source, node.address, port, FRAMES[4])
        return text in _log(node)

    own = cluster.node(1).address
    wait_until(lambda: said(own, f"connection from {own} (node 1) closed: {reason}"), what="the line about node 1's address")
    # With TLS transportd listens to what an unknown node has to say: it may be one whose address has changed.
    stranger = "closed: not the address of another node, and it does not speak TLS" if tls and port == 4379 else "refused: not the address of another node"
    wait_until(lambda: said("127.0.0.1", f"connection from 127.0.0.1 {stranger}"), what="the line about a stranger")


def test_second_ctdbd(cluster):
    node = cluster.node(1)
    with Work(node):
        done = node.run(["ctdbd", "-F"], check=False, timeout=PATIENCE, **CAPTURE)
    assert done.returncode == 1
    with open(node.file("run", "ctdbd.pid"), encoding="ascii") as f:
        assert done.stderr == f"ctdbd: already running (pid {int(f.read())})\n"


def test_daemon_that_hangs(cluster):
    """The tool gives up in time, with its exit status for that."""
    node = cluster.node(2)
    cluster.fault(2, "stop:ctdb-dbd")
    try:
        done = node.run(["ctdb", "-t", "0.5", "node", "list"], check=False, timeout=PATIENCE, **CAPTURE)
    finally:
        cluster.fault(2, "cont:ctdb-dbd")
    assert done.returncode == 5 and "does not answer" in done.stderr
    cluster.wait_ready()


# These stop and start node 2, and come last.


def _start_with(cluster, pnn, prepare):
    cluster.fault(pnn, "shutdown")
    prepare()
    cluster.node(pnn).start()


def test_damaged_persistent_database(cluster):
    """It is moved aside, the node comes up, and the others give it the contents."""
    node = cluster.node(2)
    output(node.run(["ctdb", "db", "attach", "keep.tdb", "--model", "persistent"], check=False, **CAPTURE))
    output(node.run(["ctdb", "record", "set", "keep.tdb", "key", "value" * 100], check=False, **CAPTURE))
    path = node.file("var", "persistent", "keep.tdb.2")

    def damage():
        with open(path, "r+b") as f:
            f.write(random.Random(5).randbytes(2000))

    for prepare in (damage, lambda: os.truncate(path, 0)):
        _start_with(cluster, 2, prepare)
        cluster.wait_ready()
        assert output(node.run(["ctdb", "record", "get", "keep.tdb", "key"], check=False, **CAPTURE)).startswith("valuevalue")
        assert f"{path}: file damaged, moved to {path}.corrupted." in _log(node)


def test_other_nodes_file(cluster):
    """A node whose nodes file differs is kept out, both sides say why, and the others do not mind."""
    node, path = cluster.node(2), cluster.node(2).file("nodes")
    with open(path, encoding="ascii") as f:
        good = f.read()

    def change(text):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)

    _start_with(cluster, 2, lambda: change(good + "192.0.2.1\n"))
    text = "nodes file, arbitration or dead interval of node {} differs from this node's: it is kept out"
    wait_until(lambda: text.format(0) in _log(node) and text.format(2) in _log(cluster.node(0)), what="both to say why")
    wait_until(lambda: os.path.exists(_path(node)), what="the node to answer questions")
    with Work(cluster.node(0)), Work(cluster.node(1)):
        done = node.run(["ctdb", "record", "get", "work.tdb", "k0"], check=False, **CAPTURE)
    assert done.returncode != 0

    def told(pnn, *patterns):
        text = cluster.node(pnn).run(["ctdb", "cluster", "status"], check=False, **CAPTURE).stdout
        return all(re.search(pattern, text, re.M) for pattern in patterns)

    # What lasts: until the lists were compared, it only says that they differ.
    wait_until(lambda: told(0, r"\ADEGRADED: 2 of 3 nodes are well; node 2 is disconnected",
                            r'node 3 \("192\.0\.2\.1"\) is only in its nodes file; run \'ctdb node reload\' on a member'), what="node 0 to say why")
    wait_until(lambda: told(2, r'^Membership: kept out by leader node [01]: node 3 \("192\.0\.2\.1"\) is missing in its nodes file; '
                               r"run 'ctdb node reload' there"), what="node 2 to say why")
    _start_with(cluster, 2, lambda: change(good))
    cluster.wait_ready()


def test_leftovers_of_killed_processes(cluster):
    """Sockets, pid file and a damaged list of subscribers do not keep a node from starting."""
    node = cluster.node(2)
    assert not kill_all(node.processes, PATIENCE)  # also what was started meanwhile
    wait_until(lambda: not node.processes(), what="the end of all processes")
    assert os.path.exists(node.file("run", "ctdbd.pid"))
    with open(node.file("run", "cluster-subscribers.2"), "wb") as f:
        f.write(random.Random(6).randbytes(1000))
    env = {**os.environ, **node.env(), TEST_TOKEN: os.environ[TEST_TOKEN]}
    with subprocess.Popen(["ctdbd", "-F"], env=env, executable=shutil.which("ctdbd", path=env["PATH"]), stdin=subprocess.DEVNULL) as ctdbd:
        try:
            serves = lambda: '"ready":true' in subprocess.run(["ctdb", "-o", "json", "cluster", "status"], env=env, check=False,  # noqa: E731
                                                              executable=shutil.which("ctdb", path=env["PATH"]), **CAPTURE).stdout
            wait_until(serves, 2 * PATIENCE, what="the node")
        finally:
            ctdbd.terminate()
        assert ctdbd.wait(PATIENCE) == 0
    node.start()
