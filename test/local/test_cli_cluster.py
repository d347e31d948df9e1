"""ctdb cluster, leader and node on a real cluster: what they say, wait for and do, and with which exit status."""

import json
import os
import re
import shutil
import subprocess

import pytest
from support import CALM, CAPTURE, PATIENCE, output, wait_until

OK, ERROR, USAGE, NOT_FOUND, TIMEOUT, NO_DAEMON = range(6)
HEALTHY, DEGRADED, BAD, UNKNOWN = range(4)


def run(cluster, pnn, *words):
    return cluster.node(pnn).run(["ctdb", *words], timeout=6 * PATIENCE, check=False, **CAPTURE)


def at_off(cluster, pnn, *words):
    """Command and options to run it for a node that is off, or may be. What carries a node's own marks ends when it is switched on."""
    node_env = cluster.node(pnn).env()
    env = {**os.environ, "PATH": node_env["PATH"], "CTDB_BASE": node_env["CTDB_BASE"]}
    return [shutil.which("ctdb", path=env["PATH"]), *words], {"env": env, "text": True, "stdin": subprocess.DEVNULL}


def good(cluster, pnn, *words):
    return output(run(cluster, pnn, *words))


def as_json(cluster, pnn, *words, status=OK):
    done = run(cluster, pnn, "-o", "json", *words)
    assert done.returncode == status, (done.stdout, done.stderr)
    doc = json.loads(done.stdout)
    assert doc["schema"] == 1
    return doc


def bad(cluster, pnn, status, what, *words):
    """Fails with that status and a text, and says nothing else; in JSON the same."""
    done = run(cluster, pnn, *words)
    assert (done.returncode, done.stdout) == (status, ""), (done.stdout, done.stderr)
    assert what in done.stderr
    return done.stderr


def leader(cluster, pnn=0):
    return as_json(cluster, pnn, "leader", "show")["leader"]


def agreed_leader(cluster):
    """The leader, when all three name the same: who leads is news elsewhere a moment later."""
    def same():
        told = [leader(cluster, pnn) for pnn in range(3)]
        return told if len(set(told)) == 1 and told[0] in range(3) else None
    return wait_until(same, what="one leader for all")[0]


# ---- looking ----

def test_healthy_cluster(cluster):
    """Everything that is told about a cluster that is well, and that all of it agrees."""
    status = as_json(cluster, 1, "cluster", "status")
    assert (status["state"], status["ready"], status["active"], status["next"]) == ("OK", True, True, None)
    assert status["arbitration"] == {"method": "majority", "state": "held", "detail": None}
    assert status["failed_callbacks"] == []
    assert status["leader_since_s"] >= 0 and status["view_since_s"] >= 0
    for node in status["nodes"]:
        assert node["reachable"] and not node["differs"] and not node["partially_online"], node
        assert [node[key] for key in ("why", "since_s", "ban_s", "barred_by")] == [None] * 4
    view = as_json(cluster, 1, "cluster", "view")
    assert [m["pnn"] for m in view["members"]] == [0, 1, 2] and view["leader"] == status["leader"] and view["active"]
    assert all(m["flags"] == [] and m["capabilities"] == ["leader", "lmaster"] and m["incarnation"] > 0 for m in view["members"])
    show = as_json(cluster, 1, "leader", "show")
    assert (show["leader"], show["this"], show["term"]) == (status["leader"], status["leader"] == 1, view["term"])
    assert as_json(cluster, 0, "cluster", "view", "-n", "2")["members"] == view["members"]
    health = as_json(cluster, 1, "cluster", "health")
    assert health["status"] == HEALTHY and health["health"].startswith("OK: all 3 nodes are active")
    assert good(cluster, 1, "cluster", "health").startswith("OK: all 3 nodes are active")


def test_first_line_is_the_verdict_in_every_form(cluster):
    for form in ("text", "table"):
        assert good(cluster, 0, "-o", form, "cluster", "status").startswith("OK: all 3 nodes are active")


def test_nodes_are_asked_themselves(cluster):
    nodes = as_json(cluster, 0, "node", "status", "all")["nodes"]
    assert [(n["pnn"], n["runstate"], n["active"], n["recovery"], n["error"]) for n in nodes] == \
        [(pnn, "RUNNING", True, False, None) for pnn in range(3)]
    assert len({n["generation"] for n in nodes}) == 1 and {n["leader"] for n in nodes} == {leader(cluster)}
    assert [n["pnn"] for n in as_json(cluster, 0, "node", "ping", "2,0")["nodes"]] == [2, 0]
    assert [n["pnn"] for n in as_json(cluster, 0, "node", "ping", "-n", "1")["nodes"]] == [1]
    assert [n["pnn"] for n in as_json(cluster, 1, "node", "ping")["nodes"]] == [1]
    assert all(n["time_us"] > 0 for n in as_json(cluster, 0, "node", "ping", "all")["nodes"])
    assert [(n["leader"], n["lmaster"]) for n in as_json(cluster, 0, "node", "capabilities", "all")["nodes"]] == [(True, True)] * 3
    assert [n["pnn"] for n in as_json(cluster, 0, "node", "links", "1")["links"]] == [0, 2]


@pytest.mark.parametrize("words, status, what", [
    (["node", "ping", "9"], NOT_FOUND, "there is no node 9"),
    (["node", "ping", "0,x"], USAGE, '"x" is no node'),
    (["node", "ping", ","], USAGE, "names no node"),
    (["node", "stop"], USAGE, "which node?"),
    (["node", "stop", "all"], USAGE, '"all" is no node'),
    (["node", "stop", "1", "-n", "1"], USAGE, "name the node once"),
    (["node", "stop", "7"], NOT_FOUND, "there is no node 7"),
    (["node", "ban", "5"], USAGE, "which node"),
    (["node", "ban", "1", "0"], USAGE, "no time for a ban"),
    (["node", "ban", "1", "2592001"], USAGE, "no time for a ban"),
    (["node", "ping", "--force"], USAGE, "--force cannot be used"),
    (["leader", "transfer", "9"], NOT_FOUND, "there is no node 9"),
    (["cluster", "wait"], USAGE, "--for"),
    (["cluster", "wait", "--for", "nothing"], USAGE, "--for"),
    (["cluster", "status", "--for", "leader"], USAGE, "--for cannot be used"),
])
def test_wrong_use_is_refused(cluster, words, status, what):
    bad(cluster, 0, status, what, *words)
    assert what in as_json(cluster, 0, *words, status=status)["error"]["message"].replace('\\"', '"')


# ---- orders ----

def test_stopped_node_is_inactive_when_the_command_ends_and_serves_when_it_is_continued(cluster):
    """Lesson H-082: neither is said before it is so, everywhere."""
    good(cluster, 2, "db", "attach", "stopped.tdb")
    for round_ in range(3):
        assert "is stopped" in good(cluster, 0, "node", "stop", "2")
        there = as_json(cluster, 0, "node", "status", "2")["nodes"][0]
        assert (there["active"], there["generation"], there["flags"]) == (False, None, ["STOPPED", "INACTIVE"]), round_
        assert run(cluster, 2, "record", "get", "stopped.tdb", "key", "-t", "1").returncode != OK
        good(cluster, 0, "record", "set", "stopped.tdb", "key", str(round_))
        wait_until(lambda: run(cluster, 0, "cluster", "health").returncode == DEGRADED, what="the others to be recovered")
        assert as_json(cluster, 2, "cluster", "health", status=BAD)["state"] == "INACTIVE"
        doc = as_json(cluster, 0, "node", "continue", "2")
        assert (doc["changed"], doc["active"], doc["flags"]) == (True, True, [])
        assert good(cluster, 2, "record", "get", "stopped.tdb", "key").strip() == str(round_)
        # A second recovery may follow at once, when the wish of the node that is back comes after the first had begun.
        wait_until(lambda: as_json(cluster, 2, "cluster", "status")["ready"], what="node 2 to serve")


def test_what_is_so_already_is_no_error(cluster):
    assert "is not stopped" in good(cluster, 0, "node", "continue", "1")
    good(cluster, 0, "node", "stop", "1")
    doc = as_json(cluster, 2, "node", "stop", "-n", "1")
    assert (doc["changed"], doc["message"]) == (False, "node 1 is stopped already")
    good(cluster, 1, "node", "continue", "local")


def test_status_says_since_when_and_what_to_do(cluster):
    good(cluster, 0, "node", "disable", "1")
    status = as_json(cluster, 0, "cluster", "status")
    assert "2 of 3 nodes are well; node 1 is disabled, since" in status["verdict"] and "ctdb node enable 1" in status["next"]
    assert status["nodes"][1]["since_s"] >= 0 and status["ready"]
    good(cluster, 2, "node", "enable", "1")
    wait_until(lambda: as_json(cluster, 0, "cluster", "status")["state"] == "OK", what="node 0 to hear of it")


def test_ban(cluster):
    good(cluster, 0, "node", "ban", "1", "1000")
    status = as_json(cluster, 0, "cluster", "status")
    assert 0 < status["nodes"][1]["ban_s"] <= 1000 and "left of its ban" in status["nodes"][1]["why"]
    good(cluster, 0, "node", "ban", "1", "50")  # counts anew
    assert 0 < as_json(cluster, 0, "node", "status", "1")["nodes"][0]["ban_s"] <= 50
    bad(cluster, 0, ERROR, "more than half", "node", "ban", "2", "50")
    assert as_json(cluster, 0, "node", "status", "2")["nodes"][0]["flags"] == []
    assert "STOPPED|INACTIVE" in good(cluster, 0, "node", "stop", "1") + good(cluster, 0, "node", "unban", "1")
    good(cluster, 0, "node", "continue", "1")
    good(cluster, 0, "node", "ban", "2", "12")  # the command looks whether it is banned
    wait_until(lambda: as_json(cluster, 0, "node", "status", "2")["nodes"][0]["active"], what="the end of the ban")


def test_last_active_node(cluster):
    good(cluster, 0, "node", "stop", "0")
    good(cluster, 0, "node", "stop", "1")
    assert "--force" in bad(cluster, 0, ERROR, "node 2 is the last active one", "node", "stop", "2")
    wait_until(lambda: as_json(cluster, 2, "cluster", "status")["ready"], what="node 2 to serve")  # node 0, without a view, did not wait for it
    good(cluster, 0, "node", "stop", "2", "--force")
    assert as_json(cluster, 2, "cluster", "health", status=BAD)["state"] == "INACTIVE"
    for pnn in range(3):
        done = run(cluster, 0, "node", "continue", str(pnn))
        assert done.returncode == OK, done.stderr


def test_node_that_is_off(cluster):
    cluster.node(2).power_off()
    try:
        # out of the view first, the link is given up a moment later
        def noticed():
            status = as_json(cluster, 0, "cluster", "status")
            return status if status["state"] == "DEGRADED" and "node 2 is disconnected: no link to it" in status["verdict"] else None

        node = wait_until(noticed, what="node 0 to notice")["nodes"][2]
        assert not node["reachable"] and node["since_s"] >= 0
        for verb in ("stop", "continue", "enable"):
            bad(cluster, 0, ERROR, "node 2 is disconnected", "node", verb, "2")
        nodes = as_json(cluster, 0, "node", "ping", "all", status=ERROR)["nodes"]
        assert [n["error"] for n in nodes] == [None, None, "it is disconnected"]
        wait_until(lambda: run(cluster, 0, "cluster", "health").returncode == DEGRADED, what="node 0 to be degraded and nothing worse")
        argv, options = at_off(cluster, 2, "cluster", "health")
        done = subprocess.run(argv, timeout=6 * PATIENCE, check=False, capture_output=True, **options)
        assert (done.returncode, done.stderr) == (UNKNOWN, "") and done.stdout.startswith("UNKNOWN: ")
    finally:
        cluster.node(2).power_on()


# ---- the leader ----

def test_leader_moves(cluster):
    """Asked anywhere; nobody stops acting."""
    for pnn in (1, 2, 0):
        former = agreed_leader(cluster)
        doc = as_json(cluster, 2, "leader", "transfer", str(pnn))
        assert doc["leader"] == pnn and doc["former"] == (None if former == pnn else former)
        assert leader(cluster, 2) == pnn
    assert agreed_leader(cluster) == 0
    assert as_json(cluster, 1, "leader", "transfer", "0") == {"schema": 1, "message": "node 0 leads already", "leader": 0, "former": None}
    doc = as_json(cluster, 0, "leader", "resign")
    assert doc["former"] == 0 and doc["leader"] != 0
    assert agreed_leader(cluster) == doc["leader"]


def test_leader_is_not_given_to_one_that_may_not_lead(cluster):
    good(cluster, 0, "leader", "transfer", "0")
    assert agreed_leader(cluster) == 0
    good(cluster, 0, "setleaderrole", "-n", "1", "off")
    good(cluster, 0, "node", "stop", "2")
    try:
        for pnn in (0, 2):
            wait_until(lambda at=pnn: as_json(cluster, at, "cluster", "view")["members"][1]["capabilities"] == ["lmaster"], what=f"node {pnn} to hear of it")
        bad(cluster, 2, ERROR, "node 1 may not lead", "leader", "transfer", "1")
        bad(cluster, 2, ERROR, "node 2 may not lead", "leader", "transfer", "2")
        bad(cluster, 2, ERROR, "no other node may lead", "leader", "resign")
        assert leader(cluster) == 0
    finally:
        good(cluster, 0, "setleaderrole", "-n", "1", "on")
        good(cluster, 0, "node", "continue", "2")


# ---- waiting, events ----

def popen(cluster, pnn, *words):
    return cluster.node(pnn).popen(["ctdb", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_wait_for_each_state(cluster):
    for state in ("started", "member", "leader", "recovered", "serving"):
        assert as_json(cluster, 1, "cluster", "wait", "--for", state)["reached"] == state


def test_wait_begins_before_the_daemon(cluster):
    cluster.node(1).shutdown()
    argv, options = at_off(cluster, 1, "cluster", "wait", "--for", "started", "--timeout", "0.5")
    done = subprocess.run(argv, timeout=6 * PATIENCE, check=False, capture_output=True, **options)
    assert (done.returncode, done.stdout) == (TIMEOUT, "") and "start ctdbd" in done.stderr
    waiting = []
    try:
        for state in ("started", "member", "serving"):
            argv, options = at_off(cluster, 1, "cluster", "wait", "--for", state, "-t", "60")
            waiting.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        cluster.node(1).power_on()
        for process in waiting:
            out, err = process.communicate(timeout=4 * PATIENCE)
            assert (process.returncode, err) == (OK, ""), err
            assert out
        assert as_json(cluster, 1, "cluster", "status")["ready"]
    finally:
        for process in waiting:
            process.kill()
            process.wait()


def test_wait_says_what_is_missing(cluster):
    good(cluster, 0, "node", "stop", "1")
    def told():
        """If the last question before the end was not answered in time, it says that."""
        done = run(cluster, 1, "cluster", "wait", "--for", "serving", "--timeout", "3")
        assert done.returncode == TIMEOUT
        return "this node (1) is stopped" in done.stderr and "ctdb node continue 1" in done.stderr
    wait_until(told, what="what is missing")
    assert as_json(cluster, 1, "cluster", "wait", "--for", "member")["reached"] == "member"
    waiting = popen(cluster, 1, "cluster", "wait", "--for", "serving", "-t", "60")
    good(cluster, 0, "node", "continue", "1")
    assert waiting.communicate(timeout=4 * PATIENCE) == ("this node serves\n", "") and waiting.returncode == OK


class Events:
    """ctdb cluster events, line by line, as it prints."""

    def __init__(self, cluster, pnn, path, *words):
        self.path = path
        with open(path, "w", encoding="utf-8") as out:
            self.process = cluster.node(pnn).popen(["ctdb", "-o", "json", "cluster", "events", *words], stdin=subprocess.DEVNULL, stdout=out,
                                                   stderr=subprocess.STDOUT)

    def seen(self):
        with open(self.path, encoding="utf-8") as f:
            return [json.loads(line) for line in f.read().split("\n")[:-1]]

    def wait(self, *kinds):
        wait_until(lambda: all(any(e["event"] == kind for e in self.seen()) for kind in kinds), 2 * PATIENCE, what=lambda: f"{kinds}: {self.seen()}")
        return self.seen()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.process.kill()
        self.process.wait()


def test_events_of_the_cluster(cluster, tmp_path):
    good(cluster, 0, "leader", "transfer", "0")
    assert agreed_leader(cluster) == 0
    with Events(cluster, 1, tmp_path / "events") as events:
        # The stream begins when it was asked for the first time: something is changed until it is there.
        def change():
            good(cluster, 0, "node", "disable", "2")
            good(cluster, 0, "node", "enable", "2")
            return events.seen()

        wait_until(change)
        good(cluster, 0, "node", "stop", "1")
        good(cluster, 0, "node", "continue", "1")
        good(cluster, 0, "leader", "transfer", "2")
        cluster.node(0).power_off()
        events.wait("flags", "inactive", "active", "leader", "node-out")
        cluster.node(0).power_on()
        seen = events.wait("node-in")
    assert [e["node"] for e in seen if e["event"] == "leader"] == [2]
    assert {e["node"] for e in seen if e["event"] == "node-out"} == {0}
    assert ["STOPPED", "INACTIVE"] in [e["flags"] for e in seen if e["event"] == "flags" and e["node"] == 1]
    seqs = [e["seq"] for e in seen]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_events_survive_restarts_of_daemons(cluster, tmp_path):
    with Events(cluster, 1, tmp_path / "events") as events:
        def change():
            good(cluster, 0, "node", "disable", "2")
            good(cluster, 0, "node", "enable", "2")
            return events.seen()

        wait_until(change)
        cluster.fault(1, "kill:clusterd")
        events.wait("restarted")  # "away" and "back" are told only if it asked meanwhile
        n = len([e for e in events.seen() if e["event"] == "away"])
        cluster.fault(1, "kill:dbd")
        wait_until(lambda: len([e for e in events.seen() if e["event"] == "away"]) > n)
        wait_until(lambda: events.seen()[-1]["event"] != "away")
        n = len(events.seen())
        good(cluster, 0, "node", "disable", "2")
        good(cluster, 0, "node", "enable", "2")
        wait_until(lambda: [e["flags"] for e in events.seen()[n:] if e["event"] == "flags" and e["node"] == 2][-2:] == [["DISABLED"], []],
                   what=lambda: f"both changes in {events.seen()}")


def test_number_and_time_of_events(cluster):
    def quiet():
        """Events of the test before may still come."""
        done = run(cluster, 0, "cluster", "events", "-t", "0.3")
        return (done.returncode, done.stdout) == (TIMEOUT, "") and "no event" in done.stderr
    wait_until(quiet, what="a moment without an event")
    process = popen(cluster, 0, "cluster", "events", "--count", "2")
    try:
        def ended():
            good(cluster, 0, "node", "disable", "2")
            good(cluster, 0, "node", "enable", "2")
            return process.poll() is not None

        wait_until(ended)
        out, err = process.communicate()
        assert (process.returncode, err, len(out.splitlines())) == (OK, "", 2)
    finally:
        process.kill()
        process.wait()


# ---- callbacks ----

def test_callback_that_failed(cluster):
    directory = cluster.node(1).file("callbacks", "cluster", "node-flags-changed.d")
    os.makedirs(directory)
    path = os.path.join(directory, "10.fail")
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\necho no such luck\nexit 3\n")
    os.chmod(path, 0o755)
    good(cluster, 0, "node", "disable", "2")
    failed = wait_until(lambda: as_json(cluster, 1, "cluster", "status")["failed_callbacks"])
    assert [(c["event"], c["script"]) for c in failed] == [("node-flags-changed", "10.fail")] and "no such luck" in failed[0]["text"]
    assert "no such luck" in good(cluster, 1, "cluster", "status")
    os.unlink(path)
    good(cluster, 0, "node", "enable", "2")
    wait_until(lambda: as_json(cluster, 1, "cluster", "status")["failed_callbacks"] == [])


# ---- forms that scripts know ----

def test_old_forms_of_orders(cluster):
    for verb, back, flag, code in (("stop", "continue", "stopped", 32), ("disable", "enable", "disabled", 4)):
        done = run(cluster, 0, verb, "-n", "1")
        assert (done.returncode, done.stdout, done.stderr) == (OK, "", "")
        done = run(cluster, 0, verb, "-n", "1")
        assert (done.returncode, done.stdout, done.stderr) == (OK, "", f"Node 1 is already {flag}\n")
        assert run(cluster, 0, "nodestatus", "1").returncode == code
        assert run(cluster, 0, "nodestatus").returncode == OK
        assert run(cluster, 1, back).returncode == OK
        assert run(cluster, 1, back).stderr == f"Node 1 is not {flag}\n"
    assert run(cluster, 0, "ban", "0").returncode == 22
    good(cluster, 1, "ban", "100")
    wait_until(lambda: run(cluster, 0, "nodestatus", "1").returncode == 8, what="node 0 to hear of it")
    done = run(cluster, 0, "nodestatus", "all")
    address = cluster.node(1).run(["ctdb", "listnodes"], **CAPTURE).stdout.splitlines()[1]
    assert done.returncode == 8 and f"pnn:1 {address:16} BANNED|INACTIVE\n" in done.stdout and done.stdout.startswith("Number of nodes:3\n")
    good(cluster, 0, "unban", "-n", "1")


def test_old_forms_of_questions(cluster):
    addresses = [n["address"] for n in as_json(cluster, 0, "node", "list")["nodes"]]
    assert good(cluster, 0, "listnodes").split() == addresses
    assert good(cluster, 0, "listnodes", "-X") == "".join(f"|{pnn}|{a}|\n" for pnn, a in enumerate(addresses))
    assert re.match(r"response from 2 time=\d+\.\d+ sec", good(cluster, 0, "ping", "-n", "2"))
    assert good(cluster, 0, "getcapabilities") == "LEADER: YES\nLMASTER: YES\n"
    good(cluster, 0, "setlmasterrole", "off", "-n", "1")
    wait_until(lambda: good(cluster, 0, "getcapabilities", "-X", "-n", "1") == "|LEADER|LMASTER|\n|1|0|\n")
    good(cluster, 0, "setlmasterrole", "on", "-n", "1")
    assert int(good(cluster, 0, "getpid")) in {p.pid for p in cluster.node(0).find_program("ctdb-dbd")}
    done = run(cluster, 0, "setleaderrole", "perhaps")
    assert done.returncode == ERROR and "neither on nor off" in done.stderr


def test_leader_resigns_with_a_lock(cluster_factory):
    """It answers when another one has the lock; what is told of the lock goes along."""
    cluster = cluster_factory(3, arbitration="lock", extra_config=CALM)
    for _ in range(3):
        doc = as_json(cluster, 0, "leader", "resign")
        assert doc["former"] != doc["leader"] == agreed_leader(cluster)
        for pnn, detail in ((doc["former"], None), (doc["leader"], "held by this node")):
            expected = {"method": "lock", "state": "held", "detail": detail}
            wait_until(lambda pnn=pnn, expected=expected: as_json(cluster, pnn, "cluster", "status").get("arbitration") == expected,
                       what=lambda pnn=pnn: f"the lock as node {pnn} tells it: {as_json(cluster, pnn, 'cluster', 'status').get('arbitration')}")
