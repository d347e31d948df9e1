"""Processes named by pid and start time, so that a reused pid is never taken for the process that had it before."""

import os
import select
import signal
import time


def start_time(pid):
    """Start time of a living process in clock ticks since boot; None if there is none (a zombie counts as none)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class Process:
    """One process on this machine."""

    def __init__(self, pid, start=None):
        self.pid = pid
        self.start = start_time(pid) if start is None else start

    def alive(self):
        return self.start is not None and start_time(self.pid) == self.start

    def signal(self, number):
        """Sends a signal; True if the process was there."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # From here on the descriptor is the process: no other one can get the signal.
            if not self.alive():
                return False
            signal.pidfd_send_signal(fd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)

    def wait_gone(self, timeout):
        """Waits until it has ended; False after the time-out."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        finally:
            os.close(fd)

    def kill(self, timeout=30):
        """SIGKILL, and waits for the end."""
        return not self.signal(signal.SIGKILL) or self.wait_gone(timeout)


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def with_environment(variable, value):
    """All processes that were started with this variable in their environment."""
    entry = f"{variable}={value}".encode()
    return [Process(pid) for pid in all_pids() if entry in _read(f"/proc/{pid}/environ").split(b"\0")]


def in_pid_namespace(pid):
    """All processes in the PID namespace of which this process is the first."""
    try:
        namespace = os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return []
    found = []
    for other in all_pids():
        try:
            if os.readlink(f"/proc/{other}/ns/pid") == namespace:
                found.append(Process(other))
        except OSError:
            pass
    return found


def program_names(pid):
    """The names that a process goes by: of its program and of its first arguments (it may run under valgrind or an interpreter)."""
    names = set()
    try:
        names.add(os.path.basename(os.readlink(f"/proc/{pid}/exe")))
    except OSError:
        pass
    for argument in _read(f"/proc/{pid}/cmdline").split(b"\0")[:20]:
        if argument and not argument.startswith(b"-"):
            names.add(os.path.basename(argument.decode(errors="replace")))
    return names


def parent(pid):
    fields = _read(f"/proc/{pid}/stat").rsplit(b")", 1)
    return int(fields[1].split()[1]) if len(fields) == 2 else 0


def kill_all(find, timeout=30):
    """Kills all that find() returns until it returns nothing more; the survivors after the time-out."""
    end = time.monotonic() + timeout
    while True:
        found = [p for p in find() if p.alive() and p.pid != os.getpid()]
        if not found or time.monotonic() > end:
            return found
        for process in found:
            process.signal(signal.SIGKILL)
        for process in found:
            process.wait_gone(max(0, end - time.monotonic()))
