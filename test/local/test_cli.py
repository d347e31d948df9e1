"""The ctdb tool: against a daemon that says what the test wants, and on a cluster."""

import json
import os
import socket
import struct
import subprocess
import threading
import time

import fake_daemon as fake
import pytest
from support import CALM, wait_until

OK, ERROR, USAGE, NOT_FOUND, TIMEOUT, NO_DAEMON = range(6)
LIMIT = 60


@pytest.fixture
def tool(bindir):
    """tool(socket, *args): the finished process."""

    def run(path, *args, **options):
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        return subprocess.run([os.path.join(bindir, "ctdb"), "--socket", path, *args], capture_output=True, text=True, timeout=LIMIT,
                              check=False, env={**os.environ, "TZ": "UTC"}, **options)

    return run


@pytest.fixture
def daemon():
    d = fake.FakeDaemon()
    yield d
    d.stop()


def good(done):
    assert done.returncode == OK, done.stderr
    assert done.stderr == ""
    return done.stdout


def bad(done, code, *words):
    assert done.returncode == code, (done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


# ---- the forms that scripts know ----

def test_old_status(tool, daemon):
    daemon.nodes = [(0, "192.168.20.41"), (fake.DISCONNECTED | fake.UNHEALTHY, "192.168.20.42"), (fake.DELETED, "0.0.0.0"),
                    (fake.BANNED | fake.STOPPED | fake.DISABLED, "fd00::3")]
    daemon.pnn, daemon.vnnmap, daemon.leader = 0, [0, 1, 3], 0
    assert good(tool(daemon.path, "status")) == (
        "Number of nodes:4 (including 1 deleted nodes)\n"
        "pnn:0 192.168.20.41    OK (THIS NODE)\n"
        "pnn:1 192.168.20.42    DISCONNECTED|UNHEALTHY|INACTIVE\n"
        "pnn:3 fd00::3          DISABLED|BANNED|STOPPED|INACTIVE\n"
        "Generation:362178228\n"
        "Size:3\n"
        "hash:0 lmaster:0\n"
        "hash:1 lmaster:1\n"
        "hash:2 lmaster:3\n"
        "Recovery mode:NORMAL (0)\n"
        "Leader:0\n")


def test_old_status_other_states(tool, daemon):
    daemon.generation, daemon.vnnmap, daemon.recmode, daemon.leader, daemon.runstate = 1, [], 1, None, 3
    daemon.ifaces = {"eth0": 1, "eth1": 0}
    assert good(tool(daemon.path, "-t", "4", "status")) == (
        "Number of nodes:3\n"
        "pnn:0 10.0.0.1         UNKNOWN\n"
        "pnn:1 10.0.0.2         PARTIALLYONLINE (THIS NODE)\n"
        "pnn:2 10.0.0.3         UNKNOWN\n"
        "Generation:INVALID\nSize:0\nRecovery mode:RECOVERY (1)\nLeader:UNKNOWN\n")


def test_old_status_large_map(tool, daemon):
    daemon.vnnmap = [i % 3 for i in range(64)]
    assert "hash:63 lmaster:0\n" in good(tool(daemon.path, "status"))
    daemon.vnnmap = [0] * 1000 + [2] * 24
    out = good(tool(daemon.path, "status"))
    assert "hash:" not in out
    assert "Size:1024\nlmaster:0 slots:1000\nlmaster:2 slots:24\nRecovery mode" in out


def test_old_status_machine(tool, daemon):
    daemon.nodes = [(0, "192.168.20.41"), (fake.BANNED, "192.168.20.42"), (fake.DELETED, "0.0.0.0"), (fake.DISABLED | fake.UNHEALTHY, "192.168.20.44")]
    daemon.pnn = 0
    header = "|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|\n"
    rows = "|0|192.168.20.41|0|0|0|0|0|0|0|0|Y|\n|1|192.168.20.42|0|0|1|0|0|0|1|0|N|\n|3|192.168.20.44|0|0|0|1|1|0|0|0|N|\n"
    assert good(tool(daemon.path, "-X", "status")) == header + rows
    assert good(tool(daemon.path, "status", "-Y")) == header + rows
    assert good(tool(daemon.path, "-X", "-x", ":", "status")) == (header + rows).replace("|", ":")


def test_old_small_ones(tool, daemon):
    assert good(tool(daemon.path, "pnn")) == "1\n"
    assert good(tool(daemon.path, "leader")) == "2\n"
    assert good(tool(daemon.path, "runstate")) == "RUNNING\n"
    assert good(tool(daemon.path, "runstate", "startup", "RUNNING")) == "RUNNING\n"
    done = tool(daemon.path, "runstate", "SHUTDOWN")
    assert (done.returncode, done.stdout) == (ERROR, "CTDB not in required run state (got RUNNING)\n")
    done = tool(daemon.path, "runstate", "WALKING")
    assert (done.returncode, done.stdout) == (ERROR, "Invalid run state (WALKING)\n")
    assert good(tool(daemon.path, "uptime")) == (
        "Current time of node 1        :                Mon Jan 12 13:46:40 1970\n"
        "Ctdbd start time              : (001 03:46:40) Sun Jan 11 10:00:00 1970\n"
        "Time of last recovery/failover: (000 02:46:38) Mon Jan 12 11:00:02 1970\n"
        "Duration of last recovery/failover: 2.000000 seconds\n")


def test_old_getdbmap(tool, daemon):
    daemon.dbs = [(0x7a19d84d, 0, b"locking.tdb", b"", 0), (0x7132c184, 1 | 4, b"secrets.tdb", b"broken", 3)]
    assert good(tool(daemon.path, "getdbmap")) == (
        "Number of databases:2\n"
        "dbid:0x7a19d84d name:locking.tdb path:/var/lib/ctdb/locking.tdb.1\n"
        "dbid:0x7132c184 name:secrets.tdb path:/var/lib/ctdb/secrets.tdb.1 PERSISTENT STICKY UNHEALTHY\n")
    assert good(tool(daemon.path, "-X", "getdbmap")).splitlines()[2] == "|0x7132C184|secrets.tdb|/var/lib/ctdb/secrets.tdb.1|1|1|1|0|0|"


# ---- cluster, nodes, databases ----

def status_json(tool, daemon, *args):
    status = json.loads(good(tool(daemon.path, "-o", "json", *args, "cluster", "status")))
    assert status["schema"] == 1
    return status


def test_cluster_status(tool, daemon):
    lines = good(tool(daemon.path, "cluster", "status")).splitlines()
    assert lines[0] == "OK: all 3 nodes are active, since 1970-01-12 11:00:02 (166 min)" or lines[0].endswith("(2 h)")
    assert lines[1].split() == ["NODE", "ADDRESS", "STATUS", "ROLE"]
    assert lines[3].split() == ["1", "10.0.0.2", "OK", "this", "node"]
    status = status_json(tool, daemon)
    assert status["ready"] is True and status["state"] == "OK" and status["next"] is None
    assert [n["address"] for n in status["nodes"]] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [n["leader"] for n in status["nodes"]] == [False, False, True]
    assert (status["leader"], status["generation"], status["recovery"], status["runstate"]) == (2, 362178228, False, "RUNNING")


def test_cluster_status_membership(tool, daemon):
    """What the membership daemon says; earlier daemons have none."""
    assert status_json(tool, daemon)["membership"] is None
    assert "Membership" not in good(tool(daemon.path, "cluster", "status"))
    verdict = 512
    daemon.override = lambda op, reqid, data: fake.reply_control(reqid, 0, b"node 2 is late\0") if op == verdict else None
    assert status_json(tool, daemon)["membership"] == "node 2 is late"
    assert "Membership: node 2 is late\n" in good(tool(daemon.path, "cluster", "status"))
    daemon.override = lambda op, reqid, data: fake.reply_control(reqid, 0, b"no end") if op == verdict else None
    bad(tool(daemon.path, "cluster", "status"), 1, "malformed answer")


def test_cluster_status_trouble(tool, daemon):
    daemon.nodes[2] = (fake.DISCONNECTED, "10.0.0.3")
    lines = good(tool(daemon.path, "cluster", "status")).splitlines()
    assert lines[0].startswith("DEGRADED: 2 of 3 nodes are well; node 2 is disconnected")
    assert lines[1].startswith("Next: see whether node 2 is up")
    status = status_json(tool, daemon)
    assert status["ready"] is True and status["nodes"][2]["flags"] == ["DISCONNECTED", "INACTIVE"]
    daemon.recmode = 1
    assert status_json(tool, daemon)["state"] == "RECOVERING"
    daemon.recmode, daemon.nodes[1] = 0, (fake.STOPPED, "10.0.0.2")
    status = status_json(tool, daemon)
    assert (status["state"], status["ready"]) == ("INACTIVE", False)
    daemon.nodes[1], daemon.leader = (0, "10.0.0.2"), None
    status = status_json(tool, daemon, "-t", "4")
    assert (status["state"], status["ready"], status["leader"]) == ("NO LEADER", False, None)


def test_node_list(tool, daemon):
    daemon.nodes[0] = (fake.BANNED, "fd00::1")
    assert good(tool(daemon.path, "-o", "table", "node", "list")) == (
        "+------+----------+-----------------+-----------+\n"
        "| NODE | ADDRESS  | FLAGS           | THIS NODE |\n"
        "+------+----------+-----------------+-----------+\n"
        "| 0    | fd00::1  | BANNED|INACTIVE | no        |\n"
        "| 1    | 10.0.0.2 | -               | yes       |\n"
        "| 2    | 10.0.0.3 | -               | no        |\n"
        "+------+----------+-----------------+-----------+\n")
    assert [n["pnn"] for n in json.loads(good(tool(daemon.path, "-o", "json", "node", "list")))["nodes"]] == [0, 1, 2]


def test_node_that_does_not_exist(tool, daemon):
    bad(tool(daemon.path, "-n", "3", "node", "list"), 3, "there is no node 3")
    bad(tool(daemon.path, "-n", "3", "db", "list"), 3, "there is no node 3")


def test_db_list_and_status(tool, daemon):
    assert good(tool(daemon.path, "db", "list")) == ""
    assert json.loads(good(tool(daemon.path, "-o", "json", "db", "list")))["databases"] == []
    daemon.dbs = [(0x10, 2, b"a.tdb", b"", 0), (0x20, 8, b"evil\x1b[2J\xff", b"torn\nup", 7)]
    rows = json.loads(good(tool(daemon.path, "-o", "json", "db", "list")))["databases"]
    assert rows[0] == {"id": "0x00000010", "name": "a.tdb", "model": "volatile", "flags": ["readonly"], "healthy": True, "health": "ok"}
    assert (rows[1]["model"], rows[1]["healthy"], rows[1]["health"]) == ("replicated", False, "torn\\x0aup")
    out = good(tool(daemon.path, "db", "list"))
    assert "\x1b" not in out and "evil\\x1b[2J\\xff" in out  # nothing that a terminal would act on
    for name in ("a.tdb", "0x10"):
        status = json.loads(good(tool(daemon.path, "-o", "json", "db", "status", name)))
        assert (status["id"], status["path"], status["tdb_flags"]) == ("0x00000010", "/var/lib/ctdb/a.tdb.1", "0x1c41")
    assert json.loads(good(tool(daemon.path, "-o", "json", "db", "status", "0x20")))["seqnum"] == 7
    bad(tool(daemon.path, "db", "status", "b.tdb"), NOT_FOUND, "b.tdb", "ctdb db list")


# ---- messages ----

def test_message_send(tool, daemon):
    def came(what, payload):
        """A message has no answer: the daemon may read it after the tool has ended."""
        wait_until(lambda: daemon.seen[-1] == (fake.REQ_MESSAGE, what, payload), what=lambda: f"{payload}: {daemon.seen}")

    assert good(tool(daemon.path, "message", "send", "2", "0xAE00000000000001", "hi\\x00\\\\")) == ""
    came((2, 0xAE00000000000001), b"hi\0\\")
    good(tool(daemon.path, "message", "send", "--hex", "all", "5", "00ff"))
    came((0xF0000002, 5), b"\x00\xff")
    good(tool(daemon.path, "message", "send", "connected", "5", "-", input="from stdin\n"))
    came((0xF0000004, 5), b"from stdin\n")
    daemon.nodes[2] = (fake.DISCONNECTED, "10.0.0.3")
    bad(tool(daemon.path, "message", "send", "2", "5", "x"), ERROR, "node 2", "DISCONNECTED")
    bad(tool(daemon.path, "message", "send", "9", "5", "x"), NOT_FOUND, "node 9")
    bad(tool(daemon.path, "message", "send", "nowhere", "5", "x"), USAGE, "nowhere")
    bad(tool(daemon.path, "message", "send", "0", "5x", "x"), USAGE, "5x")
    bad(tool(daemon.path, "message", "send", "0", "5", "a\\q"), USAGE, "a\\q")


def test_message_listen(tool, daemon):
    daemon.deliver = [(7, b"one"), (7, b"t\x00w\xff"), (7, b"three")]
    assert good(tool(daemon.path, "message", "listen", "7", "--count", "2")) == "one\nt\\x00w\\xff\n"
    out = good(tool(daemon.path, "-o", "json", "message", "listen", "7", "--count", "1"))
    assert json.loads(out) == {"schema": 1, "srvid": "0x0000000000000007", "text": "one"}
    assert good(tool(daemon.path, "--hex", "message", "listen", "7", "--count", "1")) == "6f6e65\n"
    done = tool(daemon.path, "-t", "4", "message", "listen", "7", "--count", "4")
    assert done.returncode == TIMEOUT and done.stdout.splitlines()[2] == "three"


# ---- errors ----

def test_no_daemon(tool, base):
    missing = os.path.join(base, "nothing")
    bad(tool(missing, "node", "list"), NO_DAEMON, missing, "start ctdbd")
    bad(tool(missing, "pnn"), ERROR, "connect() failed, errno=2\n", f"Failed to connect to CTDB daemon ({missing})\n")
    done = tool(missing, "-o", "json", "node", "list")
    assert done.returncode == NO_DAEMON
    assert json.loads(done.stdout)["error"]["code"] == NO_DAEMON and missing in json.loads(done.stdout)["error"]["message"]


def test_default_socket(bindir, daemon):
    argv = [os.path.join(bindir, "ctdb"), "pnn"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False, env={"CTDB_SOCKET": daemon.path})
    assert (done.returncode, done.stdout) == (OK, "1\n")
    os.mkdir(os.path.join(daemon.dir, "run"))
    os.symlink(daemon.path, os.path.join(daemon.dir, "run", "ctdbd.socket"))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False, env={"CTDB_BASE": daemon.dir})
    assert (done.returncode, done.stdout) == (OK, "1\n")


def test_usage(tool, base):
    nothing = os.path.join(base, "nothing")  # usage is looked at before the daemon is
    bad(tool(nothing, "clutser", "status"), USAGE, 'unknown command "clutser status"', '"ctdb cluster status"')
    bad(tool(nothing, "statuss"), USAGE, '"ctdb status"')
    bad(tool(nothing, "xyzzy", "plugh"), USAGE, "xyzzy plugh", "ctdb --help")
    bad(tool(nothing, "record"), USAGE, "verb is missing", "ctdb record --help")
    bad(tool(nothing, "record", "--local", "get", "a", "b"), USAGE, "--local cannot be used")
    bad(tool(nothing, "xyzzy", "--help"), USAGE, "xyzzy")
    bad(tool(nothing, "record", "get", "x"), USAGE, "too few arguments", "DB KEY")
    bad(tool(nothing, "db", "attach", "x", "persistent"), USAGE, "too many arguments; usage: ctdb db attach NAME [--model MODEL]")
    bad(tool(nothing, "node", "list", "x"), USAGE, "too many arguments")
    bad(tool(nothing, "-n", "1", "record", "get", "a", "b"), USAGE, "-n", "record get")
    bad(tool(nothing, "--hex", "node", "list"), USAGE, "--hex")
    bad(tool(nothing, "-X", "node", "list"), USAGE, "-X")
    bad(tool(nothing, "-n", "all", "node", "list"), USAGE, '"all"')
    bad(tool(nothing, "-t", "0", "pnn"), USAGE, '"0"')
    bad(tool(nothing, "-o", "xml", "pnn"), USAGE, '"xml"')
    bad(tool(nothing, "--model", "huge", "db", "attach", "x"), USAGE, '"huge"')
    bad(tool(nothing, "--frob", "pnn"), USAGE, "--frob")
    bad(tool(nothing, "-q", "pnn"), USAGE, "-q")
    bad(tool(nothing, "pnn", "-t"), USAGE, "-t")
    bad(tool(nothing), USAGE, "Usage: ctdb")


def test_help(tool, base):
    nothing = os.path.join(base, "nothing")
    overview = good(tool(nothing, "--help"))
    for name in ("cluster status", "record get DB KEY", "message listen SRVID", "getdbmap"):
        assert name in overview
    verbs = good(tool(nothing, "record", "--help"))
    assert "record get DB KEY" in verbs and "db list" not in verbs and "getdbmap" not in verbs
    assert verbs == good(tool(nothing, "help", "record")) == good(tool(nothing, "record", "help"))
    assert "cluster key create" in good(tool(nothing, "cluster", "key", "--help")) and "cluster key create" in good(tool(nothing, "cluster", "--help"))
    assert good(tool(nothing, "help")) == overview
    assert good(tool(nothing, "help", "record", "get")) == good(tool(nothing, "record", "get", "--help"))
    assert good(tool(nothing, "record", "get", "--help")).startswith("Usage: ctdb record get DB KEY")
    assert good(tool(nothing, "record", "get", "-?")).startswith("Usage: ctdb record get DB KEY")
    assert good(tool(nothing, "--version")).startswith("ctdb-ng ")


def test_manual_is_complete(tool, base):
    """Every command and option of the help is in ctdb(1)."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(os.path.join(top, "man", "ctdb.1"), encoding="utf-8") as f:
        manual = f.read()
    overview = good(tool(os.path.join(base, "nothing"), "--help"))
    commands = [line.split("  ")[1] for line in overview.splitlines() if line.startswith("  ") and not line.startswith("  -")]
    assert len(commands) > 15
    for command in commands:
        words = [w for w in command.split() if w.islower() and w.isalpha()]
        assert ".It Ic " + " ".join(words) in manual, command
    for option in ("output", "timeout", "node", "socket", "hex", "count", "model", "version", "help"):
        assert f"--{option}" in overview or option in ("output", "count", "model"), option
        assert f"Fl Fl {option}" in manual, option


def malformed_answers():
    yield "refused", lambda opcode, reqid, data: fake.reply_control(reqid, -1), ERROR
    yield "short", lambda opcode, reqid, data: fake.reply_control(reqid, 0, b"\x01"), ERROR
    yield "count", lambda opcode, reqid, data: fake.reply_control(reqid, 0, b"\xff" * 4), ERROR
    yield "length", lambda opcode, reqid, data: struct.pack("=8I", 31, fake.MAGIC, 1, 1, 8, 0, 0, reqid), ERROR
    yield "magic", lambda opcode, reqid, data: struct.pack("=8I", 44, 1, 1, 1, 8, 0, 0, reqid) + bytes(12), ERROR
    yield "datalen", lambda opcode, reqid, data: fake.packet(8, reqid, struct.pack("=iII", 0, 0xFFFFFF00, 0)), ERROR
    yield "silent", lambda opcode, reqid, data: b"", TIMEOUT
    yield "truncated", lambda opcode, reqid, data: fake.reply_control(reqid, 0, b"\0" * 100)[:50], TIMEOUT


@pytest.mark.parametrize("name,answer,code", list(malformed_answers()), ids=[m[0] for m in malformed_answers()])
def test_wrong_answers(tool, daemon, name, answer, code):
    daemon.override = lambda opcode, reqid, data: answer(opcode, reqid, data) if opcode == fake.GET_NODEMAP else None
    # Long enough for the questions before, which are answered.
    limit = "6" if code == TIMEOUT else "30"
    bad(tool(daemon.path, "-t", limit, "node", "list"), code, "GET_NODEMAP" if name in ("refused", "short", "count") else "")
    bad(tool(daemon.path, "-t", limit, "cluster", "status"), code, "")


def test_not_a_daemon(tool, base):
    """Something else listens at the socket and talks nonsense, or nothing at all."""
    path = os.path.join(base, "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)

    def talk():
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
        connection.recv(1000)
        connection.recv(1000)
        connection.close()

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    bad(tool(path, "pnn"), ERROR, "does not speak the protocol")
    thread.join(LIMIT)
    bad(tool(path, "-t", "0.3", "node", "list"), NO_DAEMON, "does not answer")
    listener.close()


# ---- a cluster ----

@pytest.fixture(scope="module")
def cluster(module_factory):
    return module_factory(nodes=2, extra_config=CALM)


def on(cluster, pnn, *args, **options):
    options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
    return cluster.node(pnn).run(["ctdb", *args], capture_output=True, text=True, timeout=LIMIT, check=False, **options)


def test_cluster_basics(cluster):
    assert [good(on(cluster, n, "pnn")) for n in (0, 1)] == ["0\n", "1\n"]
    status = json.loads(good(on(cluster, 1, "-o", "json", "cluster", "status")))
    assert status["ready"] and status["state"] == "OK" and len(status["nodes"]) == 2
    assert good(on(cluster, 0, "status")).startswith("Number of nodes:2\npnn:0 ")


def test_records_move(cluster):
    """Written on one node, read and changed on the other."""
    good(on(cluster, 0, "db", "attach", "cli_v.tdb"))
    good(on(cluster, 0, "record", "set", "cli_v.tdb", "key\\x00", "first"))
    assert good(on(cluster, 1, "record", "get", "cli_v.tdb", "key\\x00")) == "first\n"
    good(on(cluster, 1, "record", "set", "cli_v.tdb", "key\\x00", "-", input="second\0"))
    assert good(on(cluster, 0, "record", "get", "--hex", "cli_v.tdb", "6b657900")) == "7365636f6e6400\n"
    info = json.loads(good(on(cluster, 0, "-o", "json", "record", "info", "cli_v.tdb", "key\\x00")))
    assert info["local"] and info["dmaster"] == 0 and info["current"] and info["lmaster"] in (0, 1)
    assert info["slot"] == int(info["hash"], 16) % info["slots"]
    good(on(cluster, 1, "record", "delete", "cli_v.tdb", "key\\x00"))
    for n in (0, 1):
        bad(on(cluster, n, "record", "get", "cli_v.tdb", "key\\x00"), NOT_FOUND, "no record")
        bad(on(cluster, n, "record", "delete", "cli_v.tdb", "key\\x00"), NOT_FOUND, "no record")


@pytest.mark.parametrize("model", ["persistent", "replicated"])
def test_transactions(cluster, model):
    name = f"cli_{model}.tdb"
    good(on(cluster, 0, "db", "attach", name, "--model", model))
    for i in range(6):
        good(on(cluster, i % 2, "record", "set", name, f"k{i}", f"v{i}"))
    for n in (0, 1):
        assert [good(on(cluster, n, "record", "get", name, f"k{i}")) for i in range(6)] == [f"v{i}\n" for i in range(6)]
    good(on(cluster, 1, "record", "delete", name, "k3"))
    bad(on(cluster, 0, "record", "get", name, "k3"), NOT_FOUND)
    assert {json.loads(good(on(cluster, n, "-o", "json", "db", "status", name)))["seqnum"] for n in (0, 1)} == {7}
    good(on(cluster, 0, "record", "set", name, "k1", "v1"))  # nothing new: no transaction
    assert json.loads(good(on(cluster, 0, "-o", "json", "db", "status", name)))["seqnum"] == 7


def test_transactions_exclude_each_other(cluster):
    """Both nodes write at the same time: every write is counted."""
    good(on(cluster, 0, "db", "attach", "cli_race.tdb", "--model", "persistent"))
    results = []

    def write(pnn):
        results.extend(on(cluster, pnn, "-t", "50", "record", "set", "cli_race.tdb", f"n{pnn}-{i}", "x").returncode for i in range(8))

    threads = [threading.Thread(target=write, args=(n,)) for n in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [OK] * 16
    assert json.loads(good(on(cluster, 0, "-o", "json", "db", "status", "cli_race.tdb")))["seqnum"] == 16


def test_messages_between_nodes(cluster):
    def listen(out):
        out.append(on(cluster, 1, "-t", "30", "message", "listen", "0xAE00000000000077", "--count", "1"))

    heard = []
    thread = threading.Thread(target=listen, args=(heard,))
    thread.start()
    end = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < end:  # nobody knows when the other listens
        good(on(cluster, 0, "message", "send", "1", "0xAE00000000000077", "hello"))
        thread.join(0.1)
    thread.join(LIMIT)
    assert good(heard[0]) == "hello\n"


def test_models_do_not_mix(cluster):
    good(on(cluster, 0, "db", "attach", "cli_model.tdb", "--model", "persistent"))
    bad(on(cluster, 1, "db", "attach", "cli_model.tdb"), ERROR, "cli_model.tdb", "persistent")
    bad(on(cluster, 1, "db", "attach", "../etc/passwd"), ERROR, "../etc/passwd")
