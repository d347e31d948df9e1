"""The daemon template: command line, readiness, configuration, signals, stop."""

import os
import resource
import signal
import subprocess

import pytest

from support import PATIENCE, wait_until


class Daemon:
    def __init__(self, base, bindir):
        self.base = base
        self.program = os.path.join(os.path.realpath(os.path.dirname(bindir)), "src", "shared", "test_daemon_prog")
        self.env = {**os.environ, "CTDB_BASE": base}
        self.process = None
        os.makedirs(self.path("run", "msg"))
        self.write("nodes", "192.0.2.7\n127.0.0.1\n")
        self.write("ctdb.conf", "")

    def path(self, *parts):
        return os.path.join(self.base, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)

    def read(self, name):
        try:
            with open(self.path(name), encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def out(self):
        return self.read("out").splitlines()

    def launch(self, *args, behaviour="", **options):
        with open(self.path("out"), "ab") as out, open(self.path("err"), "ab") as err:
            self.process = subprocess.Popen([self.program, *args], env={**self.env, "TEST_DAEMON": behaviour}, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err, **options)

    def start(self, *args, **options):
        self.launch(*args, **options)
        wait_until(lambda: "NOTICE: ready" in self.read("log.ctdb") or self.process.poll() is not None, what=lambda: self.read("err"))
        assert self.process.poll() is None, self.read("err")

    def wait(self):
        return self.process.wait(timeout=PATIENCE)

    def stop(self):
        self.process.terminate()
        return self.wait()

    def run(self, *args, behaviour=""):
        done = subprocess.run([self.program, *args], env={**self.env, "TEST_DAEMON": behaviour}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def daemon(base, bindir):
    d = Daemon(base, bindir)
    yield d
    if d.process and d.process.poll() is None:
        d.process.kill()
        d.process.wait()


def test_start_and_stop(daemon):
    daemon.start()
    assert daemon.out() == ["setup test-daemon pnn 1 of 2 incarnation 1 msg 1 loud 0"]
    assert os.path.exists(daemon.path("run", "msg", "test"))
    assert daemon.stop() == 0
    assert daemon.out()[1:] == ["stop"]
    assert "node 1 test-daemon" in daemon.read("log.ctdb")
    assert daemon.read("err") == ""


def test_switch(daemon):
    daemon.start("-l")
    assert daemon.out()[0].endswith("loud 1")
    assert daemon.stop() == 0


def test_help_and_version(daemon):
    status, out, err = daemon.run("--help")
    assert (status, err) == (0, "")
    assert "Usage: test-daemon" in out and "-l, --loud" in out and "--ready-fd" in out
    status, out, err = daemon.run("--version")
    assert (status, err) == (0, "")
    assert out.startswith("test-daemon ")


@pytest.mark.parametrize("how, text", [("setup-fails", "no room for a pony: get a stable"), ("setup-fails-silently", "No space left on device")])
def test_setup_fails(daemon, how, text):
    ready_read, ready_write = os.pipe()
    daemon.launch("--ready-fd", str(ready_write), behaviour=how, pass_fds=(ready_write,))
    os.close(ready_write)
    assert os.read(ready_read, 1) == b""
    os.close(ready_read)
    assert daemon.wait() == 1
    assert daemon.read("err") == f"test-daemon: {text}\n"
    assert f"ERROR: {text}\n" in daemon.read("log.ctdb")


def test_readiness(daemon):
    ready_read, ready_write = os.pipe()
    daemon.launch("--ready-fd", str(ready_write), pass_fds=(ready_write,))
    os.close(ready_write)
    assert os.read(ready_read, 10) == b"R"
    assert os.read(ready_read, 10) == b""
    os.close(ready_read)
    assert daemon.stop() == 0


@pytest.mark.parametrize("many, soft", [(True, 512), (False, 128)])
def test_limit_of_descriptors(daemon, many, soft):
    daemon.start(behaviour="many-files" if many else "", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 512)))
    assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (soft, 512)
    assert ("at most 512 files can be open" in daemon.read("log.ctdb")) == many
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("behaviour, status", [("", 0), ("bad-end", 5), ("no-stop", 0), ("never-stops", 1), ("hangs", 1)])
def test_signals_stop(daemon, number, behaviour, status):
    daemon.start(behaviour=behaviour)
    daemon.process.send_signal(number)
    assert daemon.wait() == status
    assert ("not stopped in time" in daemon.read("err")) == (status == 1)


def test_supervisor_gone(daemon):
    control_read, control_write = os.pipe()
    daemon.start("--control-fd", str(control_read), pass_fds=(control_read,))
    os.close(control_read)
    os.close(control_write)
    assert daemon.wait() == 0
    assert "stopping: the supervisor is gone" in daemon.read("log.ctdb")
    assert daemon.out()[1:] == ["stop"]


def test_supervisor_gone_before_the_start(daemon):
    control_read, control_write = os.pipe()
    os.close(control_write)
    daemon.launch("--control-fd", str(control_read), pass_fds=(control_read,))
    os.close(control_read)
    assert daemon.wait() == 0


def test_reload(daemon):
    daemon.start()
    daemon.write("ctdb.conf", "[logging]\nlog level = INFO\n[database]\nslots = 5\n")
    daemon.write("nodes", "192.0.2.7\n127.0.0.1\n192.0.2.9\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload level 3 slots 1024 nodes 3" in daemon.out(), what=lambda: f"the reload, not {daemon.out()}")
    assert "used only after a restart: [database] slots" in daemon.read("log.ctdb")
    # what cannot be used changes nothing
    daemon.write("ctdb.conf", "[logging]\nlog level = LOUD\n")
    daemon.write("nodes", "127.0.0.1\n192.0.2.7\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.out().count("reload level 3 slots 1024 nodes 3") == 2, what=lambda: f"the reload, not {daemon.out()}")
    log = daemon.read("log.ctdb")
    assert f"the configuration stays as it was: {daemon.path('ctdb.conf')}:2:" in log
    assert f"the nodes stay as they were: in {daemon.path('nodes')} this node is now number 0, it runs as 1" in log
    daemon.write("nodes", "nonsense\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: f"the nodes stay as they were: {daemon.path('nodes')}:1:" in daemon.read("log.ctdb"), what="the error")
    assert daemon.stop() == 0


def test_level_of_the_command_line_stays(daemon):
    daemon.start("--log-level", "DEBUG")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.out()) == 2, what="the reload")
    daemon.write("ctdb.conf", "[logging]\nstall warning = 50\nlog level = ERROR\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.out()) == 3, what="the reload")
    assert daemon.stop() == 0
    assert "NOTICE: stopped" in daemon.read("log.ctdb")


def test_endpoint_in_use(daemon):
    daemon.start()
    status, out, err = daemon.run()
    assert (status, out) == (1, "")
    assert err == f"test-daemon: {daemon.path('run', 'msg', 'test')}: another process has this endpoint; stop it first\n"
    assert daemon.process.poll() is None
    assert daemon.stop() == 0


def test_endpoint_of_a_dead_one(daemon):
    daemon.start()
    daemon.process.kill()
    daemon.wait()
    os.unlink(daemon.path("log.ctdb"))
    daemon.start()
    assert daemon.stop() == 0


def test_check(daemon):
    assert daemon.run("--check") == (0, "", "")
    daemon.write("ctdb.conf", "[cluster]\nx = 1\n")
    assert daemon.run("--check") == (1, "", f'test-daemon: {daemon.path("ctdb.conf")}:2: unknown option "x" in [cluster]\n')


def test_closed_standard_descriptors(daemon):
    """A daemon started with 0, 1, 2 closed does not write messages into what it opens later."""
    command = f"exec {daemon.program} --config {daemon.path('ctdb.conf')} 0<&- 1>&- 2>&-"
    with subprocess.Popen(["sh", "-c", command], env=daemon.env) as daemon.process:
        wait_until(lambda: "NOTICE: ready" in daemon.read("log.ctdb"), what="readiness")
        links = [os.readlink(f"/proc/{daemon.process.pid}/fd/{fd}") for fd in (0, 1, 2)]
        assert links == ["/dev/null"] * 3
        assert daemon.stop() == 0


def test_relative_base(daemon):
    daemon.env["CTDB_BASE"] = "here"
    assert daemon.run() == (1, "", 'test-daemon: the environment variable CTDB_BASE is "here": give an absolute path\n')
