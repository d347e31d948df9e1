"""The first process of a machine (pid 1 of its PID namespace, or the top process of a loopback node): starts the machine's programs,
starts again what ends, reaps. When it is killed, the kernel ends everything in the PID namespace: a power cut.

Run as: keeper.py SPEC GO_FD READY_FD. SPEC is a JSON file: namespaces (bool), hostname, staging, mounts, log, programs: [{name, argv, env, log,
wait_for (path), restart ("always", "failure")}]. Its pid is written to READY_FD, then waits for a line on GO_FD; end of file there means that nobody
has recorded it: it ends."""

import json
import os
import signal
import stat
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from autocluster import kernel, mounts  # noqa: E402

STOP_TIMEOUT = 15
# The pause before a program is started again doubles when it did not even run for RESTART_SETTLED seconds.
RESTART_PAUSE, RESTART_PAUSE_MAX, RESTART_SETTLED = 0.2, 3.2, 5.0


def log(text):
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
    print(f"{stamp} keeper: {text}", flush=True)


class Program:
    """One program that is to run."""

    def __init__(self, spec):
        self.name, self.spec = spec["name"], spec
        self.pid = 0
        self.start_at = time.monotonic()
        self.started = 0.0
        self.pause = RESTART_PAUSE

    def due(self, now):
        if self.pid or self.start_at is None or now < self.start_at:
            return False
        wait_for = self.spec.get("wait_for")
        try:
            return not wait_for or stat.S_ISSOCK(os.stat(wait_for).st_mode)
        except FileNotFoundError:
            return False

    def start(self):
        out = os.open(self.spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        argv = self.spec["argv"]
        env = {**os.environ, **self.spec.get("env", {})}
        try:
            self.pid = os.posix_spawn(argv[0], argv, env, setsid=True, setsigmask=(), setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGPIPE),
                                      file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, out, 1),
                                                    (os.POSIX_SPAWN_DUP2, out, 2)])
            log(f"{self.name} started, pid {self.pid}")
        except OSError as e:
            log(f"{self.name} can not be started: {argv[0]}: {e.strerror}")
            self.start_at = None
        finally:
            os.close(out)
        self.started = time.monotonic()

    def ended(self, status):
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        why = f"killed by signal {-code}" if code < 0 else f"exited with status {code}"
        if code == 0 and self.spec.get("restart") != "always":
            self.start_at = None
            log(f"{self.name} {why}")
            return
        now = time.monotonic()
        settled = now - self.started >= RESTART_SETTLED
        self.pause = RESTART_PAUSE if settled else min(2 * self.pause, RESTART_PAUSE_MAX)
        self.start_at = now + self.pause
        log(f"{self.name} {why}, starting it again")


def reap(programs):
    """Collects everything that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for program in programs:
            if program.pid == pid:
                program.ended(status)


def stop(programs):
    """Orderly end: the last started first."""
    for program in reversed(programs):
        program.start_at = None
        if not program.pid:
            continue
        os.kill(program.pid, signal.SIGTERM)
        end = time.monotonic() + STOP_TIMEOUT
        while program.pid and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            reap(programs)
            program.start_at = None
        if program.pid:
            log(f"{program.name} did not stop within {STOP_TIMEOUT} s: killed")
            os.kill(program.pid, signal.SIGKILL)


def run(programs):
    signals = {signal.SIGCHLD, signal.SIGTERM}
    while True:
        for program in programs:
            if program.due(time.monotonic()):
                program.start()
        waiting = any(not p.pid and p.start_at is not None for p in programs)
        info = signal.sigtimedwait(signals, 0.05) if waiting else signal.sigwaitinfo(signals)
        if info and info.si_signo == signal.SIGTERM:
            log("stopping")
            stop(programs)
            return
        reap(programs)


def detach(ready_fd, namespaces):
    """Goes on as an orphan, in new namespaces if wanted: there it is the first process."""
    if namespaces:
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC)
    pid = os.fork()
    if pid:
        os.write(ready_fd, f"{pid}\n".encode())
        os._exit(0)


def main(spec_file, go_fd, ready_fd):
    with open(spec_file, encoding="utf-8") as f:
        spec = json.load(f)
    detach(ready_fd, spec["namespaces"])
    os.close(ready_fd)
    if not spec["namespaces"]:
        kernel.become_subreaper()
    # A pid 1 gets only signals that it handles or waits for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    with os.fdopen(go_fd) as go:
        if not go.readline():
            return
    if spec["namespaces"]:
        kernel.sethostname(spec["hostname"])
        mounts.make_private(spec["staging"], spec["mounts"])
    os.chdir("/")
    log(f"machine {spec['hostname']} is up")
    run([Program(p) for p in spec["programs"]])
    log("stopped")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
