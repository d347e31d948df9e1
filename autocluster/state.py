"""What is known about clusters on this machine: one directory for each, with everything that belongs to it."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import time

from .errors import ClusterError
from .process import Process

# Unix socket paths have at most 107 characters, and sockets lie below the directory of a node.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,23}")


def base_directory(make=False):
    """Where the directories of clusters are; ours alone."""
    chosen = os.environ.get("AUTOCLUSTER_DIR")
    if chosen:
        path = os.path.abspath(chosen)
    elif os.getuid() == 0:
        path = "/run/autocluster"
    elif os.environ.get("XDG_RUNTIME_DIR") and os.access(os.environ["XDG_RUNTIME_DIR"], os.W_OK):
        path = os.path.join(os.environ["XDG_RUNTIME_DIR"], "autocluster")
    else:
        path = f"/tmp/autocluster-{os.getuid()}"
    if not make and not os.path.lexists(path):
        return path
    os.makedirs(path, mode=0o755, exist_ok=True)
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise ClusterError(f"{path} is not a directory that only you can write to; remove it or set AUTOCLUSTER_DIR")
    return path


def check_name(name):
    if not NAME.fullmatch(name):
        raise ClusterError(f"'{name}' can not be a cluster's name: use 1 to 24 letters, digits, '-' and '_'")


def names():
    base = base_directory()
    if not os.path.isdir(base):
        return []
    return sorted(entry for entry in os.listdir(base) if os.path.isdir(os.path.join(base, entry)))


class State:
    """The directory of one cluster: cluster.json (what was asked for), pids/ (machines), and what the nodes write."""

    def __init__(self, name):
        check_name(name)
        self.name = name
        self.path = os.path.join(base_directory(), name)

    def exists(self):
        return os.path.isdir(self.path)

    def create(self, config):
        try:
            os.mkdir(self.path, 0o755)
        except FileExistsError:
            raise ClusterError(f"cluster {self.name} exists already; remove it by: autocluster down {self.name}") from None
        os.mkdir(self.file("pids"))
        self.write("cluster.json", json.dumps(config, indent=1) + "\n")

    def load(self):
        if not self.exists():
            raise ClusterError(f"there is no cluster {self.name}; 'autocluster list' shows those that exist")
        try:
            with open(self.file("cluster.json"), encoding="utf-8") as f:
                return json.load(f)
        except (FileNotFoundError, ValueError):
            raise ClusterError(f"cluster {self.name} was never complete; remove it by: autocluster down {self.name}") from None

    def file(self, *parts):
        return os.path.join(self.path, *parts)

    def write(self, name, text):
        """Replaces a file as a whole."""
        path = self.file(name)
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def record_machine(self, machine, process):
        self.write(os.path.join("pids", machine), f"{process.pid} {process.start}\n")

    def forget_machine(self, machine):
        try:
            os.unlink(self.file("pids", machine))
        except FileNotFoundError:
            pass

    def machine(self, machine):
        """The recorded process of a machine, or None."""
        try:
            with open(self.file("pids", machine), encoding="utf-8") as f:
                pid, start = f.read().split()
        except (FileNotFoundError, ValueError):
            return None
        process = Process(int(pid), int(start))
        return process if process.alive() else None

    def machines(self):
        try:
            return sorted(name for name in os.listdir(self.file("pids")) if not name.endswith(".new"))
        except FileNotFoundError:
            return []

    def remove(self):
        end = time.monotonic() + 10
        while self.exists():
            try:
                shutil.rmtree(self.path)
            except OSError as e:
                # A process that is just ending may still have written a file.
                if e.errno not in (errno.ENOTEMPTY, errno.ENOENT) or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def lock(self, interrupt=False):
        """One command at a time changes a cluster. interrupt: a command that is at work is asked to stop (SIGTERM) and waited for."""
        path = os.path.join(base_directory(), f".{self.name}.lock")
        return Lock(path, self.name, interrupt)


class Lock:
    """A lock file that names its holder."""

    def __init__(self, path, name, interrupt):
        self.path, self.name, self.interrupt = path, name, interrupt
        self.fd = -1

    def _try(self):
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the directory was just removed by another command, as its last act
            base_directory(make=True)
            return self._try()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 100, 0).decode().split()
            os.close(fd)
            return Process(int(holder[0]), int(holder[1])) if len(holder) == 2 else Process(0, 0)
        try:
            same = os.fstat(fd).st_ino == os.stat(self.path).st_ino
        except FileNotFoundError:
            same = False
        if not same:  # removed by the holder before us
            os.close(fd)
            return self._try()
        me = Process(os.getpid())
        os.truncate(fd, 0)
        os.pwrite(fd, f"{me.pid} {me.start}".encode(), 0)
        self.fd = fd
        return None

    def __enter__(self):
        end = time.monotonic() + 60
        asked = False
        while True:
            holder = self._try()
            if holder is None:
                return self
            if not self.interrupt and time.monotonic() > end - 50 or time.monotonic() > end:
                raise ClusterError(f"another command works on cluster {self.name} (pid {holder.pid}); wait for it or stop it")
            if self.interrupt and not asked and holder.alive() and holder.pid != os.getpid():
                holder.signal(signal.SIGTERM)
                asked = True
            time.sleep(0.05)

    def __exit__(self, *_):
        os.unlink(self.path)
        os.close(self.fd)
        try:
            os.rmdir(os.path.dirname(self.path))
        except OSError:
            pass  # other clusters are there
