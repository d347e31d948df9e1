"""Debian's ctdb tool, unmodified, against three nodes of ours: what people type today goes on working."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

import pytest
from support import CALM, PATIENCE, wait_until

NODES = 3
DB_NAMES = {"volatile": "oldtool_v.tdb", "persistent": "oldtool_p.tdb", "replicated": "oldtool_r.tdb"}


class Tool:
    """The tool as it would run on a node."""

    def __init__(self, root, cluster, base):
        self.root, self.cluster, self.base = root, cluster, base

    def environment(self, pnn):
        node = self.cluster.node(pnn)
        base = os.path.join(self.base, str(pnn))
        os.makedirs(base, exist_ok=True)
        shutil.copy(node.file("nodes"), os.path.join(base, "nodes"))
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CTDB_TEST_MODE": "1", "CTDB_BASE": base,
                "CTDB_SOCKET": node.file("run", "ctdbd.socket"), "LD_LIBRARY_PATH": ":".join(glob.glob(f"{self.root}/usr/lib/*/samba"))}

    def run(self, *args, pnn=0, status=0):
        """Standard output of a command that ends with this status; None: with any."""
        done = subprocess.run([f"{self.root}/usr/bin/ctdb", *args], env=self.environment(pnn), capture_output=True, text=True, check=False,
                              timeout=4 * PATIENCE, stdin=subprocess.DEVNULL)
        if status is not None and done.returncode != status:
            pytest.fail(f"ctdb {' '.join(args)} ended with {done.returncode}, not {status}: {done.stderr}{done.stdout}")
        return done.stdout

    def records(self, db, pnn=0):
        """{key: value} of catdb, both as the tool prints them; without the record of the sequence number."""
        values, key = {}, None
        for line in self.run("catdb", db, pnn=pnn).splitlines():
            if line.startswith("key("):
                key = line.split(" = ", 1)[1].strip('"')
            elif line.startswith("data(") and "sequence_number" not in key:
                values[key] = line.split(" = ", 1)[1].strip('"')
        return values

    def flags(self, pnn):
        """What the node map says of a node: set of column names."""
        head, *rows = [line.strip("|").split("|") for line in self.run("-X", "status").splitlines() if line]
        return {name for name, value in zip(head[2:-1], rows[pnn][2:-1]) if value == "1"}

    def everywhere(self, *args):
        for pnn in range(NODES):
            self.run(*args, pnn=pnn)


@pytest.fixture(scope="module")
def tool(debian_root, module_factory):
    base = tempfile.mkdtemp(prefix="ct", dir="/tmp")
    yield Tool(debian_root, module_factory(NODES, extra_config=CALM), base)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def ready(tool):
    tool.cluster.wait_ready(4 * PATIENCE)
    wait_until(lambda: tool.run("recmode", status=None) is not None and "INVALID" not in tool.run("status"), 4 * PATIENCE, "a generation")


# ---- how things are ----


def test_status_and_identity(tool):
    assert [tool.run("pnn", pnn=pnn) for pnn in range(NODES)] == [f"{pnn}\n" for pnn in range(NODES)]
    text = tool.run("status")
    assert "Number of nodes:3" in text and text.count(" OK") == NODES and "Recovery mode:NORMAL (0)" in text
    assert len(tool.run("listnodes").split()) == NODES
    assert tool.run("nodestatus", "all").count(" OK") == NODES
    assert tool.run("runstate") == "RUNNING\n"
    assert int(tool.run("leader")) in range(NODES)
    assert "response from 2" in tool.run("ping", "-n", "2")
    assert tool.run("getcapabilities") == "LEADER: YES\nLMASTER: YES\n"
    assert int(tool.run("getpid")) != int(tool.run("getpid", "-n", "1"))
    assert tool.run("uptime").count("\n") == 4
    assert "does not exist" in tool.run("process-exists", "1", status=1)


def test_statistics_and_levels(tool):
    assert "num_clients" in tool.run("statistics") and "num_clients" in tool.run("stats")
    tool.run("statisticsreset")
    tool.run("setdebug", "NOTICE")
    assert tool.run("getdebug") == "NOTICE\n"
    tool.run("setdebug", "INFO")
    assert "talloc" in tool.run("dumpmemory") and "talloc" in tool.run("rddumpmemory")


def test_tunables(tool):
    assert len(tool.run("listvars").splitlines()) == 49
    tool.run("setvar", "SeqnumInterval", "777")
    assert tool.run("getvar", "SeqnumInterval").split()[-1] == "777"
    tool.run("setvar", "SeqnumInterval", "1000")
    tool.run("setvar", "NoSuchTunable", "1", status=1)


def test_addresses(tool):
    assert tool.run("ip", "all") == "Public IPs on ALL nodes\n"
    tool.run("ifaces")
    for command in ("ipreallocate", "sync"):
        tool.run(command)


# ---- databases ----


def attach(tool, name, model):
    tool.run("attach", name, *([model] if model != "volatile" else []))
    return name


def attach_all(tool):
    for model, name in DB_NAMES.items():
        attach(tool, name, model)


def test_attach_and_list(tool):
    attach_all(tool)
    tool.run("attach", "oldtool_ro.tdb", "readonly")
    tool.run("attach", "oldtool_st.tdb", "sticky")
    for pnn in range(NODES):
        text = tool.run("getdbmap", pnn=pnn)
        words = {line.split()[1]: set(line.split()[3:]) for line in text.splitlines()[1:]}
        assert words["name:oldtool_v.tdb"] == set() and words["name:oldtool_p.tdb"] == {"PERSISTENT"}
        assert words["name:oldtool_r.tdb"] == {"REPLICATED"} and words["name:oldtool_st.tdb"] == {"STICKY"}
        assert words["name:oldtool_ro.tdb"] == {"READONLY"}
        assert "HEALTH: OK" in tool.run("getdbstatus", "oldtool_p.tdb", pnn=pnn)
    for value in "abc":
        tool.everywhere("writekey", DB_NAMES["volatile"], "hot", value)
    said = tool.run("dbstatistics", DB_NAMES["volatile"], pnn=1)
    assert "DB Statistics" in said and re.search(r"Num Hot Keys: +10\n(?s:.*)Count:[1-9]\d* Key:686f74\n", said), said
    tool.run("statisticsreset", pnn=1)
    assert "686f74" not in tool.run("dbstatistics", DB_NAMES["volatile"], pnn=1)
    tool.run("setdbreadonly", DB_NAMES["volatile"])
    tool.run("setdbsticky", DB_NAMES["volatile"])


def test_records(tool):
    attach_all(tool)
    db = DB_NAMES["volatile"]
    tool.run("writekey", db, "moves", "here")
    assert "[here]" in tool.run("readkey", db, "moves", pnn=1)
    assert tool.records(db, 2)["moves"] == "here"
    assert "moves" in tool.run("cattdb", db, pnn=1)
    tool.run("deletekey", db, "moves", pnn=2)
    assert "moves" not in tool.records(db)


@pytest.mark.parametrize("model", ["persistent", "replicated"])
def test_transactions(tool, model):
    attach_all(tool)
    db = DB_NAMES[model]
    tool.run("pstore", db, "k1", "one")
    assert tool.run("pfetch", db, "k1", pnn=2) == "one\n"
    path = os.path.join(tool.base, "ptrans")
    with open(path, "w", encoding="ascii") as f:
        f.write('"k2" "two"\n"k3" "three"\n"k1" ""\n')
    tool.run("ptrans", db, path, pnn=1)
    for pnn in range(NODES):
        assert {k: v for k, v in tool.records(db, pnn).items() if v} == {"k2": "two", "k3": "three"}
    before = int(tool.run("getdbseqnum", db, pnn=0), 16)
    tool.run("pdelete", db, "k2")
    assert [int(tool.run("getdbseqnum", db, pnn=pnn), 16) for pnn in range(NODES)] == [before + 1] * NODES
    tool.run("pdelete", db, "k3")


def test_local_files(tool):
    """tstore, tfetch, tdelete: files without a daemon."""
    attach_all(tool)
    tool.run("pstore", DB_NAMES["persistent"], "file", "content")
    path = tool.cluster.node(1).file("var", "persistent", "oldtool_p.tdb.1")
    assert "content" in tool.run("tfetch", path, "file", pnn=1)
    tool.run("pdelete", DB_NAMES["persistent"], "file")


@pytest.mark.parametrize("model", DB_NAMES)
def test_backup_wipe_restore(tool, model):
    # A database of its own: the tool backs up what the node's file holds, also old copies of records that others own.
    db, backup = attach(tool, f"oldtool_backup_{model}.tdb", model), os.path.join(tool.base, f"backup.{model}")
    put = "writekey" if model == "volatile" else "pstore"
    expected = {f"key{i}": f"value{i}" for i in range(5)}
    for key, value in expected.items():
        tool.run(put, db, key, value)
    tool.run("backupdb", db, backup)
    tool.run(put, db, "later", "x")
    tool.run("wipedb", db, pnn=1)
    assert [tool.records(db, pnn) for pnn in range(NODES)] == [{}] * NODES
    tool.run("restoredb", backup, pnn=2)
    assert [tool.records(db, pnn) for pnn in range(NODES)] == [expected] * NODES
    # It is in use again.
    tool.run(put, db, "after", "y", pnn=1)
    assert tool.records(db)["after"] == "y"


def test_restore_to_another_name(tool):
    attach_all(tool)
    backup = os.path.join(tool.base, "backup.other")
    tool.run("pstore", DB_NAMES["persistent"], "other", "name")
    tool.run("backupdb", DB_NAMES["persistent"], backup)
    tool.run("restoredb", backup, "oldtool_copy.tdb")
    assert tool.records("oldtool_copy.tdb", 2)["other"] == "name"


def test_large_restore(tool):
    """More than one message, more than a worker takes at once."""
    attach_all(tool)
    db, backup, path = DB_NAMES["persistent"], os.path.join(tool.base, "backup.large"), os.path.join(tool.base, "large")
    with open(path, "w", encoding="ascii") as f:
        f.writelines(f'"large{i}" "{"x" * 700}"\n' for i in range(2000))  # the tool takes lines of 1000 characters
    tool.run("ptrans", db, path)
    tool.run("backupdb", db, backup)
    tool.run("wipedb", db)
    tool.run("restoredb", backup)
    for pnn in range(NODES):
        assert len([k for k in tool.records(db, pnn) if k.startswith("large")]) == 2000
    tool.run("wipedb", db)


def test_detach(tool):
    db = "oldtool_detach.tdb"
    tool.run("attach", db)
    tool.run("writekey", db, "key", "value", pnn=1)
    tool.run("detach", db, status=1)  # clients may still attach
    tool.everywhere("setvar", "AllowClientDBAttach", "0")
    try:
        tool.run("detach", db)
        wait_until(lambda: all(db not in tool.run("getdbmap", pnn=pnn) for pnn in range(NODES)), what="the end of the database on all nodes")
        tool.run("detach", "oldtool_p.tdb", status=1)  # persistent
    finally:
        tool.everywhere("setvar", "AllowClientDBAttach", "1")
    # A new one of that name begins empty, and does not see what workers knew of the old file.
    tool.run("attach", db)
    assert [tool.records(db, pnn) for pnn in range(NODES)] == [{}] * NODES
    tool.run("writekey", db, "new", "life", pnn=2)
    assert [tool.records(db, pnn) for pnn in range(NODES)] == [{"new": "life"}] * NODES


# ---- nodes ----


def test_recover(tool):
    def generation():
        return [line for line in tool.run("status").splitlines() if line.startswith("Generation")]

    before = generation()
    tool.run("recover")
    assert generation() != before


def test_disable_enable(tool):
    tool.run("disable", "-n", "1")
    assert "Disabled" in tool.flags(1)
    tool.run("enable", "-n", "1")
    assert "Disabled" not in tool.flags(1)


def test_stop_continue(tool):
    attach_all(tool)
    tool.run("pstore", DB_NAMES["persistent"], "stop", "before")
    tool.run("stop", "-n", "1")
    assert "Stopped" in tool.flags(1)
    tool.run("pstore", DB_NAMES["persistent"], "stop", "meanwhile")
    tool.run("continue", "-n", "1")
    assert "Stopped" not in tool.flags(1)
    wait_until(lambda: tool.run("pfetch", DB_NAMES["persistent"], "stop", pnn=1, status=None) == "meanwhile\n", 4 * PATIENCE,
               "the stopped node to catch up")


def test_stop_of_the_leader(tool):
    leader = int(tool.run("leader"))
    tool.run("stop", pnn=leader)
    other = (leader + 1) % NODES
    wait_until(lambda: tool.run("leader", pnn=other, status=None).strip() not in (str(leader), ""), what="another leader")
    tool.run("continue", pnn=leader)


def test_leader_that_may_not_lead(tool):
    leader = int(tool.run("leader"))
    tool.run("setleaderrole", "off", pnn=leader)
    wait_until(lambda: tool.run("leader", status=None).strip() not in (str(leader), "", "UNKNOWN"), what="another leader")
    wait_until(lambda: "LEADER: NO" in tool.run("getcapabilities", pnn=leader), what="the capability in the view")
    tool.run("setleaderrole", "on", pnn=leader)
    wait_until(lambda: "LEADER: YES" in tool.run("getcapabilities", pnn=leader), what="the capability in the view")


def test_ban_ends_by_itself(tool):
    tool.run("ban", "8", "-n", "2")
    assert "Banned" in tool.flags(2)
    wait_until(lambda: "Banned" not in tool.flags(2), 4 * PATIENCE, "the end of the ban")
    tool.run("ban", "1000", "-n", "2")
    tool.run("unban", "-n", "2")
    assert "Banned" not in tool.flags(2)


def test_capability(tool):
    tool.run("setlmasterrole", "off", "-n", "1")

    def slots():
        return {line.split("lmaster:")[1] for line in tool.run("status").splitlines() if "lmaster:" in line}

    wait_until(lambda: slots() == {"0", "2"}, 4 * PATIENCE, "a slot map without node 1")
    tool.run("setlmasterrole", "on", "-n", "1")
    wait_until(lambda: slots() == {"0", "1", "2"}, 4 * PATIENCE, "a slot map with all nodes")


def test_what_is_missing_says_so(tool):
    """Public addresses are somebody else's: a failure, no hang."""
    tool.run("addip", "10.9.8.7/24", "lo", status=1)
    assert "RELOAD" in subprocess.run([f"{tool.root}/usr/bin/ctdb", "reloadips"], env=tool.environment(0), capture_output=True, text=True,
                                      check=False, timeout=4 * PATIENCE).stderr.upper()
