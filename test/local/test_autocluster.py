"""autocluster itself, with stand-ins for the daemons: what it makes, and that nothing is left of it."""

import json
import os
import signal
import subprocess
import sys

import pytest
from autocluster.process import Process, all_pids, in_pid_namespace, program_names, start_time, with_environment
from support import CAPTURE, TOP, output, wait_until

AUTOCLUSTER = os.path.join(TOP, "autocluster", "autocluster")
# Sanitizers have nothing to find here.
pytestmark = pytest.mark.slow
MODES = ["--loopback", pytest.param("--netns", marks=pytest.mark.skipif(os.getuid() != 0, reason="needs root"))]

CTDBD = """#!/bin/sh
base=${CTDB_BASE:-/run/ctdb}
echo "$$" >"$base/run.pid" 2>/dev/null
[ ! -e "@DIR@/broken" ] || { echo "config is wrong" >&2; exit 1; }
"@DIR@/ctdb-dbd" 3600 &
exec sleep 3600
"""
CTDB = """#!/bin/sh
base=${CTDB_BASE:-/run/ctdb}
if [ -e "@DIR@/ready" ] && [ -e "$base/run.pid" ]; then echo '{"ready": true, "generation": 7, "nodes": [{"pnn": 0, "flags": []}, {"pnn": 1, "flags": []}, {"pnn": 2, "flags": []}]}'; else echo '{"ready": false, "verdict": "STARTING"}'; fi
"""


class Fake:
    """autocluster with a directory of its own and stand-ins as programs."""

    def __init__(self, base):
        self.base = base
        self.bindir = os.path.join(base, "bin")
        self.env = {**os.environ, "AUTOCLUSTER_DIR": os.path.join(base, "s")}
        os.mkdir(self.bindir)
        for name in ("ctdb-transportd", "ctdb-clusterd", "ctdb-dbkeep", "ctdb-db-worker"):
            self.script(name, "#!/bin/sh\n")
        os.symlink("/bin/sleep", os.path.join(self.bindir, "ctdb-dbd"))
        self.script("ctdbd", CTDBD)
        self.script("ctdb", CTDB)
        self.ready(True)

    def script(self, name, text):
        path = os.path.join(self.bindir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("@DIR@", self.bindir))
        os.chmod(path, 0o755)

    def ready(self, value):
        path = os.path.join(self.bindir, "ready")
        if value:
            open(path, "w", encoding="utf-8").close()
        elif os.path.exists(path):
            os.unlink(path)

    def command(self, verb, *args):
        return [AUTOCLUSTER, verb, *args] + (["--bindir", self.bindir] if verb == "up" else [])

    def run(self, verb, *args):
        return subprocess.run(self.command(verb, *args), env=self.env, timeout=120, check=False, **CAPTURE)

    def popen(self, verb, *args):
        return subprocess.Popen(self.command(verb, *args), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def path(self, *parts):
        return os.path.join(self.base, "s", *parts)

    def processes(self):
        """Everything that was started below this directory."""
        return [p for p in with_environment("AUTOCLUSTER_DIR", self.path()) if p.pid != os.getpid()]

    def nothing_left(self):
        """A command that was killed may have started something short (ip, a keeper that nobody has recorded), which ends by itself."""
        wait_until(lambda: not [p for p in self.processes() if p.alive()], what=lambda: f"the end of {[program_names(p.pid) for p in self.processes()]}")
        assert not os.path.isdir(self.path()) or os.listdir(self.path()) == []
        with open("/proc/mounts", encoding="utf-8") as f:
            assert self.base not in f.read()


@pytest.fixture
def fake(base):
    made = Fake(base)
    yield made
    if os.path.isdir(made.path()):
        for name in os.listdir(made.path()):
            if not name.startswith("."):
                made.run("down", name)


@pytest.mark.parametrize("mode", MODES)
def test_up_and_down(fake, mode):
    output(fake.run("up", "one", "--nodes", "2", mode))
    assert output(fake.run("list")).startswith("one: 2 nodes, 2 on")
    assert "serves" in output(fake.run("status", "one"))
    output(fake.run("down", "one"))
    fake.nothing_left()
    output(fake.run("down", "one"))


@pytest.mark.parametrize("mode", MODES)
def test_two_clusters_do_not_meet(fake, mode):
    output(fake.run("up", "one", "--nodes", "2", mode))
    output(fake.run("up", "two", "--nodes", "2", mode))
    nodes = [open(fake.path(name, "node0", *(["etc"] if mode == "--netns" else []), "nodes"), encoding="utf-8").read() for name in ("one", "two")]
    assert mode == "--netns" or nodes[0] != nodes[1]
    output(fake.run("down", "one"))
    assert "serves" in output(fake.run("status", "two"))
    output(fake.run("down", "two"))
    fake.nothing_left()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_up_leaves_nothing(fake, mode, number):
    fake.ready(False)
    up = fake.popen("up", "one", mode)
    wait_until(lambda: os.path.exists(fake.path("one", "node1", "machine.json")), what="the second node")
    up.send_signal(number)
    assert up.wait(timeout=60) != 0
    up.stdout.close()
    fake.nothing_left()


@pytest.mark.parametrize("mode", MODES)
def test_down_ends_an_up_that_was_killed_at_any_time(fake, mode):
    fake.ready(False)
    for step in ("cluster.json", "node0/machine.json", "node2/machine.json"):
        up = fake.popen("up", "one", mode)
        wait_until(lambda step=step: os.path.exists(fake.path("one", *step.split("/"))), what=step)
        up.kill()
        up.wait()
        up.stdout.close()
        output(fake.run("down", "one"))
        fake.nothing_left()


def test_down_stops_an_up_that_is_at_work(fake):
    fake.ready(False)
    up = fake.popen("up", "one", "--loopback")
    wait_until(lambda: os.path.exists(fake.path("one", "node0", "machine.json")), what="the first node")
    output(fake.run("down", "one"))
    assert up.wait(timeout=60) != 0
    up.stdout.close()
    fake.nothing_left()


def test_daemon_that_does_not_start_is_explained(fake):
    open(os.path.join(fake.bindir, "broken"), "w", encoding="utf-8").close()
    fake.ready(False)
    done = fake.run("up", "one", "--loopback", "--timeout", "100000")
    assert done.returncode == 1
    assert "node 0 does not start" in done.stderr and "config is wrong" in done.stderr
    fake.nothing_left()


def test_cluster_that_never_serves_is_explained(fake):
    fake.ready(False)
    done = fake.run("up", "one", "--loopback", "--timeout", "2")
    assert done.returncode == 1
    assert "node 0 does not serve after 2 s: STARTING" in done.stderr
    fake.nothing_left()


@pytest.mark.parametrize("mode", MODES)
def test_exec_passes_on(fake, mode):
    output(fake.run("up", "one", "--nodes", "2", mode))
    done = fake.run("exec", "one", "1", "--", "sh", "-c", "echo out; echo err >&2; hostname; exit 7")
    assert done.returncode == 7 and done.stdout.startswith("out\n") and done.stderr == "err\n"
    assert mode == "--loopback" or "node1" in done.stdout
    assert json.loads(output(fake.run("exec", "one", "0", "ctdb")))["ready"]
    assert fake.run("exec", "one", "0", "--", "no-such-command").returncode != 0
    assert fake.run("client", "one", "--", "sh", "-c", "exit 3").returncode == 3


def node_pids(fake, mode, name):
    if mode == "--netns":
        first = int(open(fake.path("one", "pids", name), encoding="utf-8").read().split()[0])
        return {p.pid for p in in_pid_namespace(first)}
    return {p.pid for p in with_environment("AUTOCLUSTER_MACHINE", fake.path("one", name))}


@pytest.mark.parametrize("mode", MODES)
def test_faults_of_a_daemon(fake, mode):
    output(fake.run("up", "one", "--nodes", "1", mode))

    def dbd():
        return [pid for pid in node_pids(fake, mode, "node0") if "ctdb-dbd" in program_names(pid)]

    def state(pid):
        return open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[0]

    pid = wait_until(dbd)[0]
    output(fake.run("fault", "one", "0", "stop:ctdb-dbd"))
    wait_until(lambda: state(pid) == "T")
    output(fake.run("fault", "one", "0", "cont:dbd"))
    wait_until(lambda: state(pid) == "S")
    output(fake.run("fault", "one", "0", "kill:dbd"))
    wait_until(lambda: start_time(pid) is None)
    done = fake.run("fault", "one", "0", "kill:nobody")
    assert done.returncode == 1 and "does not run nobody" in done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_power_cut_and_power_on(fake, mode):
    output(fake.run("up", "one", "--nodes", "2", mode))
    log = fake.path("one", "node1", "log", "kept")
    open(log, "w", encoding="utf-8").close()
    run = "/run/ctdb/gone" if mode == "--netns" else fake.path("one", "node1", "run", "gone")
    output(fake.run("exec", "one", "1", "--", "touch", run))
    before = node_pids(fake, mode, "node1")
    processes = [Process(pid) for pid in before]
    output(fake.run("fault", "one", "1", "power-off"))
    for pid in before:
        if mode == "--netns":
            wait_until(lambda pid=pid: start_time(pid) is None, what="the end of a process")
        else:  # the signal is sent; a process stops when it is its turn
            wait_until(lambda pid=pid: open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[0] == "T", what="a process to stop")
    assert fake.run("exec", "one", "1", "--", "true").returncode == 1
    assert fake.run("fault", "one", "1", "power-off").returncode == 1
    assert "1 on" in output(fake.run("list"))
    output(fake.run("fault", "one", "1", "power-on"))
    assert not any(process.alive() for process in processes)
    assert os.path.exists(log)
    assert fake.run("exec", "one", "1", "--", "test", "-e", run).returncode == 1
    assert fake.run("fault", "one", "1", "power-on").returncode == 1
    output(fake.run("fault", "one", "0", "power-off"))
    output(fake.run("down", "one"))
    fake.nothing_left()


def test_keeper_starts_a_dead_ctdbd_again(fake):
    output(fake.run("up", "one", "--nodes", "1", "--loopback"))

    def ctdbd():
        """The stand-in becomes a sleep, when it has started its dbd."""
        return {pid for pid in node_pids(fake, "--loopback", "node0") if "sleep" in program_names(pid) and "ctdb-dbd" not in program_names(pid)}

    first = wait_until(ctdbd, what="ctdbd")
    output(fake.run("fault", "one", "0", "kill:sleep"))
    wait_until(lambda: ctdbd() - first, what="a new process")


@pytest.mark.parametrize("words, problem", [
    (["up", "a/b"], "can not be a cluster's name"),
    (["up", "one", "--nodes", "1000"], "1 to 64 nodes"),
    (["up", "one", "--loopback", "--samba"], "does not work with --loopback"),
    (["up", "one", "--loopback", "--debian-ctdb", "/nowhere"], "unpack Debian's package there"),
    (["status", "none"], "there is no cluster none"),
    (["fault", "none", "0", "power-off"], "there is no cluster none"),
])
def test_bad_requests_say_what_is_wrong(fake, words, problem):
    done = fake.run(*words)
    assert done.returncode == 1
    assert problem in done.stderr
    fake.nothing_left()


def test_bad_faults_say_what_is_wrong(fake):
    output(fake.run("up", "one", "--nodes", "2", "--loopback"))
    for words, problem in ((["fault", "one", "2", "power-off"], "nodes 0 to 1"), (["fault", "one", "0", "explode"], "is no fault"),
                           (["partition", "one", "0/1"], "needs network namespaces"), (["partition", "one", "x"], "names no groups"),
                           (["exec", "one", "0"], "give the command")):
        done = fake.run(*words)
        assert done.returncode == 1 and problem in done.stderr, (words, done.stderr)


def test_programs_are_missing(fake):
    os.unlink(os.path.join(fake.bindir, "ctdb-clusterd"))
    done = fake.run("up", "one", "--loopback")
    assert done.returncode == 1 and "ctdb-clusterd is missing" in done.stderr
    fake.nothing_left()


def test_reused_pid_is_not_taken_for_the_old_process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    try:
        real = Process(child.pid)
        wrong = Process(child.pid, real.start + 1)
        assert not wrong.alive() and not wrong.signal(signal.SIGKILL)
        assert real.alive() and child.pid in all_pids()
        assert real.kill()
        assert not real.alive()
    finally:
        child.kill()
        child.wait()
