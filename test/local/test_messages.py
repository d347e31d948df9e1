"""Messages between the nodes of a cluster on loopback addresses: groups, counters, daemons that go away and come back, streams."""

import errno
import json
import os
import signal

import pytest
from messenger import Messenger, find_messenger
from support import CAPTURE, PATIENCE, output, wait_until

MIB = 1 << 20
ENDLESS = 1 << 50  # bytes of a stream that is broken off


@pytest.fixture(scope="module")
def program(request):
    return find_messenger(request.config)


def messenger_on(node, program, name="test.1"):
    return Messenger(node.popen, program, os.path.join(node.paths.run, "msg"), name, node.pnn)


@pytest.fixture
def messenger(cluster, program):
    made = []

    def make(pnn, name="test.1"):
        made.append(messenger_on(cluster.node(pnn), program, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def tool(cluster, pnn, *words):
    return cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)


def stats(cluster, pnn, *words):
    return json.loads(output(tool(cluster, pnn, "-o", "json", "message", "stats", *map(str, words))))


def active(cluster, pnn):
    """Nodes without flags, as a node sees them."""
    told = json.loads(output(tool(cluster, pnn, "-o", "json", "cluster", "status")))
    return {node["pnn"] for node in told["nodes"] if not node["flags"]}


def reach(sender, nodes, group):
    """Notifies the group until one notification came to all the nodes; its words on each.

    A node whose lease ended for a moment, on a machine with much to do, is not in the group "active"."""
    for number in range(20):
        sender.say("notify", f"test.1@{group}", group, number)
        assert sender.expect("sent") == ["0"]
        came = []
        for node in nodes:
            words = node.heard("notification", PATIENCE / 10)
            while words is not None and words[-1] != str(number):
                words = node.heard("notification", PATIENCE / 10)
            came.append(words)
        if None not in came:
            return [words[:-1] for words in came]
    pytest.fail(f"no notification reached all of the group {group}")


@pytest.mark.valgrind
def test_groups(cluster, messenger):
    sender = messenger(0, "cli.1")
    nodes = [messenger(pnn) for pnn in range(3)]
    for group in ("all", "connected", "active"):
        words = reach(sender, nodes, group)
        # On its own node transport hands it on: whose process it was is not known there, nor on others.
        assert words == [["cli.1@0", "-1", "0", group]] * 3
    # to one node; there it is known
    sender.say("notify", "test.1@self", "hi")
    assert sender.expect("sent") == ["0"]
    assert nodes[0].expect("notification") == ["cli.1@0", str(os.geteuid()), str(sender.pid), "hi"]
    assert sender.ask("test.1@all", "x") == (errno.EINVAL, "")
    # where there is no such endpoint it is dropped, and counted
    nodes[1].close()

    def counted_there_only():
        before = [stats(cluster, pnn, "transport")["no_endpoint"] for pnn in range(3)]
        sender.say("notify", "test.1@all", "again")
        assert sender.expect("sent") == ["0"]
        for node in (nodes[0], nodes[2]):
            assert node.expect("notification") == ["cli.1@0", "-1", "0", "again"]
        wait_until(lambda: stats(cluster, 1, "transport")["no_endpoint"] > before[1], what="node 1 to count it")
        return [stats(cluster, pnn, "transport")["no_endpoint"] for pnn in (0, 2)] == [before[0], before[2]]
    wait_until(counted_there_only, what="a time in which nobody else sends to an endpoint that is gone")


def test_group_follows_the_cluster(cluster_factory, program):
    """A node that is gone is in no group but all; without the daemon of membership nobody is known to be active."""
    cluster = cluster_factory(3)
    nodes = []
    try:
        nodes = [messenger_on(cluster.node(pnn), program, "test.1") for pnn in range(3)]
        sender = messenger_on(cluster.node(0), program, "cli.1")
        reach(sender, nodes, "active")
        nodes.append(sender)
        nodes[2].close()
        cluster.node(2).power_off()
        wait_until(lambda: active(cluster, 0) == {0, 1}, what="node 2 to be left out")
        for group in ("connected", "active"):
            reach(sender, nodes[:2], group)

        def lost_copy():
            unreachable = stats(cluster, 0, "transport")["unreachable"]
            reach(sender, nodes[:2], "all")
            return stats(cluster, 0, "transport")["unreachable"] > unreachable
        wait_until(lost_copy, what="the lost copy to be counted")  # the link is given up a moment after the node is out of the view
        pids = cluster.node(0).find_program("ctdb-clusterd")
        assert len(pids) == 1
        os.kill(pids[0].pid, signal.SIGSTOP)  # not killed: it would be started again
        try:
            def nobody():
                empty = stats(cluster, 0, "cli.1")["group_empty"]
                sender.say("notify", "test.1@active", "nobody")
                sender.expect("sent")
                return stats(cluster, 0, "cli.1")["group_empty"] > empty
            wait_until(nobody, what="the group to be empty")
        finally:
            os.kill(pids[0].pid, signal.SIGCONT)
        # Those that came while the lease lasted are still to be read.
        reach(sender, nodes[:2], "active")
    finally:
        for node in nodes:
            node.close()


def test_missing_endpoint(cluster, messenger):
    one = messenger(0)
    assert one.ask("nobody@0", "x") == (errno.ENOENT, "")
    assert one.ask("nobody@1", "x") == (errno.ENOENT, "")
    assert one.ask("db@77", "x") == (errno.EHOSTUNREACH, "")
    assert one.ask("db@1", "x") == (errno.ENOSYS, "")  # it is there and does not know this interface
    messenger(1)
    assert one.ask("test.1@1", "are you there") == (0, "are you there")


def test_restarted_process(cluster, messenger):
    asker, far = messenger(0, "cli.1"), messenger(1, "cli.1")
    for turn in range(3):
        server = messenger(0)
        assert asker.ask("test.1@self", f"turn {turn}") == (0, f"turn {turn}")
        assert far.ask("test.1@0", f"far {turn}") == (0, f"far {turn}")
        server.expect("request")
        server.expect("request")
        asker.say("ask", "test.1@self", 600000, "hold")
        server.expect("request")
        far.say("ask", "test.1@0", 3000, "hold")
        server.expect("request")
        server.kill()
        assert asker.expect("answer")[0] == str(errno.ECONNRESET)  # told at once
        assert far.expect("answer")[0] == str(errno.ETIMEDOUT)     # from another node: the time-out
        assert asker.ask("test.1@self", "x") == (errno.ENOENT, "")
        assert far.ask("test.1@0", "x") == (errno.ENOENT, "")


@pytest.mark.parametrize("daemon, endpoint", [("ctdb-clusterd", "cluster"), ("ctdb-transportd", "transport")])
def test_restarted_daemon(cluster, messenger, daemon, endpoint):
    """Killed and started again by ctdbd: who sent to it before reaches the new one."""
    one = messenger(0)

    def answers(node):
        return one.ask(f"{endpoint}@{node}", "x")[0] == errno.ENOSYS

    wait_until(lambda: answers(0) and answers(1), what=f"{endpoint} to answer")
    old = {p.pid for p in cluster.node(0).find_program(daemon)}
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: {p.pid for p in cluster.node(0).find_program(daemon)} - old, what=f"{daemon} to be started again")
    wait_until(lambda: answers(0) and answers(1), what=f"{endpoint} to answer again")
    cluster.wait_ready(2 * PATIENCE)


def test_stream(cluster, messenger):
    """64 MiB between two nodes, and within one."""
    writer, near, far = messenger(0, "cli.1"), messenger(0), messenger(1)
    for to, reader in (("test.1@1", far), ("test.1@self", near)):
        writer.say("write", to, "bytes", 64 * MIB, 60000)
        assert reader.expect("stream") == ["cli.1@0"]
        reader.expect("first")
        status, digest = writer.expect("written")
        assert status == "0"
        assert reader.expect("end") == ["0", str(64 * MIB), digest]
    writer.say("write", "test.1@1", "nothing", MIB, 60000)
    assert writer.expect("written")[0] == str(errno.ENOSYS)
    writer.say("write", "nobody@1", "bytes", MIB, 60000)
    assert writer.expect("written")[0] == str(errno.ENOENT)


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) * 1024


def test_stream_is_bounded(cluster, messenger):
    """A reader that does not consume: only the window is under way, and the daemons' memory stays."""
    writer, reader = messenger(0, "cli.1"), messenger(1)
    daemons = [p.pid for pnn in (0, 1) for p in cluster.node(pnn).find_program("ctdb-transportd")]
    before = [memory(pid) for pid in (*daemons, writer.pid, reader.pid)]
    reader.say("hold")
    writer.say("write", "test.1@1", "bytes", 256 * MIB, 4000)
    reader.expect("stream")
    reader.expect("first")
    status, _ = writer.expect("written")
    assert status == str(errno.ETIMEDOUT)
    after = [memory(pid) for pid in (*daemons, writer.pid, reader.pid)]
    assert all(b - a < 24 * MIB for a, b in zip(before, after)), (before, after)
    ended = reader.expect("end")
    assert ended[0] == str(errno.ETIMEDOUT) and MIB < int(ended[1]) <= 4 * MIB


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("who", ["writer", "reader"])
def test_stream_peer_ends(cluster, messenger, who, number):
    writer, reader = messenger(0, "cli.1"), messenger(1)
    reader.say("hold")
    writer.say("write", "test.1@1", "bytes", 64 * MIB, 3000)
    reader.expect("stream")
    reader.expect("first")
    victim, other = (writer, reader) if who == "writer" else (reader, writer)
    victim.process.send_signal(number)
    if other is reader:
        assert reader.expect("end")[0] == str(errno.ETIMEDOUT)
    else:
        want = {str(errno.ETIMEDOUT), str(errno.ECONNRESET)} if number == signal.SIGKILL else {str(errno.ETIMEDOUT)}
        assert writer.expect("written")[0] in want


def test_stream_link_breaks(cluster, messenger):
    """The transport of a node is killed in the middle: both sides end, and the next stream works."""
    writer, reader = messenger(0, "cli.1"), messenger(1)
    victims = cluster.node(1).find_program("ctdb-transportd")
    writer.say("write", "test.1@1", "bytes", ENDLESS, 5000)
    reader.expect("stream")
    reader.expect("first")
    for p in victims:
        os.kill(p.pid, signal.SIGKILL)
    assert int(writer.expect("written")[0]) in (errno.EHOSTUNREACH, errno.ECONNRESET, errno.ETIMEDOUT)
    assert int(reader.expect("end")[0]) in (errno.EHOSTUNREACH, errno.ECONNRESET, errno.ETIMEDOUT)
    cluster.wait_ready(2 * PATIENCE)
    writer.say("write", "test.1@1", "bytes", MIB, 60000)
    reader.expect("stream")
    reader.expect("first")
    assert writer.expect("written")[0] == "0"
    assert reader.expect("end")[0] == "0"


def test_stats_command(cluster, messenger):
    messenger(1, "test.9")
    dead = messenger(1, "test.8")
    dead.kill()
    rows = {row["endpoint"]: row for row in stats(cluster, 0, "-n", 1)["endpoints"]}
    assert {"super", "transport", "cluster", "dbkeep", "db", "test.8", "test.9"} <= set(rows)
    assert rows["test.8"]["error"] == "its process is gone"
    assert rows["db"]["sent"] > 0 and rows["db"]["received"] > 0 and rows["db"]["pid"] > 1
    def at_rest():
        one = stats(cluster, 0, "transport", "--node", 1)
        return one if one["queues"] == [] else None
    one = wait_until(at_rest, what="transport without queues")
    assert (one["endpoint"], one["node"]) == ("transport", 1)
    assert one["pid"] == rows["transport"]["pid"] and one["received"] > rows["transport"]["received"]
    assert stats(cluster, 1, "db")["pid"] in {p.pid for p in cluster.node(1).find_program("ctdb-dbd")}
    text = output(tool(cluster, 0, "message", "stats"))
    assert text.splitlines()[0].split()[:3] == ["ENDPOINT", "PID", "SENT"] and "transport" in text
    assert "Packets sent" in output(tool(cluster, 0, "-o", "table", "message", "stats", "db"))
    for words, code, said in (
            (["message", "stats", "nobody"], 3, 'no endpoint "nobody"'),
            (["message", "stats", "db@1"], 2, '"db@1" is not the name of an endpoint'),
            (["message", "stats", "a", "b"], 2, "too many arguments"),
            (["message", "stats", "-n", "9"], None, "")):
        done = tool(cluster, 0, *words)
        assert done.returncode == code if code else done.returncode != 0, done
        assert said in done.stderr and done.stdout == ""
