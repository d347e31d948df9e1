"""The fake daemon as a program (test/fake_ctdbd.c): a cluster as lines of text."""

import os
import shutil
import subprocess
import tempfile
import threading
import time


class FakeProgram:
    """Runs it. say(lines): what the cluster is from the next connection on; seen: lines of what came."""

    def __init__(self, build, lines):
        self.dir = tempfile.mkdtemp(prefix="ctfake", dir="/tmp")
        self.path = os.path.join(self.dir, "socket")
        self.state = os.path.join(self.dir, "state")
        self.say(lines)
        self.seen = []
        self.process = subprocess.Popen([os.path.join(build, "test/local/fake_ctdbd"), self.path, self.state], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        if first != "ready\n":
            message = self.process.stderr.read()
            self.stop()
            raise RuntimeError(message)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def say(self, lines):
        """Written beside and moved there, so that it is never read half; its time differs from that of the former one."""
        with open(self.state + ".new", "w", encoding="ascii") as f:
            f.write(lines)
        self.stamp = getattr(self, "stamp", time.time_ns()) + 1_000_000  # the clock of files may stand still for 4 ms
        os.utime(self.state + ".new", ns=(self.stamp, self.stamp))
        os.rename(self.state + ".new", self.state)

    def _read(self):
        for line in self.process.stdout:
            self.seen.append(line.rstrip("\n"))

    def stop(self):
        """Ends it, by the end of its standard input, and says with which exit status it ended."""
        self.process.stdin.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            if hasattr(self, "reader"):
                self.reader.join(30)
            self.process.stdout.close()
            self.process.stderr.close()
            shutil.rmtree(self.dir)
        return self.process.returncode
