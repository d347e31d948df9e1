"""A machine: a keeper process with what it keeps. Nodes, the switch and the client are machines."""

import json
import os
import signal
import subprocess
import time

from .errors import ClusterError
from .process import Process, in_pid_namespace, kill_all, parent, program_names, with_environment

PYTHON = "/usr/bin/python3"
KEEPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
# In the environment of all processes of a loopback node: its directory.
TOKEN = "AUTOCLUSTER_MACHINE"
GONE_SECONDS = 30


class Machine:
    """One machine of a cluster. spec: what keeper.py takes."""

    def __init__(self, state, name, namespaces):
        self.state, self.name, self.namespaces = state, name, namespaces
        self.directory = state.file(name)
        self._go = None

    @property
    def process(self):
        return self.state.machine(self.name)

    def require(self):
        process = self.process
        if not process:
            raise ClusterError(f"{self.name} of cluster {self.state.name} is off")
        return process

    def prepare(self, spec, keep=()):
        """Starts the keeper, recorded before it does anything; release() lets it go on. keep: descriptors that it holds open."""
        os.makedirs(os.path.join(self.directory, "log"), exist_ok=True)
        spec_file = os.path.join(self.directory, "machine.json")
        with open(spec_file, "w", encoding="utf-8") as f:
            json.dump(spec, f, indent=1)
        go_read, go_write = os.pipe()
        ready_read, ready_write = os.pipe()
        try:
            with open(os.path.join(self.directory, "log", "keeper"), "ab") as log:
                starter = subprocess.Popen([PYTHON, "-I", KEEPER, spec_file, str(go_read), str(ready_write)], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, pass_fds=(go_read, ready_write, *keep), start_new_session=True,
                                           env={**os.environ, TOKEN: self.directory}, cwd="/")
            os.close(ready_write)
            ready_write = -1
            line = os.read(ready_read, 100)
            starter.wait()
            if not line:
                raise ClusterError(f"{self.name} could not be started:\n{self.log_tail()}")
            self.state.record_machine(self.name, Process(int(line)))
            self._go = os.fdopen(go_write, "wb", buffering=0)
            go_write = -1
        finally:
            for fd in (go_read, go_write, ready_read, ready_write):
                if fd >= 0:
                    os.close(fd)

    def release(self):
        self._go.write(b"go\n")
        self._go.close()
        self._go = None

    def log_tail(self, lines=20):
        """The last lines of all logs of the machine, for an error message."""
        parts = []
        directory = os.path.join(self.directory, "log")
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    parts += [f"--- {path}"] + [line.rstrip("\n") for line in f.readlines()[-lines:]]
        return "\n".join(parts)

    def enter_argv(self):
        """The command prefix that runs something inside a namespace machine."""
        return ["nsenter", "--target", str(self.require().pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--wd=" + os.getcwd(), "--"]

    def ip(self, *commands):
        """Runs commands of ip(8) in the machine's network namespace."""
        prefix = ["nsenter", "--target", str(self.require().pid), "--net", "--"]
        done = subprocess.run(prefix + ["ip", "-batch", "-"], input="\n".join(commands) + "\n", text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"setting up the network of {self.name} failed: {done.stderr.strip()} (commands: {'; '.join(commands)})")

    def drop(self, family, table, hook, rules):
        """Packets that match one of these rules of nft(8) are lost from now on, instead of those that matched the ones before."""
        text = f"add table {family} {table}\ndelete table {family} {table}\n"
        if rules:
            lines = "\n".join(f"{rule} counter drop" for rule in rules)
            text += f"table {family} {table} {{\nchain lost {{\ntype filter hook {hook} priority 0\n{lines}\n}}\n}}\n"
        done = subprocess.run(["nsenter", "--target", str(self.require().pid), "--net", "--", "nft", "-f", "-"], input=text, text=True,
                              capture_output=True, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        if done.returncode != 0:
            raise ClusterError(f"the packet filter of {self.name} does not take '{'; '.join(rules)}': {done.stderr.strip()}")

    def processes(self):
        """All processes of the machine, the keeper included."""
        process = self.process
        if self.namespaces:
            return in_pid_namespace(process.pid) if process else []
        return with_environment(TOKEN, self.directory)

    def find_program(self, program):
        """The processes that run a program, without their own children of the same program and what wraps them."""
        wanted = {program, "ctdb-" + program}
        found = {p.pid: p for p in self.processes() if program_names(p.pid) & wanted}
        keeper = self.process
        if keeper:
            found.pop(keeper.pid, None)
        return [p for p in found.values() if parent(p.pid) not in found]

    def signal_program(self, program, number):
        found = self.find_program(program)
        if not found:
            raise ClusterError(f"{self.name} does not run {program}; it runs: {', '.join(sorted(self.program_list()))}")
        for process in found:
            process.signal(number)
        if number == signal.SIGKILL:
            # Who looks for the one that takes its place is not to find the one that ends.
            for process in found:
                if not process.wait_gone(GONE_SECONDS):
                    raise ClusterError(f"pid {process.pid} ({program} of {self.name}) does not end within {GONE_SECONDS} s of SIGKILL")

    def program_list(self):
        names = set()
        for process in self.processes():
            try:
                names.add(os.path.basename(os.readlink(f"/proc/{process.pid}/exe")))
            except OSError:
                pass
        return names

    def destroy(self):
        """Ends everything at once, whatever state it is in."""
        process = self.process
        if process and not process.kill():
            raise ClusterError(f"pid {process.pid} ({self.name}) does not end")
        survivors = kill_all(lambda: with_environment(TOKEN, self.directory))
        if survivors:
            raise ClusterError(f"processes of {self.name} do not end: {', '.join(str(p.pid) for p in survivors)}")
        self.state.forget_machine(self.name)

    def stop(self, timeout=40):
        """Orderly: SIGTERM to the keeper, which stops its programs."""
        process = self.require()
        process.signal(signal.SIGTERM)
        ended = process.wait_gone(timeout)
        self.destroy()
        return ended


def wait_for(condition, timeout, what):
    """Polls until condition() is true; its value. ClusterError with `what` (text or function) after the time-out."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise ClusterError(what() if callable(what) else what)
        time.sleep(0.05)
