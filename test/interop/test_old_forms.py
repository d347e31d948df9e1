"""Old forms of our ctdb tool against Debian's: the same command on the same cluster, the same output to the byte."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

import pytest
from support import CALM, PATIENCE

NODES = 3
SETUP = ["attach fv.tdb", "attach fp.tdb persistent", "attach fr.tdb replicated", "attach fs.tdb sticky", "attach fo.tdb readonly",
         "writekey fv.tdb k1 hello", "writekey fv.tdb 0x6b3200 0x00ff22", "pstore fp.tdb a one", "pstore fp.tdb 0x62 two", "pstore fr.tdb x y"]


class Tools:
    """Both tools as they would run on a node."""

    def __init__(self, root, cluster, base):
        self.root, self.cluster, self.base = root, cluster, base

    def old(self, *args, pnn=0, **options):
        node = self.cluster.node(pnn)
        base = os.path.join(self.base, str(pnn))
        os.makedirs(base, exist_ok=True)
        shutil.copy(node.file("nodes"), os.path.join(base, "nodes"))
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CTDB_TEST_MODE": "1", "CTDB_BASE": base, "TZ": "UTC",
               "CTDB_SOCKET": node.file("run", "ctdbd.socket"), "LD_LIBRARY_PATH": ":".join(glob.glob(f"{self.root}/usr/lib/*/samba"))}
        return self._run([f"{self.root}/usr/bin/ctdb", *args], env, options)

    def ours(self, *args, pnn=0, **options):
        node = self.cluster.node(pnn)
        return self._run([os.path.join(self.cluster.node(0).env()["CTDB_LIBEXEC"], "ctdb"), *args],
                         {**os.environ, "TZ": "UTC", "CTDB_SOCKET": node.file("run", "ctdbd.socket")}, options)

    @staticmethod
    def _run(argv, env, options):
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        return subprocess.run(argv, env=env, capture_output=True, text=True, errors="surrogateescape", check=False, timeout=4 * PATIENCE, **options)


@pytest.fixture(scope="module")
def tools(debian_root, module_factory):
    base = tempfile.mkdtemp(prefix="ct", dir="/tmp")
    t = Tools(debian_root, module_factory(NODES, extra_config=CALM), base)
    for command in SETUP:
        done = t.ours(*command.split())
        assert done.returncode == 0 and done.stdout == "", (command, done)
    yield t
    shutil.rmtree(base, ignore_errors=True)


def same(tools, command, change=lambda text: text, **options):
    """Standard output and whether it succeeded; change: takes out what differs from moment to moment."""
    args = command if isinstance(command, list) else command.split()
    old, ours = tools.old(*args, **options), tools.ours(*args, **options)
    assert change(ours.stdout) == change(old.stdout), (ours, old)
    assert (ours.returncode == 0) == (old.returncode == 0), (ours, old)
    return ours


@pytest.mark.parametrize("command", [
    "catdb fp.tdb", "catdb fr.tdb", "cattdb fp.tdb", "cattdb fv.tdb", "readkey fv.tdb k1", "readkey fv.tdb 0x6b3200", "readkey fv.tdb nokey",
    "pfetch fp.tdb a", "pfetch fp.tdb nokey", "pfetch fr.tdb x", "getdbseqnum fp.tdb", "getdbseqnum fv.tdb", "getdbstatus fp.tdb",
    "getdbstatus fs.tdb", "getdbstatus fo.tdb", "getdbstatus fr.tdb", "getdbmap", "-X getdbmap", "getdbstatus nosuch.tdb", "catdb nosuch.tdb",
    "readkey fp.tdb a", "dbstatistics nosuch.tdb", "getdbseqnum nosuch.tdb",
])
def test_the_same_to_the_byte(tools, command):
    done = same(tools, command)
    assert done.stdout != "" or done.returncode != 0


def test_catdb_of_a_volatile_database(tools):
    def records(text):
        *blocks, end = text.split("\n\n")
        return sorted(blocks), end

    same(tools, "catdb fv.tdb", records)


def moment(text):
    """Numbers of statistics and times go on from one command to the next; how wide they stand is looked at."""
    text = re.sub(r"(?m)^(Current time|Statistics collected).*$", r"\1", text)
    return re.sub(r" +[0-9./]+(?= |$)", lambda m: f"<{len(m.group(0)) if '/' not in m.group(0) else 'latency'}>", text, flags=re.MULTILINE)


@pytest.mark.parametrize("command", ["statistics", "dbstatistics fv.tdb"])
def test_form_of_statistics(tools, command):
    def form(text):
        return [line for line in moment(text).splitlines() if "Hot Keys" not in line and "Key:" not in line]

    same(tools, command, form)


def test_hot_keys(tools):
    for value in "abc":
        for pnn in range(2):
            assert tools.ours("writekey", "fv.tdb", "hot", value, pnn=pnn).returncode == 0
    for pnn in range(2):
        done = same(tools, "dbstatistics fv.tdb", lambda text: [line for line in text.splitlines() if "Key" in line or "hop_count" in line], pnn=pnn)
        assert re.search(r"Count:[1-9]\d* Key:686f74\n", done.stdout) and "Num Hot Keys:     10\n" in done.stdout
        assert done.stdout.count("Count:") == 10


@pytest.mark.parametrize("flag", ["readonly", "sticky"])
def test_set_flags(tools, flag):
    """Each on its own database: on one node, and refused in the same words."""
    for tool, db in ((tools.old, f"old{flag}.tdb"), (tools.ours, f"ours{flag}.tdb")):
        assert tools.ours("attach", db).returncode == 0
        assert (tool(f"setdb{flag}", db, "-n", "1").returncode, tool(f"setdb{flag}", db, pnn=2).returncode) == (0, 0)
        assert [f"{flag.upper()}: yes" in tools.old("getdbstatus", db, pnn=pnn).stdout for pnn in range(3)] == [False, True, True]
        assert tools.ours("db", f"set-{flag}", db).returncode == 0
        assert all(f"{flag.upper()}: yes" in tools.old("getdbstatus", db, pnn=pnn).stdout for pnn in range(3))
    for db in ("fp.tdb", "fr.tdb", "nosuch.tdb"):
        old, ours = tools.old(f"setdb{flag}", db), tools.ours(f"setdb{flag}", db)
        assert (old.returncode, old.stdout, old.stderr) == (ours.returncode, ours.stdout, ours.stderr.replace("ctdb: ", "", 1))


@pytest.mark.parametrize("command", ["-X statistics", "-X stats 3"])
def test_form_of_statistics_for_programs(tools, command):
    def form(text):
        lines = text.splitlines()
        return lines[0], {line.count("|") for line in lines}, {line.split("|")[0] for line in lines[1:]}

    same(tools, command, form)


@pytest.mark.parametrize("text", ['"p" "1"\n"q\\00" "\\FF2"\n', '"p" ""\nnot a pair\n"r" "3"\n'])
def test_ptrans(tools, text):
    same(tools, "ptrans fp.tdb", input=text)
    same(tools, "catdb fp.tdb")


def test_backups(tools):
    """Ours reads what Debian's writes; what both print of it is the same."""
    path, again = os.path.join(tools.base, "old.bak"), os.path.join(tools.base, "new.bak")
    assert tools.old("backupdb", "fp.tdb", path).stdout == f"Database backed up to {path}\n"
    assert tools.ours("backupdb", "fp.tdb", again).stdout == f"Database backed up to {again}\n"

    def without_seqnum(text):
        head, *blocks = re.sub(r"^(Dumping.*)\n", r"\1\n\n", text).split("\n\n")
        return head, sorted(b for b in blocks[:-1] if "__db_sequence_number__" not in b)

    same(tools, f"dumpdbbackup {path}", without_seqnum)
    old = tools.old("catdb", "fp.tdb").stdout
    tools.ours("pstore", "fp.tdb", "later", "gone")
    restored = tools.ours("restoredb", path)
    assert re.fullmatch(r"Restoring database fp.tdb from backup @ \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\nDatabase fp.tdb restored\n", restored.stdout)
    now = tools.old("catdb", "fp.tdb", pnn=1).stdout
    assert without_seqnum("\n" + now)[1] == without_seqnum("\n" + old)[1]
    assert tools.ours("wipedb", "fp.tdb").stdout == "Database fp.tdb wiped\n"
