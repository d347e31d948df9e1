"""Recoveries look only at what has changed: what they read and send is in the log line of their end."""

import json
import re
import struct
import subprocess

from classic import Client
from support import PATIENCE, output, wait_until

SET_RECMODE, ATTACH_PERSISTENT, TRANS3_COMMIT, ATTACH_REPLICATED, RECMODE_ACTIVE = 16, 61, 119, 150, 1
RECORDS = 60
CAPTURE = {"capture_output": True, "text": True, "timeout": PATIENCE}
WORK = re.compile(r"recovery: (\d+) volatile databases, (\d+) of (\d+) slots claimed, (\d+) files read, (\d+) records seen, (\d+) claims and (\d+) orders sent, (\d+) bytes; (\d+) other files read, (\d+) records of contents sent, (\d+) bytes;")
WORDS = ("databases", "claimed", "slots", "files", "seen", "claims", "orders", "bytes", "contents", "content_records", "content_bytes")


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], **CAPTURE)).strip()


def recoveries(cluster, pnn):
    """What each recovery that has ended there cost that node, oldest first."""
    with open(cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8") as f:
        return [dict(zip(WORDS, map(int, m.groups()))) for m in WORK.finditer(f.read())]


def recover(cluster, nodes=(0, 1, 2), act=None):
    """The costs, by node, of the recoveries that act leads to, or one that is asked for."""
    before = {pnn: len(recoveries(cluster, pnn)) for pnn in nodes}
    if act is None:
        with Client(cluster.node(nodes[0]).file("run", "ctdbd.socket")) as client:
            client.good(SET_RECMODE, struct.pack("=I", RECMODE_ACTIVE))
    else:
        act()
    wait_until(lambda: all(len(recoveries(cluster, pnn)) > before[pnn] for pnn in nodes), timeout=2 * PATIENCE, what="a recovery")
    cluster.wait_ready(2 * PATIENCE, list(nodes))
    return [recoveries(cluster, pnn)[before[pnn] :] for pnn in nodes]


def total(costs, word):
    return sum(cost[word] for node in costs for cost in node)


def fill(cluster, name, nodes=3):
    """Records of which each of the first nodes owns its share."""
    ctdb(cluster, 0, "db", "attach", name)
    for i in range(RECORDS):
        ctdb(cluster, i % nodes, "record", "set", name, f"key{i}", f"value{i}")


def check(cluster, name, pnn):
    for i in range(0, RECORDS, 7):
        assert ctdb(cluster, pnn, "record", "get", name, f"key{i}") == f"value{i}"


def test_nothing_changed(cluster):
    fill(cluster, "same.tdb")
    recover(cluster)
    costs = recover(cluster)
    for word in ("claimed", "files", "seen", "claims", "orders"):
        assert total(costs, word) == 0, costs
    assert total(costs, "slots") > 0
    check(cluster, "same.tdb", 0)
    check(cluster, "same.tdb", 2)


def test_killed_dbd_counts_its_file(cluster):
    fill(cluster, "killed.tdb")
    recover(cluster)
    costs = recover(cluster, act=lambda: cluster.fault(1, "kill:ctdb-dbd"))
    # What is not in slots of node 1 is known to the others.
    assert total(costs, "claimed") < total(costs, "slots"), costs
    check(cluster, "killed.tdb", 1)
    costs = recover(cluster)
    assert total(costs, "claimed") == total(costs, "files") == 0, costs


def test_dead_node_and_a_join(cluster):
    fill(cluster, "dead.tdb", 2)
    recover(cluster)
    for i in range(0, RECORDS, 2):  # what the victim owns has copies elsewhere
        ctdb(cluster, 2, "record", "set", "dead.tdb", f"key{i}", f"value{i}")
    costs = recover(cluster, (0, 1), act=lambda: cluster.fault(2, "power-off"))
    assert 0 < total(costs, "claimed") < total(costs, "slots"), costs
    check(cluster, "dead.tdb", 0)
    check(cluster, "dead.tdb", 1)
    costs = recover(cluster, (0, 1))
    assert total(costs, "claimed") == total(costs, "files") == 0, costs
    costs = recover(cluster, act=lambda: cluster.fault(2, "power-on"))
    assert 0 < total(costs, "claimed") < total(costs, "slots"), costs
    check(cluster, "dead.tdb", 2)
    costs = recover(cluster)
    assert total(costs, "claimed") == total(costs, "files") == 0, costs


def test_file_that_a_tool_changed(cluster, tmp_path):
    fill(cluster, "tool.tdb")
    recover(cluster)
    file = str(tmp_path / "tool.backup")
    ctdb(cluster, 0, "db", "backup", "tool.tdb", file)
    costs = recover(cluster, act=lambda: ctdb(cluster, 0, "db", "restore", file, "tool.tdb"))
    assert total(costs, "claimed") > 0 and total(costs, "files") > 0 and total(costs, "seen") >= RECORDS, costs
    check(cluster, "tool.tdb", 1)
    costs = recover(cluster)
    assert total(costs, "claimed") == total(costs, "files") == 0, costs


def ask(cluster, pnn, *words):
    return json.loads(ctdb(cluster, pnn, "-o", "json", "db", "recover", *words))


def test_asked_for(cluster):
    """What each node says of its part; a full one looks at everything."""
    fill(cluster, "asked.tdb")
    ask(cluster, 0)
    before = [json.loads(ctdb(cluster, pnn, "-o", "json", "db", "status", "asked.tdb"))["recovery"] for pnn in range(3)]
    done = ask(cluster, 0)
    assert not done["full"] and [n["node"] for n in done["nodes"]] == [0, 1, 2] and not sum(n["claimed"] + n["files"] + n["claims"] for n in done["nodes"]), done
    done = ask(cluster, 1, "--full")
    assert done["full"] and all(n["claimed"] == n["slots"] > 0 and n["files"] == n["databases"] > 0 and n["bytes"] > 0 for n in done["nodes"]), done
    assert sum(n["records"] for n in done["nodes"]) >= RECORDS
    check(cluster, "asked.tdb", 2)
    for pnn in range(3):
        now = json.loads(ctdb(cluster, pnn, "-o", "json", "db", "status", "asked.tdb"))["recovery"]
        assert now["count"] >= before[pnn]["count"] + 2 and now["full_count"] > before[pnn]["full_count"] and not now["wanted"]
        assert now["full"] and now["total"]["files"] >= before[pnn]["total"]["files"] + 1 and now["last"]["claimed"] == now["last"]["slots"]
    text = ctdb(cluster, 0, "db", "recover", "-n", "2")
    assert re.match(r"Generation: \d+\nFull: no\nMilliseconds: \d+\nNODE ", text) and len(text.splitlines()) == 7, text
    assert "Last recovery: " in ctdb(cluster, 0, "db", "status", "asked.tdb")
    assert ctdb(cluster, 0, "recover") == ""


def test_wish_outlives_who_was_told(cluster):
    """The leader's dbd ends before it has begun what was wanted: the next recovery is not full by itself, but one follows that is."""
    fill(cluster, "wish.tdb")
    leader = int(ctdb(cluster, 0, "leader"))
    other = (leader + 1) % 3
    log = cluster.node(other).file("log", "log.ctdb")
    before = open(log, encoding="utf-8").read().count("a tool asked for a full recovery")
    cluster.fault(leader, "stop:ctdb-dbd")
    asking = cluster.node(other).popen(["ctdb", "-o", "json", "db", "recover", "--full"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: open(log, encoding="utf-8").read().count("a tool asked for a full recovery") > before, PATIENCE, "the wish")
        cluster.fault(leader, "kill:ctdb-dbd")
        out, err = asking.communicate(timeout=4 * PATIENCE)
        assert asking.returncode == 0, err
    finally:
        asking.kill()
        asking.wait()
    done = json.loads(out)
    assert done["full"] and all(n["claimed"] == n["slots"] for n in done["nodes"]), done
    check(cluster, "wish.tdb", leader)


def test_contents_that_nobody_wrote_are_not_read(cluster):
    ctdb(cluster, 0, "db", "attach", "once.tdb", "--model", "persistent")
    ctdb(cluster, 0, "record", "set", "once.tdb", "key", "value")
    recover(cluster)
    assert total(recover(cluster), "contents") == 0
    ctdb(cluster, 1, "record", "set", "once.tdb", "key", "other")
    assert total(recover(cluster), "contents") == 3
    assert total(recover(cluster), "contents") == 0
    recover(cluster, (0, 1), act=lambda: cluster.fault(2, "power-off"))
    ctdb(cluster, 1, "record", "set", "once.tdb", "key", "without 2")
    recover(cluster, act=lambda: cluster.fault(2, "power-on"))
    assert ctdb(cluster, 2, "record", "get", "once.tdb", "key") == "without 2"


def commit(cluster, opcode, name, records):
    """A transaction with these records, at node 0. A recovery (status 2) may end it before or after it is done."""
    with Client(cluster.node(0).file("run", "ctdbd.socket"), 2 * PATIENCE) as client:
        db = client.attach(name, opcode)
        number = client.seqnum(db) + 1
        buffer = client.commit_buffer(db, records, number, 0, number)

        def done():
            status, _, error = client.control(TRANS3_COMMIT, buffer)
            assert status in (0, 2) or "a recovery is running" in error, (status, error)
            return status == 0 or client.seqnum(db) == number

        wait_until(done, what="a commit")


def failures(cluster, name):
    """How often a recovery of the contents of that database did not succeed."""
    count = 0
    for node in cluster.nodes:
        with open(node.file("log", "log.ctdb"), encoding="utf-8") as f:
            count += len(re.findall(rf"recovery of database {re.escape(name)} failed|database {re.escape(name)}: (?:with )?what ", f.read()))
    return count


def contents_travel_in_parts(cluster, opcode, name, records, away, back):
    """Node 2 is away while a few records of many change, or are deleted; then all copies are equal, and little was sent."""
    commit(cluster, opcode, name, [(b"key %d" % i, b"value %d, " % i + b"x" * (i % 150)) for i in range(records)])
    commit(cluster, opcode, name, [(b"key 1", b"changed")])
    recover(cluster)
    recover(cluster, (0, 1), act=away)
    commit(cluster, opcode, name, [(b"key %d" % i, b"new value %d" % i) for i in range(100, 104)] + [(b"new key", b"new")])
    commit(cluster, opcode, name, [(b"key 200", b""), (b"key 201", b"")])
    before = failures(cluster, name)
    costs = recover(cluster, act=back)
    assert failures(cluster, name) == before, costs
    assert ctdb(cluster, 2, "record", "get", name, "key 101") == "new value 101"
    assert ctdb(cluster, 2, "record", "get", name, "new key") == "new"
    assert "OK: 0 of 1 databases wrong" in ctdb(cluster, 2, "db", "check", name)
    assert 0 < total(costs, "content_bytes") < 5 / 100 * 130 * records, costs  # about 135 bytes a record; each attempt may be abandoned when all is done
    assert 8 <= total(costs, "content_records") < 5 / 100 * records, costs
    told = [json.loads(ctdb(cluster, pnn, "-o", "json", "db", "status", name))["recovery"]["total"] for pnn in range(3)]
    for word in ("content_records", "content_bytes"):
        assert sum(t[word] for t in told) >= total(costs, word), (told, costs)


def test_persistent_contents_travel_in_parts(cluster):
    contents_travel_in_parts(cluster, ATTACH_PERSISTENT, "parts.tdb", 20000, lambda: cluster.fault(2, "power-off"), lambda: cluster.fault(2, "power-on"))


def test_replicated_contents_travel_in_parts(cluster):
    """A node that was stopped still has its file."""
    contents_travel_in_parts(cluster, ATTACH_REPLICATED, "repl.tdb", 20000, lambda: ctdb(cluster, 2, "node", "stop", "local"), lambda: ctdb(cluster, 2, "node", "continue", "local"))
