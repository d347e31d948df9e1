"""Samba's own administration tools on the cluster: what one node writes, the others see, and nothing is lost while a node is away."""

import json
import re
import subprocess

import pytest
import smb2
from support import need_programs, output, wait_until

KEY = r"HKLM\Software\ctdb-ng"


class Tools:
    """The tools on one node."""

    def __init__(self, cluster, pnn):
        self.node = cluster.node(pnn)

    def run(self, *argv):
        return self.node.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    def say(self, *argv):
        return output(self.run(*argv)).strip()


class Database:
    """One database, by dbwrap_tool on each node."""

    def __init__(self, tools, name, kind):
        self.tools, self.argv = tools, ["dbwrap_tool", f"--{kind}", name]

    def store(self, pnn, key, kind, value):
        self.tools[pnn].say(*self.argv, "store", key, kind, "--", value)

    def fetch(self, pnn, key, kind="string"):
        return self.tools[pnn].say(*self.argv, "fetch", key, kind)

    def missing(self, pnn, key):
        return self.tools[pnn].run(*self.argv, "fetch", key, "string").returncode != 0

    def exists(self, pnn, key):
        done = self.tools[pnn].run(*self.argv, "exists", key)
        assert (done.returncode, done.stdout) in ((0, f"Key {key} exists\n"), (1, f"Key {key} does not exist\n")), done
        return done.returncode == 0

    def delete(self, pnn, key):
        self.tools[pnn].say(*self.argv, "delete", key)

    def keys(self, pnn):
        return sorted(line.removesuffix(r"\00") for line in self.tools[pnn].say(*self.argv, "listkeys").splitlines())

    def all_have(self, keys):
        assert {pnn: self.keys(pnn) for pnn in range(len(self.tools))} == {pnn: sorted(keys) for pnn in range(len(self.tools))}


@pytest.fixture
def tools(smb):
    need_programs("dbwrap_tool", "net", "smbstatus")
    return [Tools(smb.cluster, node.pnn) for node in smb.cluster.nodes]


def test_persistent_database(tools):
    db = Database(tools, "tools_persistent.tdb", "persistent")
    db.all_have([])
    for pnn, (key, kind, value) in enumerate([("text", "string", "hello"), ("number", "uint32", "77"), ("signed", "int32", "-5")]):
        db.store(pnn, key, kind, value)
        assert {db.fetch(other, key, kind) for other in range(3)} == {value}
    db.store(1, "text", "string", "changed")
    assert [db.fetch(pnn, "text") for pnn in range(3)] == ["changed"] * 3
    db.store(2, "bytes", "hex", "00FF10")
    assert db.fetch(0, "bytes", "hex") == "00FF10"
    db.all_have(["text", "number", "signed", "bytes"])
    assert db.exists(2, "signed")
    db.delete(0, "signed")
    # To Samba a record that was deleted in a transaction is an empty one, which is there for who asks for it by name. It is so with any ctdbd.
    assert [db.fetch(pnn, "signed") for pnn in range(3)] == [""] * 3
    db.all_have(["text", "number", "bytes"])
    tools[2].say(*db.argv, "erase")
    db.all_have([])


def test_volatile_database(tools):
    db = Database(tools, "tools_volatile.tdb", "non-persistent")
    db.all_have([])
    for pnn in (0, 1, 2, 0):
        db.store(pnn, "shared", "string", f"of {pnn}")
        assert [db.fetch(other, "shared") for other in range(3)] == [f"of {pnn}"] * 3
        db.store(pnn, f"own-{pnn}", "uint32", str(pnn))
    db.all_have(["shared", "own-0", "own-1", "own-2"])
    assert db.fetch(0, "own-2", "uint32") == "2"
    db.delete(1, "own-0")
    assert not db.exists(0, "own-0") and db.missing(2, "own-0")
    db.all_have(["shared", "own-1", "own-2"])
    # Samba erases in a transaction, and volatile databases of a cluster have none: it says so, and nothing is gone.
    done = tools[0].run(*db.argv, "erase")
    assert done.returncode != 0 and "ERROR erasing" in done.stderr, done
    db.all_have(["shared", "own-1", "own-2"])


def test_registry(tools):
    tools[0].say("net", "registry", "createkey", KEY)
    tools[0].say("net", "registry", "setvalue", KEY, "color", "sz", "blue")
    assert tools[1].say("net", "registry", "getvalueraw", KEY, "color") == "blue"
    tools[2].say("net", "registry", "setvalue", KEY, "color", "sz", "red")
    tools[1].say("net", "registry", "setvalue", KEY, "number", "dword", "7")
    text = tools[0].say("net", "registry", "enumerate", KEY)
    assert dict(re.findall(r"Valuename +=\s*(\S+)\s+Type +=.*\s+Value +=\s*(\S+)", text)) == {"color": '"red"', "number": "7"}, text
    tools[0].say("net", "registry", "deletevalue", KEY, "color")
    assert tools[2].run("net", "registry", "getvalueraw", KEY, "color").returncode != 0
    assert tools[2].say("net", "registry", "getvalueraw", KEY, "number") == "7"
    tools[1].say("net", "registry", "deletekey", KEY)
    for node in tools:
        assert node.run("net", "registry", "enumerate", KEY).returncode != 0


def test_share_in_the_registry(smb, tools, tmp_path):
    def client(pnn, commands):
        return smb.cluster.client(["smbclient", "-N", f"//{smb.cluster.public_address(pnn)}/added", "-c", commands], capture_output=True, text=True,
                                  timeout=60, stdin=subprocess.DEVNULL)

    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("by a share that was added")
    assert client(2, "ls").returncode != 0
    tools[0].say("net", "conf", "addshare", "added", "/srv/share", "writeable=y", "guest_ok=y")
    assert [node.say("net", "conf", "getparm", "added", "path") for node in tools] == ["/srv/share"] * 3
    assert "added" in tools[1].say("net", "conf", "listshares").splitlines()
    output(client(2, f"put {source} by-added"))
    output(client(1, f"get by-added {target}"))
    assert target.read_text() == source.read_text()
    tools[1].say("net", "conf", "setparm", "added", "read only", "yes")
    assert "ACCESS_DENIED" in client(2, f"put {source} by-added").stdout
    tools[2].say("net", "conf", "delshare", "added")
    assert all("BAD_NETWORK_NAME" in client(pnn, "ls").stdout for pnn in range(3))


def session_servers(node):
    """{(pnn, id of the smbd as "net serverid" takes it)}"""
    found = [session["server_id"] for session in json.loads(node.say("smbstatus", "--json", "-p"))["sessions"].values()]
    return {(int(server["vnn"]), f"{server['vnn']}:{server['pid']}/{server['unique_id']}") for server in found}


def test_sessions(smb, tools):
    agents = [smb.agent(pnn) for pnn in range(3)]
    # Those of the tests before have gone.
    wait_until(lambda: sorted(pnn for pnn, _ in session_servers(tools[0])) == [0, 1, 2], what=lambda: f"three sessions, not {session_servers(tools[0])}")
    servers = session_servers(tools[0])
    for node in tools:
        assert session_servers(node) == servers
        assert {node.say("net", "serverid", "exists", server) for _, server in servers} == {f"{server} exists" for _, server in servers}
    # Nobody who lives is wiped, whoever looks.
    for node in tools:
        found = node.say("net", "serverid", "wipedbs", "--verbose")
        assert re.search(r"Found (\d+) sessions, \1 alive and 0 disconnected, cleaned up 0 of 0", found) and "Found 0 sessions" not in found, found
    locked = {}
    for agent in agents:
        file_id = agent.call("open", name=f"tools-{agent.pnn}")
        assert agent.call("lock", file_id=file_id, offset=agent.pnn, length=10) == smb2.OK
        locked[agent.pnn] = file_id
    for node in tools:
        ranges, opens = node.say("smbstatus", "-B"), node.say("smbstatus", "-L")
        for pnn in range(3):
            assert re.search(rf"^{pnn}:\d+ .* W +{pnn} +10 .*tools-{pnn}\b", ranges, re.M), ranges
            assert re.search(rf"^{pnn}:\d+ .*tools-{pnn}\b", opens, re.M), opens
    gone = next(server for pnn, server in servers if pnn == 1)
    agents[1].end()
    wait_until(lambda: "does not exist" in tools[0].run("net", "serverid", "exists", gone).stdout, what=f"the session {gone} to vanish")
    wait_until(lambda: "tools-1" not in tools[2].say("smbstatus", "-B"), what="its lock to vanish")
    assert agents[0].call("write", file_id=locked[0], offset=0, data=b"still here") == smb2.OK


def test_nothing_is_lost_while_a_node_is_away(smb, tools):
    kept, shared = Database(tools, "tools_away.tdb", "persistent"), Database(tools, "tools_away_volatile.tdb", "non-persistent")
    tools[2].say("net", "registry", "createkey", KEY)
    tools[2].say("net", "registry", "setvalue", KEY, "before", "sz", "yes")
    for pnn in range(3):
        kept.store(pnn, f"before-{pnn}", "uint32", str(pnn))
    for pnn in (2, 1, 0):
        shared.store(pnn, "everywhere", "string", f"of {pnn}")
    shared.store(0, "of-0", "string", "zero")

    for pnn, off in ((2, "power-off"), (1, "shutdown")):
        smb.cluster.fault(pnn, off)
        others = [other for other in range(3) if other != pnn]
        wait_until(lambda others=others: all(smb.cluster.node(other).waiting_for() is None for other in others), 60, "the others to go on")
        kept.store(others[0], f"without-{pnn}", "uint32", str(pnn))
        kept.delete(others[1], f"before-{pnn}")
        tools[others[1]].say("net", "registry", "setvalue", KEY, f"without-{pnn}", "sz", "yes")
        shared.store(others[0], f"without-{pnn}", "string", str(pnn))
        assert shared.fetch(others[1], "everywhere") == "of 0"
        smb.cluster.fault(pnn, "power-on")
        smb.cluster.wait_ready(60)
        smb.wait_serving(pnn)

    kept.all_have(["before-0", "without-1", "without-2"])
    assert [kept.fetch(pnn, "without-2", "uint32") for pnn in range(3)] == ["2"] * 3
    for node in tools:
        text = node.say("net", "registry", "enumerate", KEY)
        assert set(re.findall(r"Valuename +=\s*(\S+)", text)) == {"before", "without-1", "without-2"}, text
    shared.all_have(["everywhere", "of-0", "without-1", "without-2"])
    assert [shared.fetch(pnn, "everywhere") for pnn in range(3)] == ["of 0"] * 3
    tools[0].say("net", "registry", "deletekey", KEY)
    tools[0].say(*kept.argv, "erase")
