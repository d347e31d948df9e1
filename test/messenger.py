"""A process with an endpoint of its own on a node, led by a test: test/local/messenger.c."""

import os
import queue
import signal
import subprocess
import threading

import pytest
from support import PATIENCE, TOP


def find_messenger(config):
    path = os.path.join(TOP, config.getoption("--build"), "test", "local", "messenger")
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is missing: run make first")
    return path


class Messenger:
    """A process with an endpoint on a node. Its lines are read by a thread, in order."""

    def __init__(self, popen, program, directory, name, pnn):
        """popen starts an argv on the node; directory: that of the sockets, as seen there."""
        self.name, self.pnn, self.socket = name, pnn, os.path.join(directory, name)
        self.process = popen([program, directory, name, str(pnn)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.pid = int(self.expect("ready")[0])

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def heard(self, word, seconds):
        """The words behind the first one of the next line, which has to be word; None if none comes within that time."""
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            return None
        assert line is not None, f"{self.name}@{self.pnn} has ended"
        words = line.split(" ")
        assert words[0] == word, line
        return words[1:]

    def expect(self, word):
        """As heard(); the test fails if nothing comes."""
        words = self.heard(word, 4 * PATIENCE)
        if words is None:
            pytest.fail(f"{self.name}@{self.pnn} says nothing")
        return words

    def ask(self, to, text, ms=60000):
        self.say("ask", to, ms, text)
        code, *answer = self.expect("answer")
        return int(code), " ".join(answer)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.close()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.thread.join(PATIENCE)
        self.process.stdout.close()
        if os.path.exists(self.socket):
            os.unlink(self.socket)  # of one that was killed
