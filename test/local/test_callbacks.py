"""Programs of the administrator that run when the cluster changed: which, when, with what; those that fail, hang or must not run."""

import itertools
import json
import os
import re

import pytest
from support import CAPTURE, PATIENCE, wait_until

EVENTS = ("active-changed", "leader-changed", "node-flags-changed")
NOTE = """#!/bin/sh
echo "$CTDB_EVENT $* | $CTDB_PNN $CTDB_SELF_ACTIVE $CTDB_SELF_LEADER $CTDB_VIEW $CTDB_SOCKET ${0##*/}" >> "$CTDB_BASE/noted"
"""


def _program(directory, name, text, mode=0o755):
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def _directory(node, event):
    return node.file("callbacks", "cluster", event + ".d")


def _noted(node, event):
    """What the program has noted of an event: lists of its arguments."""
    try:
        with open(node.file("noted"), encoding="utf-8") as f:
            return [line.split(" | ")[0].split()[1:] for line in f if line.startswith(event + " ")]
    except FileNotFoundError:
        return []


def _noted_by(node):
    """The programs that have noted something."""
    with open(node.file("noted"), encoding="utf-8") as f:
        return {line.split()[-1] for line in f}


def _since(node, event, index, value):
    """What has been noted since the cluster was whole: runs of the start may come after the program is there."""
    return list(itertools.dropwhile(lambda words: words[index] != value, _noted(node, event)))


def _news(runs):
    """What was new in each. A machine that stood still may have cost the node its lease for a moment: that is told, too, and is not meant here."""
    return [words[0] for words in runs if words[0] != "none"]


def _log(node):
    with open(node.file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
        return f.read()


def _order(node, verb, pnn):
    """Ends when it is really so."""
    done = node.run(["ctdb", "node", verb, str(pnn)], check=False, timeout=2 * PATIENCE, **CAPTURE)
    assert done.returncode == 0, done


def _chain(noted):
    """NEW of a run is OLD of the next."""
    return all(after[-1] == before[-2] for before, after in zip(noted, noted[1:]))


@pytest.fixture(scope="module")
def cluster(module_factory):
    cluster = module_factory(nodes=3, mode="loopback", extra_config="[cluster]\n\tcallback timeout = 4s\n\tdead interval = 6s\n")
    for node in cluster.nodes:
        for event in EVENTS:
            _program(_directory(node, event), "10.note", NOTE)
    return cluster


def test_lost_leader(cluster):
    """The others hear of the new leader, and of who is active, once; the lost one of itself when it is back."""
    # Who began first leads.
    done = cluster.node(1).run(["ctdb", "leader", "transfer", "0"], check=False, timeout=2 * PATIENCE, **CAPTURE)
    assert done.returncode == 0, done
    for node in cluster.nodes:
        wait_until(lambda n=node: n.run(["ctdb", "leader"], check=False, timeout=2 * PATIENCE, **CAPTURE).stdout == "0\n", what="node 0 to lead")
    cluster.node(0).power_off()
    for node in cluster.nodes[1:]:
        wait_until(lambda n=node: _news(_since(n, "active-changed", 1, "0,1,2")) == ["1,2"], what="the survivors' list")
        wait_until(lambda n=node: _news(_since(n, "leader-changed", 1, "0")) in (["1"], ["2"]), what="the new leader")
        wait_until(lambda n=node: _since(n, "node-flags-changed", 2, "ok") == [["0", "disconnected", "ok"]], what="the lost node")
    cluster.node(0).power_on()
    for node in cluster.nodes:
        wait_until(lambda n=node: _news(_noted(n, "active-changed")[-1:]) == ["0,1,2"], what="all active")
        assert _chain(_noted(node, "active-changed")) and _chain(_noted(node, "leader-changed"))
    leader = _noted(cluster.node(1), "leader-changed")[-1][0]
    wait_until(lambda: [words[0] for words in _noted(cluster.node(0), "leader-changed")[-1:]] == [leader], what="the leader on the node that is back")
    for node in cluster.nodes[1:]:
        wait_until(lambda n=node: _noted(n, "node-flags-changed")[-1:] == [["0", "ok", "disconnected"]], what="the node that is back")
    cluster.wait_ready()


def test_environment(cluster):
    leader = _noted(cluster.node(1), "leader-changed")[-1][0] == "1"
    with open(cluster.node(1).file("noted"), encoding="utf-8") as f:
        facts = f.read().splitlines()[-1].split(" | ")[1].split()
    assert facts[:3] == ["1", "yes", "yes" if leader else "no"] and re.fullmatch(r"\d+\.\d+", facts[3]) and os.path.exists(facts[4])


def _quiet(cluster):
    """Changes of the last node have been told: no other is on its way, since those of others are told first."""
    for verb, flags, former in (("disable", "disabled", "ok"), ("enable", "ok", "disabled")):
        _order(cluster.node(0), verb, 2)
        for node in cluster.nodes:
            wait_until(lambda n=node: _noted(n, "node-flags-changed")[-1:] == [["2", flags, former]], what="the change of flags")


def test_flags(cluster):
    _quiet(cluster)
    for verb, flags, former in (("disable", "disabled", "ok"), ("enable", "ok", "disabled")):
        before = [len(_noted(node, "node-flags-changed")) for node in cluster.nodes]
        _order(cluster.node(0), verb, 1)
        for node in cluster.nodes:
            wait_until(lambda n=node: _noted(n, "node-flags-changed")[before[n.pnn]:] == [["1", flags, former]], what="the change of flags")


def _restart_clusterd(node):
    """All callbacks run again: as after a start, nothing had been told before."""
    before = len(_noted(node, "active-changed"))
    wait_until(lambda: node.find_program("ctdb-clusterd"), what="clusterd")[0].kill()
    wait_until(lambda: len(_noted(node, "active-changed")) > before, what="callbacks after a restart of clusterd")


def _running(command):
    """Pids of the processes with this command line, its words ended by NUL."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
                found += [int(pid)] if f.read() == command else []
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def test_programs_that_fail(cluster):
    """Each is named in the log with what happened, and keeps none from running."""
    node, directory = cluster.node(2), _directory(cluster.node(2), "active-changed")
    paths = [
        _program(directory, "05.fails", "#!/bin/sh\necho first\necho 'no such disk' >&2\nexit 3\n"),
        _program(directory, "06.hangs", f"#!/bin/sh\necho waiting\nsleep 1000.{os.getpid()} &\nwait\n"),
        _program(directory, "07.killed", "#!/bin/sh\nkill -9 $$\n"),
        _program(directory, "08.no-interpreter", "#!/does/not/exist\n"),
        _program(directory, "09.open", NOTE, 0o777),
        _program(directory, "90.floods", "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\nexit 1\n"),
        _program(directory, "91.not-executable", NOTE, 0o644),
        _program(directory, "92.old.bak", NOTE),
        _program(directory, "README", NOTE),
        _program(directory, "93.name with space", NOTE),
    ]
    lines = len(_log(node))
    _restart_clusterd(node)
    wait_until(lambda: "90.floods" in _log(node)[lines:], what="the last result")
    cluster.wait_ready()
    text = _log(node)[lines:]
    for expected in ("05.fails: exit status 3: no such disk", "06.hangs: did not end in time and was killed: waiting", "07.killed: killed by signal 9",
                     "08.no-interpreter: cannot be run: ", "09.open: not run: everybody may write it; chmod o-w", "90.floods: exit status 1: xxx",
                     "INFO: callback active-changed: 10.note: ok"):
        assert expected in text, expected
    for left_out in ("91.", "92.", "README", "93."):
        assert f"active-changed: {left_out}" not in text
    assert _noted_by(node) == {"10.note"}
    # What it started is gone with it.
    wait_until(lambda: not _running(f"sleep\0001000.{os.getpid()}\0"), what="the end of what the program had started")
    for path in paths:
        os.unlink(path)


def test_slow_program(cluster):
    """Several changes while it runs are told as one; the cluster does not wait for it."""
    node = cluster.node(1)
    path = _program(_directory(node, "node-flags-changed"), "05.slow", '#!/bin/sh\n: > "$CTDB_BASE/slow"\nwhile [ -e "$CTDB_BASE/hold" ]; do sleep 0.02; done\n')
    with open(node.file("hold"), "w", encoding="ascii"):
        pass
    before = len(_noted(node, "node-flags-changed"))  # test_flags saw to it that nothing is on its way
    for verb in ("disable", "enable", "disable"):
        _order(node, verb, 2)
        wait_until(lambda: os.path.exists(node.file("slow")), what="the slow program")
    os.unlink(node.file("hold"))
    wait_until(lambda: _noted(node, "node-flags-changed")[before:] in (
        [["2", "disabled", "ok"]], [["2", "disabled", "ok"], ["2", "ok", "disabled"], ["2", "disabled", "ok"]]), what="the runs")
    os.unlink(path)
    _order(node, "enable", 2)
    wait_until(lambda: _noted(node, "node-flags-changed")[-1:] == [["2", "ok", "disabled"]], what="the last run")
    assert _chain(_noted(node, "node-flags-changed")[before:])


def test_program_that_waits_for_the_recovery(cluster_factory):
    """Lesson H-128: it may need the databases, which are there only later. Neither waits for the other."""
    cluster = cluster_factory(2)
    for node in cluster.nodes:
        _program(_directory(node, "active-changed"), "05.wait", "#!/bin/sh\nexec ctdb cluster wait --for serving --timeout 60\n")
        _program(_directory(node, "active-changed"), "10.note", NOTE)
        _restart_clusterd(node)
    runs, begin = [len(_noted(node, "active-changed")) for node in cluster.nodes], [len(_log(node)) for node in cluster.nodes]
    cluster.node(1).power_off()

    def idle():
        done = cluster.node(0).run(["ctdb", "-o", "json", "cluster", "status"], check=False, **CAPTURE)
        return done.returncode == 0 and json.loads(done.stdout).get("active") is False

    wait_until(idle, what="the other one to stop")
    cluster.node(1).power_on()
    cluster.wait_ready()
    for node in cluster.nodes:
        wait_until(lambda n=node: [words[0] for words in _noted(n, "active-changed")[runs[n.pnn]:]][-1:] == ["0,1"], what="the last run")
        wait_until(lambda n=node: "INFO: callback active-changed: 05.wait: ok: this node serves" in _log(n)[begin[n.pnn]:], what="its result")
