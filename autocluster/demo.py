"""The demonstration: three nodes, one record that moves between them, and a power cut. For people who see ctdb-ng for the first time."""

import os
import shutil
import subprocess
import textwrap
import threading
import time

from .cluster import Cluster
from .errors import ClusterError

DATABASE = "demo.tdb"
KEY = "greeting"


def _wrapped(text, room, indent):
    """Lines of text that fit, the later ones indented."""
    return textwrap.wrap(text, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _width():
    """Of the lines that are printed: what the terminal has, if that makes sense."""
    return max(60, min(115, shutil.get_terminal_size((115, 24)).columns))


class Show:
    """Prints what happens and how long it takes."""

    def __init__(self, cluster):
        self.cluster = cluster

    @staticmethod
    def title(number, text):
        print("\n" + "\n".join(_wrapped(f"{number}. {text}", _width(), "   ")), flush=True)

    @staticmethod
    def line(text, seconds=None):
        took = "" if seconds is None else f"{seconds * 1000:8.0f} ms"
        room = _width() - 15
        lines = _wrapped(text, room, "    ")
        lines[-1] = f"{lines[-1]:<{room}}{took}".rstrip()
        print("\n".join("   " + line for line in lines), flush=True)

    def ctdb(self, pnn, *words, timeout=60, check=True):
        """Runs ctdb on a node; (its output, seconds)."""
        begin = time.monotonic()
        done = self.cluster.node(pnn).run(["ctdb", *words], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        seconds = time.monotonic() - begin
        if check and done.returncode != 0:
            raise ClusterError(f"'ctdb {' '.join(words)}' on node {pnn} failed: {(done.stderr or done.stdout).strip()}")
        return (done.stdout.strip() if done.returncode == 0 else None), seconds

    def command(self, pnn, *words):
        """Runs ctdb on a node and shows it."""
        text, seconds = self.ctdb(pnn, *words)
        shown = " ".join(f'"{w}"' if " " in w else w for w in words)
        self.line(f"node {pnn}$ ctdb {shown}" + (f"   ->  {text}" if text and "\n" not in text else ""), seconds)
        return text


def _write_and_read(show):
    show.title(2, "What one node writes, every node reads: the daemons bring the record to where it is wanted.")
    show.command(0, "db", "attach", DATABASE)
    show.command(0, "record", "set", DATABASE, KEY, "hello from node 0")
    _expect(show.command(1, "record", "get", DATABASE, KEY), "hello from node 0")


def _move_around(show, rounds=4):
    show.title(3, f"The record goes round all nodes, {rounds} times; each adds one. Nothing is lost.")
    show.ctdb(0, "record", "set", DATABASE, "counter", "0")
    slowest, begin, count = 0.0, time.monotonic(), 0
    for _ in range(rounds):
        for node in show.cluster.nodes:
            value, _ = show.ctdb(node.pnn, "record", "get", DATABASE, "counter")
            _, seconds = show.ctdb(node.pnn, "record", "set", DATABASE, "counter", str(int(value) + 1))
            slowest, count = max(slowest, seconds), count + 1
    value, _ = show.ctdb(0, "record", "get", DATABASE, "counter")
    _expect(value, str(count))
    show.line(f"counter = {value} after {count} steps; all of it took", time.monotonic() - begin)


def _work_until(show, finished):
    """Nodes 0 and 1 write in turn, so that the record moves each time, until finished() is true; the longest time a write took."""
    longest, number = 0.0, 0
    while not finished():
        _, seconds = show.ctdb(number % 2, "record", "set", DATABASE, "work", str(number))
        longest, number = max(longest, seconds), number + 1
    return longest, number


def _power_cut(show):
    show.title(4, "Node 2 loses its power, without a word to the others. They notice, recover, and go on.")
    show.command(0, "record", "set", DATABASE, KEY, "written before the power cut")
    _work_until(show, iter([False, False, True]).__next__)
    show.cluster.fault(2, "power-off")
    begin = time.monotonic()
    show.line("node 2: power cut; node 0 and node 1 go on working")
    noticed = []

    def watch():
        # A thread of its own: the question takes its time, the work must not wait for it.
        while not noticed and time.monotonic() - begin < 60:
            text, _ = show.ctdb(0, "-o", "json", "cluster", "status", check=False)
            if text and '"DEGRADED"' in text:
                noticed.append(time.monotonic())
    watcher = threading.Thread(target=watch)
    watcher.start()
    longest, count = _work_until(show, lambda: not watcher.is_alive())
    watcher.join()
    if not noticed:
        raise ClusterError("node 0 did not notice within 60 s that node 2 is gone")
    show.cluster.wait_ready(60, [0, 1])
    show.line(f"node 2 is known to be dead, its data is repaired; of {count} writes meanwhile the slowest took", longest)
    _expect(show.command(1, "record", "get", DATABASE, KEY), "written before the power cut")
    show.command(1, "record", "set", DATABASE, KEY, "written while node 2 was dead")


def _power_on(show):
    show.title(5, "Node 2 gets its power back, joins the others, and has the present data.")
    begin = time.monotonic()
    show.cluster.fault(2, "power-on")
    show.cluster.wait_ready(60)
    show.line("node 2 is back, after", time.monotonic() - begin)
    _expect(show.command(2, "record", "get", DATABASE, KEY), "written while node 2 was dead")


def _expect(value, wanted):
    if value != wanted:
        raise ClusterError(f"the record holds '{value}', not '{wanted}'")


def _steps(show, begin):
    show.title(1, "Three nodes start; each runs the daemons of ctdb-ng.")
    place = "in namespaces of their own" if show.cluster.namespaces else "on loopback addresses"
    for node in show.cluster.nodes:
        daemons = sorted(name for name in node.program_list() if name.startswith("ctdb"))
        show.line(f"node {node.pnn}, {node.address}: {', '.join(daemons)}")
    show.line(f"three nodes, {place}, found each other, chose a leader and serve, after", time.monotonic() - begin)
    _write_and_read(show)
    _move_around(show)
    _power_cut(show)
    _power_on(show)


def _farewell(cluster, program):
    name = cluster.name
    print(f"\nThe cluster stays up. Look at it:\n  {program} status {name}\n  {program} exec {name} 0 -- ctdb cluster status\n"
          f"  {program} exec {name} 1 -- ctdb record get {DATABASE} {KEY}\n  {program} fault {name} 2 power-off\n"
          f"  {program} logs {name} 0\nRemove it:\n  {program} down {name}")


def run(bindir, mode, keep):
    """Exit status of the program."""
    name = "demo" if keep else f"demo-{os.getpid()}"
    cluster = Cluster.new(name, 3, mode, bindir=bindir)
    print("\n".join(_wrapped("ctdb-ng makes several machines that share a filesystem behave as one Samba server. Here are three of them, on this "
                             "machine.", _width(), "")), flush=True)
    begin = time.monotonic()
    # Also an interruption between up() and the first step undoes everything.
    try:
        cluster.up()
        _steps(Show(cluster), begin)
    except BaseException as e:
        if not isinstance(e, ClusterError) or "exists already" not in str(e):
            cluster.down()
        raise
    if keep:
        program = "autocluster/autocluster"
        _farewell(cluster, program)
    else:
        cluster.down()
        print(f"\nAll of it worked, in {time.monotonic() - begin:.1f} s; the cluster is removed, nothing is left of it.\n"
              "To keep it and look around:  make demo KEEP=1")
    return 0
