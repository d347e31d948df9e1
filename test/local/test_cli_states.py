"""What the ctdb tool says of clusters in states that real ones are seldom in, as text, table and JSON."""

import json
import os
import subprocess

import pytest
from fake_daemon_program import FakeProgram
from support import wait_until

OK, ERROR, USAGE, NOT_FOUND, TIMEOUT, NO_DAEMON = range(6)
LIMIT = 60
UPTIME = "uptime 1000000 900000 990000 990002\n"
HEALTHY = "pnn 1\nnode 10.0.0.1\nnode 10.0.0.2\nnode 10.0.0.3\ngeneration 77\nvnnmap 0 1 2\nleader 0\n" + UPTIME
MIXED = ("pnn 1\nnode 10.0.0.1 banned\nnode 10.0.0.2 unhealthy\nnode 10.0.0.3 disconnected\nnode 10.0.0.4 deleted\n"
         "node 10.0.0.5 disabled,stopped\nnode fd00::6\ngeneration 77\nvnnmap 1 5\nleader 5\n" + UPTIME)


@pytest.fixture
def build(bindir):
    return os.path.dirname(bindir)


@pytest.fixture
def fake(build):
    f = FakeProgram(build, HEALTHY)
    yield f
    assert f.stop() == 0


@pytest.fixture
def tool(bindir, fake):
    def run(*args, status=OK):
        done = subprocess.run([os.path.join(bindir, "ctdb"), "--socket", fake.path, *args], capture_output=True, text=True, timeout=LIMIT,
                              stdin=subprocess.DEVNULL, check=False, env={**os.environ, "TZ": "UTC"})
        assert done.returncode == status, (done.stdout, done.stderr)
        assert (done.stderr == "") == (status == OK), done.stderr
        return done.stdout if status == OK else done.stderr

    return run


def as_json(tool, *args):
    out = json.loads(tool("-o", "json", *args))
    assert out["schema"] == 1
    return out


def table(text):
    """Rows of the first table with borders, as lists of words."""
    rows = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.replace("|INACTIVE", "/INACTIVE").strip("|").split("|")])
        elif rows and not line.startswith("+"):
            break
    return rows


# ---- flags ----

def test_flags_text(tool, fake):
    fake.say(MIXED)
    rows = [line.split() for line in tool("node", "list").splitlines()]
    assert rows[0] == ["NODE", "ADDRESS", "FLAGS", "THIS", "NODE"]
    assert rows[1:] == [["0", "10.0.0.1", "BANNED|INACTIVE", "no"], ["1", "10.0.0.2", "UNHEALTHY", "yes"],
                        ["2", "10.0.0.3", "DISCONNECTED|INACTIVE", "no"], ["3", "10.0.0.4", "DELETED|INACTIVE", "no"],
                        ["4", "10.0.0.5", "DISABLED|STOPPED|INACTIVE", "no"], ["5", "fd00::6", "-", "no"]]


def test_flags_json(tool, fake):
    fake.say(MIXED)
    nodes = as_json(tool, "node", "list")["nodes"]
    assert [n["flags"] for n in nodes] == [["BANNED", "INACTIVE"], ["UNHEALTHY"], ["DISCONNECTED", "INACTIVE"], ["DELETED", "INACTIVE"],
                                           ["DISABLED", "STOPPED", "INACTIVE"], []]
    assert [n["pnn"] for n in nodes if n["this"]] == [1]
    assert nodes[5]["address"] == "fd00::6"


def test_status_of_mixed_flags(tool, fake):
    fake.say(MIXED)
    status = as_json(tool, "cluster", "status")
    assert status["state"] == "DEGRADED"
    assert [n["pnn"] for n in status["nodes"]] == [0, 1, 2, 4, 5]  # not the deleted one
    assert [n["status"] for n in status["nodes"]] == ["BANNED|INACTIVE", "UNHEALTHY", "DISCONNECTED|INACTIVE", "DISABLED|STOPPED|INACTIVE", "OK"]
    assert [n["pnn"] for n in status["nodes"] if n["leader"]] == [5]
    assert status["leader"] == 5 and status["generation"] == 77
    rows = table(tool("-o", "table", "cluster", "status"))
    assert rows[0] == ["NODE", "ADDRESS", "STATUS", "ROLE"]
    assert rows[1][:3] == ["0", "10.0.0.1", "BANNED/INACTIVE"]
    assert rows[5] == ["5", "fd00::6", "OK", "leader"]
    out = tool("status")
    assert "Number of nodes:6 (including 1 deleted nodes)\n" in out
    assert "pnn:4 10.0.0.5         DISABLED|STOPPED|INACTIVE\n" in out


def test_status_changes_between_calls(tool, fake):
    assert as_json(tool, "cluster", "status")["state"] == "OK"
    fake.say(HEALTHY.replace("node 10.0.0.2\n", "node 10.0.0.2 unhealthy\n"))
    status = as_json(tool, "cluster", "status")
    assert status["state"] != "OK" and status["nodes"][1]["status"] == "UNHEALTHY"
    fake.say(HEALTHY)
    assert as_json(tool, "cluster", "status")["state"] == "OK"


def test_own_node_banned_and_stopped(tool, fake):
    for flag in ("banned", "stopped"):
        fake.say(HEALTHY.replace("node 10.0.0.2\n", f"node 10.0.0.2 {flag}\n"))
        status = as_json(tool, "cluster", "status")
        assert status["ready"] is False or status["state"] != "OK"
        assert status["nodes"][1]["flags"] == [flag.upper(), "INACTIVE"]


# ---- partially online: an interface is down on a node that is otherwise well ----

def test_partially_online(tool, fake):
    fake.say(HEALTHY + "iface 0 eth0 up\niface 0 eth1 down 3\niface 1 eth0 up\n")
    out = tool("status")
    assert "pnn:0 10.0.0.1         PARTIALLYONLINE\n" in out and "pnn:1 10.0.0.2         OK (THIS NODE)\n" in out
    rows = tool("-X", "status").splitlines()
    assert rows[1] == "|0|10.0.0.1|0|0|0|0|0|0|0|1|N|" and rows[2] == "|1|10.0.0.2|0|0|0|0|0|0|0|0|Y|"


def test_partially_online_only_without_flags(tool, fake):
    fake.say(HEALTHY.replace("node 10.0.0.1\n", "node 10.0.0.1 unhealthy\n") + "iface 0 eth1 down\n")
    assert "pnn:0 10.0.0.1         UNHEALTHY\n" in tool("status")


# ---- leader, generation, recovery, run state ----

def test_no_leader(tool, fake):
    fake.say(HEALTHY.replace("leader 0\n", "leader none\n"))
    status = as_json(tool, "-t", "4", "cluster", "status")
    assert status["leader"] is None
    assert all(not n["leader"] for n in status["nodes"])
    assert status["state"] != "OK"
    assert "Leader:UNKNOWN\n" in tool("-t", "4", "status")
    assert tool("-t", "4", "leader") == "UNKNOWN\n"


def test_recovery_without_generation(tool, fake):
    fake.say(HEALTHY.replace("generation 77\nvnnmap 0 1 2\n", "generation none\nvnnmap\nrecmode active\nrunstate FIRST_RECOVERY\n"))
    status = as_json(tool, "cluster", "status")
    assert status["recovery"] is True and status["ready"] is False and status["runstate"] == "FIRST_RECOVERY"
    out = tool("status")
    assert "Generation:INVALID\nSize:0\nRecovery mode:RECOVERY (1)\n" in out
    assert "pnn:0 10.0.0.1         UNKNOWN\n" in out  # as long as it starts it does not know the others


@pytest.mark.parametrize("state", ["INIT", "SETUP", "FIRST_RECOVERY", "STARTUP", "RUNNING", "SHUTDOWN"])
def test_runstates(tool, fake, state):
    fake.say(HEALTHY + f"runstate {state}\n")
    assert tool("runstate") == state + "\n"


# ---- databases ----

def test_databases(tool, fake):
    fake.say(HEALTHY + "db locking.tdb volatile,sticky,readonly\ndb secrets.tdb persistent 7 broken by hand\ndb leases.tdb replicated 3\n")
    dbs = as_json(tool, "db", "list")["databases"]
    assert [d["name"] for d in dbs] == ["locking.tdb", "secrets.tdb", "leases.tdb"]
    assert [d["model"] for d in dbs] == ["volatile", "persistent", "replicated"]
    rows = table(tool("-o", "table", "db", "list"))
    assert rows[2] == ["0x7132c184", "secrets.tdb", "persistent", "-", "broken by hand"]
    assert tool("-X", "getdbmap").splitlines()[2] == "|0x7132C184|secrets.tdb|/var/lib/ctdb/secrets.tdb.1|1|0|1|0|0|"


# ---- nodes that do not answer, answers that are wrong ----

def test_other_node(tool, fake):
    fake.say(MIXED)
    assert "disconnected" in tool("-n", "2", "uptime", status=ERROR)
    tool("-n", "0", "uptime")
    wait_until(lambda: "control UPTIME 0 0" in fake.seen, what="the question to node 0")


def test_refused_and_garbage(tool, fake):
    fake.say(HEALTHY + "refuse 69 no time for you\n")
    assert "no time for you" in tool("uptime", status=ERROR)
    fake.say(HEALTHY + "garbage 91\n")
    assert "malformed" in tool("node", "list", status=ERROR)
    fake.say(HEALTHY + "silent 91\n")
    assert "no answer" in tool("-t", "5", "node", "list", status=TIMEOUT)


# ---- the fake itself ----

def test_fake_refuses_bad_states(build):
    for lines, words in (("node 10.0.0.1 tired\n", ':1: "tired" is no flag'), ("pnn 0\nnode here\n", ":2: a node needs an address"),
                         ("pnn -1\n", ':1: "-1" is no number'), ("runstate WALKING\n", ":1: no such run state"), ("what\n", ':1: "what" is not known')):
        with pytest.raises(RuntimeError, match="state" + words):
            FakeProgram(build, lines)


# ---- health, waiting, orders: a daemon without clusterd ----

@pytest.mark.parametrize("lines, status, state", [
    (HEALTHY, 0, "OK"),
    (HEALTHY.replace("10.0.0.3\n", "10.0.0.3 disconnected\n"), 1, "DEGRADED"),
    (HEALTHY.replace("10.0.0.2\n", "10.0.0.2 banned\n"), 2, "INACTIVE"),
    (HEALTHY + "recmode active\n", 2, "RECOVERING"),
    (HEALTHY + "runstate startup\n", 2, "STARTING"),
])
def test_health(bindir, fake, lines, status, state):
    fake.say(lines)
    for form in ("text", "json"):
        done = subprocess.run([os.path.join(bindir, "ctdb"), "--socket", fake.path, "-o", form, "cluster", "health"], capture_output=True, text=True,
                              timeout=LIMIT, check=False)
        assert (done.returncode, done.stderr) == (status, ""), done.stdout
        if form == "text":
            assert done.stdout.startswith(state + ": ") and len(done.stdout.splitlines()) == 1
        else:
            doc = json.loads(done.stdout)
            assert (doc["status"], doc["state"]) == (status, state)


def test_health_without_a_daemon(bindir, tmp_path):
    done = subprocess.run([os.path.join(bindir, "ctdb"), "--socket", str(tmp_path / "none"), "cluster", "health"], capture_output=True, text=True,
                          timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "UNKNOWN: no CTDB daemon of this node listens: start ctdbd, or see its log\n", "")


def test_wait_and_its_end(tool, fake):
    fake.say(HEALTHY + "recmode active\n")
    assert tool("cluster", "wait", "--for", "member") == "this node is a member of the cluster\n"
    # If the last question before the end was not answered in time, it says that.
    wait_until(lambda: "RECOVERING" in tool("cluster", "wait", "--for", "recovered", "-t", "2", status=TIMEOUT), what="what it waits for")
    fake.say(HEALTHY)
    assert tool("cluster", "wait", "--for", "serving") == "this node serves\n"


def test_earlier_daemon_has_neither_views_nor_events(tool):
    assert "earlier" in tool("cluster", "view", status=ERROR)
    assert "earlier" in tool("cluster", "events", status=ERROR)
    assert "earlier" in tool("leader", "resign", status=ERROR)
    assert as_json(tool, "leader", "show") == {"schema": 1, "leader": 0, "this": False}


def test_orders_that_would_harm(tool, fake):
    fake.say(HEALTHY.replace("10.0.0.1\n", "10.0.0.1 stopped\n").replace("10.0.0.3\n", "10.0.0.3 banned\n"))
    assert "last active" in tool("node", "stop", "1", status=ERROR)
    assert "last active" in tool("node", "ban", "1", "10", status=ERROR)
    fake.say(HEALTHY.replace("10.0.0.1\n", "10.0.0.1 banned\n"))
    assert "2 of 3 nodes are banned" in tool("node", "ban", "2", "10", status=ERROR)
    fake.say(HEALTHY.replace("10.0.0.3\n", "10.0.0.3 disconnected\n"))
    assert "node 2 is disconnected" in tool("node", "continue", "2", status=ERROR)
    assert not [line for line in fake.seen if "STOP" in line or "BAN" in line or "CONTINUE" in line]


def test_node_status_bits(bindir, fake):
    fake.say(MIXED)

    def bits(*words):
        return subprocess.run([os.path.join(bindir, "ctdb"), "--socket", fake.path, "nodestatus", *words], capture_output=True, text=True,
                              timeout=LIMIT, check=False).returncode

    assert [bits(pnn) for pnn in ("0", "1", "2", "4", "5")] == [8, 2, 1, 36, 0]
    assert bits() == 2 and bits("0,2") == 9 and bits("all") == 1 | 2 | 4 | 8 | 32
    assert bits("3") == ERROR  # deleted
