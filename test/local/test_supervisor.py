"""ctdbd with stub daemons: order, restart, giving up, stop, and that nothing is left half-started or behind."""

import contextlib
import os
import random
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

from support import PATIENCE, TOP, wait_until

DAEMONS = ["ctdb-transportd", "ctdb-clusterd", "ctdb-dbkeep", "ctdb-dbd"]
STUB = os.path.join(TOP, "test", "local", "stub_daemon.py")
READY, WAITING, FAILED = "1", "2", "4"


def free_ports(n):
    """Outside of what the kernel gives to connections: nobody takes them before they are used."""
    found = []
    while len(found) < n:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            found += [port] if port not in found else []
    return found


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def alive(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])


class Node:
    """A base directory with stub daemons, and the ctdbd that runs there."""

    def __init__(self, base, bindir):
        self.base, self.bindir = base, bindir
        self.process = None
        self.ports = free_ports(2)
        for name in ("libexec", "stub"):
            os.mkdir(self.path(name))
        for name in DAEMONS:
            os.symlink(STUB, self.path("libexec", name))
        self.write("nodes", "127.0.0.1\n")
        self.configure()
        self.env = {**os.environ, "CTDB_BASE": base, "CTDB_LIBEXEC": self.path("libexec"), "STUB_DIR": self.path("stub")}
        self.env.pop("NOTIFY_SOCKET", None)

    def path(self, *parts):
        return os.path.join(self.base, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)

    def configure(self, supervisor="", logging=""):
        self.write("ctdb.conf", f"[transport]\nport = {self.ports[0]}\ndb port = {self.ports[1]}\nsecurity = none\n"
                   f"[logging]\nlog level = DEBUG\n{logging}\n[supervisor]\n{supervisor}\n")

    def behave(self, daemon, how):
        self.write(f"stub/{daemon}", how)

    def trace(self, what=None):
        """[(daemon, what, pid)] in order; the details of args and fds only when asked for."""
        lines = [line.split("\t") for line in read(self.path("stub", "trace")).splitlines()]
        events = [(name, event, int(pid)) for name, event, pid in lines]
        if what:
            return [e for e in events if e[1].split()[0] == what]
        return [e for e in events if e[1].split()[0] not in ("args", "fds")]

    def names(self, what):
        return [name for name, _, _ in self.trace(what)]

    def pid(self, daemon):
        return [pid for name, _, pid in self.trace("start") if name == daemon][-1]

    def log(self):
        return read(self.path("log.ctdb"))

    def popen(self, *args, **options):
        with open(self.path("stderr"), "ab") as stderr:
            return subprocess.Popen([os.path.join(self.bindir, "ctdbd"), *args], env=self.env, stdin=subprocess.DEVNULL,
                                    stdout=stderr, stderr=stderr, **options)

    def stderr(self):
        return read(self.path("stderr"))

    def start(self, *args):
        """In the foreground; returns when all daemons are ready."""
        self.launch(*args)
        self.wait_up()

    def wait_up(self):
        wait_until(lambda: "ctdbd" in self.log() and re.search(r"NOTICE: ready$", self.log(), re.M) or self.process.poll() is not None,
                   what=lambda: f"the node to be up: {self.stderr()} {self.log()}")
        assert self.process.poll() is None, self.stderr()

    def launch(self, *args):
        self.process = self.popen("-F", *args)

    def wait(self):
        """Exit status of ctdbd."""
        return self.process.wait(timeout=PATIENCE)

    def stop(self):
        self.process.terminate()
        return self.wait()

    def run(self, *args):
        """To its end; (exit status, standard error)."""
        done = subprocess.run([os.path.join(self.bindir, "ctdbd"), *args], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stderr

    def super(self, what):
        client = os.path.join(os.path.realpath(os.path.dirname(self.bindir)), "src", "ctdbd", "test_super_client")
        return subprocess.run([client, self.path("run", "msg"), what], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    def status(self):
        lines = self.super("status").splitlines()
        assert lines[0].startswith("version ")
        return {line.split("\t")[0]: line.split("\t")[1:] for line in lines[1:]}

    def stubs_alive(self):
        return [f"{name} {pid}" for name, _, pid in self.trace("start") if alive(pid)]

    def clean_up(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        pid = read(self.path("run", "ctdbd.pid")).strip()
        if pid and alive(pid) and "ctdbd" in read(f"/proc/{pid}/comm"):
            os.kill(int(pid), signal.SIGKILL)
        for _, _, stub in self.trace("start"):
            if alive(stub) and self.base.encode() in read_environment(stub):
                os.kill(stub, signal.SIGKILL)


def read_environment(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            return f.read()
    except OSError:
        return b""


@pytest.fixture
def node(base, bindir):
    n = Node(base, bindir)
    yield n
    n.clean_up()


def test_start_and_stop_in_order(node):
    node.start()
    events = [(name, what) for name, what, _ in node.trace()]
    assert events == [(name, what) for name in DAEMONS for what in ("start", "ready")]
    assert int(read(node.path("run", "ctdbd.pid"))) == node.process.pid
    assert stat.S_IMODE(os.stat(node.path("run")).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(node.path("run", "msg")).st_mode) == 0o700
    assert node.stop() == 0
    events = [(name, what) for name, what, _ in node.trace()][2 * len(DAEMONS):]
    assert events == [(name, what) for name in reversed(DAEMONS) for what in ("term", "end")]
    assert not os.path.exists(node.path("run", "ctdbd.pid"))
    assert node.stubs_alive() == []
    bad = [line for line in node.log().splitlines() if ("ERROR" in line or "WARNING" in line) and "nothing else was served" not in line]
    assert not bad  # but for a process that got no time


def test_what_daemons_get(node):
    node.start("--log-level", "INFO")
    arguments = {name: text.split()[1:] for name, text, _ in node.trace("args")}
    descriptors = {name: {int(fd) for fd in text.split()[1:]} for name, text, _ in node.trace("fds")}
    for name in DAEMONS:
        given = dict(zip(arguments[name][::2], arguments[name][1::2]))
        assert given["--config"] == node.path("ctdb.conf")
        assert given["--log"] == "file:" + node.path("log.ctdb")
        assert given["--log-level"] == "INFO"
        # besides: the lock, the two ends of the stub's own pipe, and the directory that it lists
        expected = {0, 1, 2, int(given["--ready-fd"]), int(given["--control-fd"])}
        assert expected < descriptors[name]
        assert len(descriptors[name]) == len(expected) + 4
    assert node.stop() == 0


def test_restart(node):
    node.configure("restart short life = 10")
    node.start()
    before = {name: node.pid(name) for name in DAEMONS}
    os.kill(before["ctdb-clusterd"], signal.SIGKILL)
    wait_until(lambda: node.names("ready").count("ctdb-clusterd") == 2, what="the restart")
    wait_until(lambda: node.status()["ctdb-clusterd"][0] == READY, what="readiness")
    assert "ctdb-clusterd killed by signal 9 (Killed): starting it again in 10 ms" in node.log()
    status = node.status()
    assert status["ctdb-clusterd"] == [READY, str(node.pid("ctdb-clusterd")), "1", "killed by signal 9 (Killed)"]
    for name in ("ctdb-transportd", "ctdb-dbkeep", "ctdb-dbd"):
        assert node.pid(name) == before[name]
        assert status[name] == [READY, str(before[name]), "0", ""]
    assert node.stop() == 0


def test_pauses_double_and_end(node):
    node.configure("restart delay = 20\nrestart delay limit = 50\nrestart attempts = 5")
    node.start()
    node.behave("ctdb-dbkeep", "exit 9 no luck today")
    os.kill(node.pid("ctdb-dbkeep"), signal.SIGKILL)
    assert node.wait() == 1
    assert re.findall(r"ctdb-dbkeep (.*): starting it again in (\d+) ms", node.log()) == [
        ("killed by signal 9 (Killed)", "20"), ("exited with status 9", "40"), ("exited with status 9", "50"), ("exited with status 9", "50")]
    reason = "ctdb-dbkeep died 5 times in a row soon after its start (last: exited with status 9: no luck today): given up, the node stops"
    assert reason in node.log() and reason in node.stderr()
    assert node.names("start").count("ctdb-dbkeep") == 5
    assert node.names("end") == ["ctdb-dbd", "ctdb-clusterd", "ctdb-transportd"]
    assert node.stubs_alive() == []


def test_long_life_forgives(node):
    node.configure("restart delay = 10\nrestart attempts = 2\nrestart short life = 50ms")
    node.start()
    node.behave("ctdb-dbd", "die 0.2")
    os.kill(node.pid("ctdb-dbd"), signal.SIGKILL)
    wait_until(lambda: node.names("die").count("ctdb-dbd") >= 4, what="four deaths after a long life")
    assert node.process.poll() is None
    assert node.stop() == 0


def test_death_while_starting(node):
    node.behave("ctdb-dbkeep", "exit 3 the disk is full")
    node.launch()
    assert node.wait() == 1
    reason = "ctdb-dbkeep exited with status 3 while the node was starting: the disk is full"
    assert reason in node.stderr() and reason in node.log()
    assert node.names("start") == ["ctdb-transportd", "ctdb-clusterd", "ctdb-dbkeep"]
    assert node.names("end") == ["ctdb-clusterd", "ctdb-transportd"]
    assert node.stubs_alive() == []
    assert not os.path.exists(node.path("run", "ctdbd.pid"))


def test_death_of_an_earlier_one_while_starting(node):
    node.behave("ctdb-transportd", "die 0.3")
    node.behave("ctdb-dbd", "mute")
    node.launch()
    assert node.wait() == 1
    assert "ctdb-transportd exited with status 7 while the node was starting" in node.stderr()
    assert node.stubs_alive() == []


def test_not_ready_in_time(node):
    node.configure("ready timeout = 3s")
    node.behave("ctdb-clusterd", "mute")
    node.launch()
    assert node.wait() == 1
    assert "ctdb-clusterd is not ready after 3000 ms" in node.stderr()
    assert node.names("start") == ["ctdb-transportd", "ctdb-clusterd"]
    assert node.names("end") == ["ctdb-clusterd", "ctdb-transportd"]
    assert node.stubs_alive() == []


def test_not_ready_in_time_later(node):
    node.configure("ready timeout = 3s\nrestart delay = 10")
    node.start()
    node.behave("ctdb-dbd", "mute")
    os.kill(node.pid("ctdb-dbd"), signal.SIGKILL)
    wait_until(lambda: node.names("start").count("ctdb-dbd") == 2, what="the restart")
    node.behave("ctdb-dbd", "")
    wait_until(lambda: node.names("ready").count("ctdb-dbd") == 2, what="the second restart")
    assert "ctdb-dbd is not ready after 3000 ms: killing it" in node.log()
    assert node.stop() == 0


def test_stubborn_daemon_is_killed(node):
    node.configure("stop timeout = 3s")
    node.behave("ctdb-dbkeep", "stubborn")
    node.start()
    assert node.stop() == 0
    assert "ctdb-dbkeep has not stopped after 3000 ms: killing it" in node.log()
    assert node.names("term") == list(reversed(DAEMONS))
    assert node.names("end") == ["ctdb-dbd", "ctdb-clusterd", "ctdb-transportd"]
    assert node.stubs_alive() == []


def test_stop_while_starting(node):
    node.behave("ctdb-dbkeep", "mute")
    node.launch()
    wait_until(lambda: "ctdb-dbkeep" in node.names("start"), what="the third daemon")
    assert node.stop() == 0
    assert node.names("end") == ["ctdb-dbkeep", "ctdb-clusterd", "ctdb-transportd"]
    assert "ctdb-dbd" not in node.names("start")


def test_stop_while_one_waits_for_its_restart(node):
    node.configure("restart delay = 60s\nrestart delay limit = 60s")
    node.start()
    os.kill(node.pid("ctdb-dbd"), signal.SIGKILL)
    wait_until(lambda: node.status()["ctdb-dbd"][0] == WAITING, what="the pause")
    assert node.stop() == 0
    assert node.names("end") == ["ctdb-dbkeep", "ctdb-clusterd", "ctdb-transportd"]


def test_two_requests_to_stop(node):
    node.behave("ctdb-dbd", "slow-stop 0.5")
    node.start()
    node.process.terminate()
    wait_until(lambda: node.names("term"), what="the stop")
    node.process.send_signal(signal.SIGINT)
    node.process.terminate()
    assert node.wait() == 0
    assert node.names("term") == list(reversed(DAEMONS))


def test_supervisor_killed(node):
    node.write("stays", "")
    node.behave("ctdb-dbkeep", f"stop-without {node.path('stays')}")
    node.start()
    node.process.kill()
    node.wait()
    wait_until(lambda: sorted(node.names("orphaned")) == sorted(DAEMONS), what="the daemons to notice")
    wait_until(lambda: sorted(node.names("end")) == sorted(set(DAEMONS) - {"ctdb-dbkeep"}), what="the others to end")
    # the next one does not start beside the daemons of the former one
    os.rename(node.path("stub", "trace"), node.path("stub", "trace.1"))
    os.rename(node.path("log.ctdb"), node.path("log.1"))
    node.launch()
    wait_until(lambda: "waiting for the daemons of an earlier ctdbd to end" in node.stderr(), what="it to wait")
    os.unlink(node.path("stays"))
    node.wait_up()
    assert node.trace()[0][:2] == ("ctdb-dbkeep", "end")
    assert node.names("ready") == DAEMONS
    assert node.stop() == 0


def test_daemons_of_a_killed_supervisor_that_stay(node):
    node.configure("stop timeout = 100ms")
    node.behave("ctdb-dbkeep", "slow-stop 1000")
    node.start()
    node.process.kill()
    node.wait()
    wait_until(lambda: len(node.names("orphaned")) == len(DAEMONS), what="the daemons to notice")
    status, stderr = node.run("-F")
    assert status == 1
    assert f"daemons of an earlier ctdbd still run and hold {node.path('run', 'ctdbd.lock')}" in stderr


def test_second_start_is_refused(node):
    node.start()
    started = node.trace()
    for args in ((), ("-F",), ("-i",)):
        status, stderr = node.run(*args)
        assert (status, stderr) == (1, f"ctdbd: already running (pid {node.process.pid})\n")
    assert node.trace() == started
    assert int(read(node.path("run", "ctdbd.pid"))) == node.process.pid
    assert node.stop() == 0


def assert_nothing_started(node, expected):
    for args in (("-F",), ()):
        status, stderr = node.run(*args)
        assert status == 1
        assert expected in stderr
    assert node.trace() == []
    assert not os.path.exists(node.path("run", "ctdbd.pid"))


def test_bad_configuration(node):
    node.write("ctdb.conf", "[cluster]\nhartbeat interval = 5\n")
    expected = f'{node.path("ctdb.conf")}:2: unknown option "hartbeat interval" in [cluster]: is "heartbeat interval" meant?'
    assert_nothing_started(node, expected)
    assert not os.path.exists(node.path("run"))
    assert node.run("--check") == (1, f"ctdbd: {expected}\n")


def test_bad_nodes(node):
    os.unlink(node.path("nodes"))
    assert_nothing_started(node, f'{node.path("nodes")}: does not exist: write one address per line')
    node.write("nodes", "192.0.2.1\n")
    assert_nothing_started(node, f'{node.path("nodes")}: none of its addresses is on an interface of this machine')
    assert not os.path.exists(node.path("run"))


def test_check(node):
    assert node.run("--check") == (0, "")
    assert not os.path.exists(node.path("run"))


def test_address_elsewhere(node):
    node.write("nodes", "192.0.2.1\n")
    with open(node.path("ctdb.conf"), "a", encoding="utf-8") as f:
        f.write("[cluster]\nnode address = 192.0.2.1\n")
    assert_nothing_started(node, "the address 192.0.2.1 of this node is on no interface")


@pytest.mark.parametrize("which, option", [(0, "port"), (1, "db port")])
def test_port_in_use(node, which, option):
    with socket.create_server(("127.0.0.1", node.ports[which])):
        assert_nothing_started(node, f"port {node.ports[which]} of 127.0.0.1 is used by another program: stop that, or set {option} in")


def test_missing_program(node):
    os.unlink(node.path("libexec", "ctdb-dbkeep"))
    assert_nothing_started(node, f"cannot run {node.path('libexec', 'ctdb-dbkeep')}: No such file or directory")


def test_missing_log_directory(node):
    node.configure(logging=f"location = file:{node.path('nowhere', 'log')}")
    assert_nothing_started(node, f"there is no directory {node.path('nowhere')}/: create it")


@pytest.mark.parametrize("args, expected", [
    (("--nonsense",), "unrecognized option"), (("extra",), 'unexpected argument "extra"'), (("--ready-fd", "77"), "--ready-fd 77: not an open descriptor"),
    (("--control-fd", "0"), "--control-fd 0: neither a pipe nor a socket"), (("--log-level", "LOUD"), "--log-level LOUD: give ERROR"),
    (("--config", "/does/not/exist"), "/does/not/exist: cannot be read: No such file or directory"),
])
def test_bad_arguments(node, args, expected):
    status, stderr = node.run(*args)
    assert status == 1
    assert expected in stderr
    assert node.trace() == []


def test_background(node):
    status, stderr = node.run()
    assert (status, stderr) == (0, "")
    assert node.names("ready") == DAEMONS
    pid = int(read(node.path("run", "ctdbd.pid")))
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/2") == "/dev/null"
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not alive(pid), what="the end")
    assert node.names("end") == list(reversed(DAEMONS))


def test_background_failure(node):
    node.behave("ctdb-dbd", "exit 1 no database today")
    status, stderr = node.run()
    assert status == 1
    assert "ctdb-dbd exited with status 1 while the node was starting: no database today" in stderr
    assert node.names("end") == ["ctdb-dbkeep", "ctdb-clusterd", "ctdb-transportd"]
    assert node.stubs_alive() == []


def test_background_interrupted(node):
    node.behave("ctdb-dbd", "mute")
    starter = node.popen()
    wait_until(lambda: "ctdb-dbd" in node.names("start"), what="the last daemon")
    starter.terminate()
    assert starter.wait(timeout=PATIENCE) == 1
    assert node.names("end") == list(reversed(DAEMONS))


def test_ready_and_control_descriptors(node):
    ready_read, ready_write = os.pipe()
    control_read, control_write = os.pipe()
    node.process = node.popen("-F", "--ready-fd", str(ready_write), "--control-fd", str(control_read), pass_fds=(ready_write, control_read))
    os.close(ready_write)
    os.close(control_read)
    assert os.read(ready_read, 10) == b"R"
    assert node.names("ready") == DAEMONS
    assert os.read(ready_read, 10) == b""
    os.close(ready_read)
    os.close(control_write)
    assert node.wait() == 0
    assert node.names("end") == list(reversed(DAEMONS))


def test_not_ready_no_byte(node):
    node.behave("ctdb-dbd", "exit 1 no")
    ready_read, ready_write = os.pipe()
    node.process = node.popen("-F", "--ready-fd", str(ready_write), pass_fds=(ready_write,))
    os.close(ready_write)
    assert os.read(ready_read, 10) == b""
    os.close(ready_read)
    assert node.wait() == 1


def test_service_manager_is_told(node):
    path = node.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(PATIENCE)
        node.env["NOTIFY_SOCKET"] = path
        node.env["WATCHDOG_USEC"] = "2000000"
        node.launch()
        told = []
        while not any(text.startswith("READY=1") for text in told):
            told.append(server.recv(1000).decode())
        assert told[-1] == f"READY=1\nMAINPID={node.process.pid}"
        assert node.names("ready") == DAEMONS
        while told.count("WATCHDOG=1") < 3:
            told.append(server.recv(1000).decode())
        node.process.terminate()
        while told[-1] != "STOPPING=1":
            told.append(server.recv(1000).decode())
        assert node.wait() == 0


def test_hangup_reopens_logs_and_is_passed_on(node):
    node.start()
    os.rename(node.path("log.ctdb"), node.path("log.1"))
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sorted(node.names("hup")) == sorted(DAEMONS), what=lambda: f"the signal in all daemons: {node.trace()} {node.log()}")
    wait_until(lambda: "log opened again" in node.log(), what="the new log")
    node.configure("restart attempts = 3", logging="stall warning = 77")
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "used only after a restart: [supervisor] restart attempts" in node.log(), what="the warning")
    node.write("ctdb.conf", "nonsense\n")
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: f"the configuration stays as it was: {node.path('ctdb.conf')}:1: " in node.log(), what="the error")
    assert node.stop() == 0


def test_shutdown_by_message(node):
    node.start()
    assert list(node.status()) == DAEMONS
    node.super("shutdown")
    assert node.wait() == 0
    assert re.search(r"stopping: asked by cli\.\d+ on node 0", node.log())
    assert node.names("end") == list(reversed(DAEMONS))


def test_what_daemons_say_is_logged(node):
    node.behave("ctdb-dbd", "loud out of cheese")
    node.start()
    wait_until(lambda: "ctdb-dbd says: out of cheese" in node.log(), what="the line")
    assert node.stop() == 0


def test_interactive(node):
    node.behave("ctdb-dbd", "loud out of cheese")
    node.process = node.popen("-i")
    wait_until(lambda: re.search(r"ctdbd\[\d+\] NOTICE: ready$", node.stderr(), re.M), what="readiness")
    assert re.search("^out of cheese$", node.stderr(), re.M)
    assert {text.split()[text.split().index("--log") + 1] for _, text, _ in node.trace("args")} == {"stderr"}
    assert not os.path.exists(node.path("log.ctdb"))
    node.process.send_signal(signal.SIGINT)
    assert node.wait() == 0
    assert node.names("end") == list(reversed(DAEMONS))


def test_notices_are_logged_once(node):
    node.write("nodes", "127.0.0.1\n# the end\n")
    with open(node.path("ctdb.conf"), "a", encoding="utf-8") as f:
        f.write("[legacy]\nrealtime scheduling = false\n")
    node.start()
    assert node.log().count('"realtime scheduling" in [legacy] has no effect') == 1
    assert node.log().count("this comment counts as a deleted node") == 1
    assert node.stop() == 0
