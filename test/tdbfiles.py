"""The databases' files of a cluster that is about to be removed: each has to be in order, whatever was done to the nodes."""

import os
import re
import signal
import subprocess

from autocluster.process import kill_all

# As a node's daemons see them, below its var directory.
DIRECTORIES = ["volatile", "persistent", "state"]
MAGIC = b"TDB file\n"
# A check holds locks, and nobody is left who could hold others.
TIMEOUT = 60


def _end_programs(node):
    """Ends what a node runs; its files stay. In namespaces the first process keeps those in memory, and must not start anything again."""
    keeper = node.process
    if not node.namespaces:
        node.destroy()
    elif keeper:
        keeper.signal(signal.SIGSTOP)
        survivors = kill_all(lambda: [p for p in node.processes() if p.pid != keeper.pid])
        assert not survivors, f"{node.name}: processes do not end: {survivors}"


def _var(node):
    """Where the node's files are for us. Volatile files in namespaces are in memory of the node, and gone if it is off."""
    keeper = node.process
    return f"/proc/{keeper.pid}/root/var/lib/ctdb" if node.namespaces and keeper else node.file("var")


def _is_database(path):
    """In use: dbd puts a damaged one aside under another name (.corrupted.TIME)."""
    if not re.search(r"\.\d+$", path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as f:  # by its name, as its beginning may be damaged, or by what it begins with: a database may have any name
        return ".tdb." in os.path.basename(path) or f.read(len(MAGIC)) == MAGIC


def files(node):
    for directory in DIRECTORIES:
        path = os.path.join(_var(node), directory)
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
            if _is_database(os.path.join(path, name)):
                yield os.path.join(directory, name), os.path.join(path, name)


# An entry of the free list without room behind it. Seen in volatile files of processes that were killed while TDB changed their size: TDB lets them pass everywhere but in
# its check, no record is lost, and dbd makes volatile files anew. Said, and no failure.
HARMLESS = re.compile(r"Record offset \d+ too short length 0\b")


def check(path):
    """What is wrong with a file, or None. Opening repairs what a process left that was killed in a transaction, as it does for the daemons."""
    try:
        done = subprocess.run(["/usr/bin/tdbtool", path, "check"], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                              timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"tdbtool check did not end within {TIMEOUT} s"
    if done.returncode == 0 and done.stdout.startswith("Database integrity is OK"):
        return None
    if HARMLESS.search(done.stdout + done.stderr) and os.sep + "volatile" + os.sep in path:
        print(f"{path}: {done.stderr.strip()[:200]} {done.stdout.strip()[:200]}: a free record without room")
        return None
    return f"tdbtool check ended with status {done.returncode}: {done.stderr.strip()[:500]} {done.stdout.strip()[:200]}"


def damaged(cluster):
    """Ends all programs of all nodes, then says what is wrong with their files: a text for each."""
    for node in cluster.nodes:
        _end_programs(node)
    found = []
    for node in cluster.nodes:
        found += [f"{cluster.name} {node.name}: {name} is damaged: {why}" for name, path in files(node) for why in [check(path)] if why]
    return found
