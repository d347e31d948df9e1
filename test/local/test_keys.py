"""Links between nodes: keys, their rotation, two addresses, nodes that speak the version before."""

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest
from support import CAPTURE, PATIENCE, output, wait_until

OTHER_KEY = "5a" * 32


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def fail(cluster, pnn, *words, status=1):
    """Standard error of a command that has to fail."""
    done = cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)
    assert done.returncode == status, done
    return done.stderr


def links(cluster, pnn):
    return json.loads(ctdb(cluster, pnn, "-o", "json", "node", "links"))


def ups(cluster):
    return {(pnn, link["pnn"]): (link["ups"], link["switches"]) for pnn in sorted(cluster.running()) for link in links(cluster, pnn)["links"]}


def keys(cluster, pnn=0):
    """[(offered, accepted, pending)] by node."""
    done = cluster.node(pnn).run(["ctdb", "-o", "json", "cluster", "key", "show-id"], timeout=4 * PATIENCE, check=False, **CAPTURE)
    return [(n["offered"], n["accepted"], n["pending"]) for n in json.loads(done.stdout)["nodes"]]


def log(cluster, pnn):
    with open(cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
        return f.read()


def write_key(path, *lines):
    with open(path, "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.writelines(line + "\n" for line in lines)


def read_key(cluster, pnn):
    with open(cluster.node(pnn).file("cluster.key"), encoding="ascii") as f:
        return [line.strip() for line in f if line.strip() and not line.startswith("#")]


def set_option(cluster, pnn, section, line):
    with open(cluster.node(pnn).file("ctdb.conf"), "a", encoding="utf-8") as f:
        f.write(f"[{section}]\n\t{line}\n")


def restart(cluster, pnn):
    cluster.fault(pnn, "shutdown")
    cluster.fault(pnn, "power-on")


# ---- the file ----


def tool(bindir, base, *words):
    return subprocess.run([os.path.join(bindir, "ctdb"), *words], env={**os.environ, "CTDB_BASE": base}, timeout=PATIENCE, check=False, **CAPTURE)


def test_key_is_made_once_and_private(bindir, base):
    path = os.path.join(base, "cluster.key")
    done = tool(bindir, base, "cluster", "key", "create")
    assert done.returncode == 0 and path in done.stdout, done
    with open(path, encoding="ascii") as f:
        text = f.read()
    assert re.fullmatch(r"[0-9a-f]{64}\n", text) and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    done = tool(bindir, base, "cluster", "key", "create")
    assert done.returncode == 1 and f"{path} exists and is not replaced" in done.stderr
    with open(path, encoding="ascii") as f:
        assert f.read() == text
    other = os.path.join(base, "other")
    done = tool(bindir, base, "-o", "json", "cluster", "key", "create", other)
    assert json.loads(done.stdout)["file"] == other
    with open(other, encoding="ascii") as f:
        assert f.read() != text
    assert sorted(os.listdir(base)) == ["cluster.key", "other"]
    assert tool(bindir, base, "cluster", "key", "create", os.path.join(base, "no", "such")).returncode == 1


@pytest.mark.parametrize("content, mode, expected", [
    (None, 0, 'does not exist: make it on one node by "ctdb cluster key create" and copy it to all nodes, or write "security = none" in [transport]'),
    ("ab" * 32 + "\n", 0o640, "has mode 0640, so other users may know the keys: chmod 600 "),
    ("# no key\n", 0o600, "holds no key"),
    ("ab" * 32 + "\n\nxyz\n", 0o600, ":3: is no key: a key is 64 hexadecimal digits, this has 3 characters"),
    (("ab" * 32 + "\n") * 2, 0o600, ":2: the key is already in line 1: remove one"),
])
def test_node_does_not_start_without_a_good_key(bindir, base, content, mode, expected):
    path = os.path.join(base, "cluster.key")
    with open(os.path.join(base, "nodes"), "w", encoding="utf-8") as f:
        f.write("127.20.0.3\n")
    with open(os.path.join(base, "ctdb.conf"), "w", encoding="utf-8") as f:
        f.write("[cluster]\nnode address = 127.20.0.3\n")
    if content is not None:
        write_key(path, content.rstrip("\n"))
        os.chmod(path, mode)
    done = subprocess.run([os.path.join(bindir, "ctdbd"), "-F"], env={**os.environ, "CTDB_BASE": base, "CTDB_LIBEXEC": bindir},
                          timeout=2 * PATIENCE, check=False, **CAPTURE)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert done.stderr.startswith(f"ctdbd: {path}") and expected in done.stderr
    assert "ababab" not in done.stderr
    assert os.listdir(os.path.join(base, "run", "msg")) == []


# ---- clusters ----


@pytest.fixture(scope="module")
def shared(module_factory):
    # A path that is silent for half a dead interval is given up for the other one: the tests want them to stay as they are.
    return module_factory(3, two_addresses=True, extra_config="[cluster]\n\tdead interval = 5s\n")


def test_links_are_secured(cluster):
    for pnn in range(3):
        told = links(cluster, pnn)
        assert (told["security"], told["carrier"], told["interface_version"]) == ("tls", "links", 2)
        assert [(link["pnn"], link["up"], link["version"]) for link in told["links"]] == [(p, True, 2) for p in range(3) if p != pnn]
        offered = {offered for offered, _, _ in keys(cluster)}
        assert len(offered) == 1

        def all_paths(pnn=pnn):
            paths = links(cluster, pnn)["paths"]
            return paths if len(paths) == 4 and all(p["state"] != "down" for p in paths) else None
        paths = wait_until(all_paths, what="all paths to be ready")
        assert {(p["pnn"], p["path"]): (p["connections"], p["security"], p["address"]) for p in paths} == {
            (other, path): (2, "tls", cluster.node(other).addresses[path]) for other in range(3) if other != pnn for path in range(2)}
        # Which of them is in use: the first that was up.
        assert all(sorted(p["state"] for p in paths if p["pnn"] == other) == ["active", "ready"] for other in range(3) if other != pnn)


def test_rotation_on_a_running_cluster(cluster):
    """No link goes down; who is restarted later joins; then only the new key is left."""
    before, (former,) = ups(cluster), {offered for offered, _, _ in keys(cluster)}
    ctdb(cluster, 0, "db", "attach", "rotation.tdb")
    ctdb(cluster, 0, "record", "set", "rotation.tdb", "key", "value")
    answer = json.loads(ctdb(cluster, 1, "-o", "json", "cluster", "key", "rotate"))
    new = answer["id"]
    assert new != former
    assert keys(cluster) == [(new, [new, former], None)] * 3
    assert ups(cluster) == before
    restart(cluster, 2)
    cluster.wait_ready(2 * PATIENCE)
    assert {p["key_id"] for p in links(cluster, 2)["paths"] if p["state"] == "active"} == {new}
    assert ctdb(cluster, 2, "record", "get", "rotation.tdb", "key") == "value"
    assert "not on all nodes" not in fail(cluster, 0, "cluster", "key", "retire", new)
    ctdb(cluster, 2, "cluster", "key", "retire", former)
    assert keys(cluster) == [(new, [new], None)] * 3
    assert f"no node has the key {former}" in fail(cluster, 1, "cluster", "key", "retire", former)
    before = ups(cluster)
    last = json.loads(ctdb(cluster, 0, "-o", "json", "cluster", "key", "rotate", "--retire"))["id"]
    assert keys(cluster, 1) == [(last, [last], None)] * 3 and ups(cluster) == before
    assert len({tuple(read_key(cluster, pnn)) for pnn in range(3)}) == 1
    assert all(stat.S_IMODE(os.stat(cluster.node(pnn).file("cluster.key")).st_mode) == 0o600 for pnn in range(3))
    cluster.fault(1, "kill:dbd")
    cluster.fault(0, "kill:transportd")
    cluster.wait_ready(2 * PATIENCE)
    assert ctdb(cluster, 1, "record", "get", "rotation.tdb", "key") == "value"


def test_rotation_with_a_node_down_is_completed_later(cluster):
    (former,) = {offered for offered, _, _ in keys(cluster)}
    cluster.fault(2, "shutdown")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    for pnn in (0, 1):
        wait_until(lambda pnn=pnn: not next(link for link in links(cluster, pnn)["links"] if link["pnn"] == 2)["up"], what="the link to node 2 to be down")
    said = fail(cluster, 0, "cluster", "key", "rotate")
    assert "node 2: there is no link to it" in said and "run the rotation again" in said
    for offered, accepted, pending in keys(cluster)[:2]:
        assert offered == former and accepted == [former, pending]
    pending = keys(cluster)[0][2]
    assert fail(cluster, 0, "cluster", "key", "rotate").count(pending) == 1  # the same key, not another one
    assert "node 2" in fail(cluster, 1, "cluster", "key", "retire", pending)
    cluster.fault(0, "kill:transportd")  # whoever leads the rotation next does not need to remember
    cluster.fault(2, "power-on")
    cluster.wait_ready(2 * PATIENCE)
    wait_until(lambda: keys(cluster)[2] == (former, [former], None), what="node 2 to tell its keys")
    assert json.loads(ctdb(cluster, 0, "-o", "json", "cluster", "key", "rotate", "--retire"))["id"] == pending
    assert keys(cluster) == [(pending, [pending], None)] * 3


def test_rotations_from_all_nodes_at_the_same_time(cluster):
    """They get in each other's way and say so; but what one node offers all accept, whatever happens."""
    for _ in range(6):
        begun = [cluster.node(pnn).popen(["ctdb", "cluster", "key", "rotate", "--retire"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for pnn in range(3)]
        for process in begun:
            process.communicate(timeout=4 * PATIENCE)
        state = keys(cluster)
        assert all(offered in accepted for offered, _, _ in state for _, accepted, _ in state), state
        cluster.node(0).run(["ctdb", "cluster", "key", "rotate", "--retire"], timeout=4 * PATIENCE, check=True, **CAPTURE)
        ((offered, accepted, _),) = {(o, tuple(a), p) for o, a, p in keys(cluster)}
        assert accepted == (offered,)


def test_wrong_key_stays_out_and_both_say_why(cluster):
    right = read_key(cluster, 2)
    cluster.fault(2, "shutdown")
    write_key(cluster.node(2).file("cluster.key"), OTHER_KEY)
    marks, begin = [len(log(cluster, pnn)) for pnn in range(3)], time.monotonic()
    cluster.fault(2, "power-on")
    cluster.wait_ready(2 * PATIENCE, [0, 1])
    wait_until(lambda: "wrong key: it offers key " in log(cluster, 0)[marks[0]:], what="the line in the log of node 0")
    wait_until(lambda: re.search(r"transport: cannot connect to node 0 .* is our key [0-9a-f]{16} in its key file\?", log(cluster, 2)[marks[2]:]), what="the line in the log of node 2")
    told = links(cluster, 0)["links"]
    assert [link["up"] for link in told] == [True, False]
    reasons = [line for line in log(cluster, 0)[marks[0]:].splitlines() if "wrong key" in line]
    assert not any(OTHER_KEY in log(cluster, pnn) or right[0] in log(cluster, pnn) for pnn in range(3))
    assert all(cluster.node(2).addresses[0] in line or cluster.node(2).addresses[1] in line for line in reasons)
    assert len(reasons) <= 4 + (time.monotonic() - begin) / 5  # limited: it tries many times a second
    # The right file, and a signal: no restart is needed.
    write_key(cluster.node(2).file("cluster.key"), *right)
    cluster.node(2).signal_program("ctdbd", signal.SIGHUP)
    cluster.wait_ready(2 * PATIENCE)
    assert keys(cluster, 2) == [keys(cluster, 2)[0]] * 3


def test_bad_key_file_changes_nothing(cluster):
    """A signal with a file that is not good: links and keys stay as they were, and a rotation is refused."""
    right, before = read_key(cluster, 1), keys(cluster, 1)
    mark = len(log(cluster, 1))
    write_key(cluster.node(1).file("cluster.key"), "rubbish")
    cluster.node(1).signal_program("ctdbd", signal.SIGHUP)
    wait_until(lambda: "the keys stay as they were: " in log(cluster, 1)[mark:], what="the line in the log")
    assert "cluster.key:1: is no key" in log(cluster, 1)[mark:]
    assert keys(cluster, 1) == before
    assert "node 1: it refuses its key file" in fail(cluster, 0, "cluster", "key", "rotate")
    write_key(cluster.node(1).file("cluster.key"), *right)
    ctdb(cluster, 0, "cluster", "key", "rotate", "--retire")
    assert len(set(map(str, keys(cluster, 1)))) == 1


def test_node_without_tls_stays_out_and_both_say_why(cluster):
    conf = cluster.node(2).file("ctdb.conf")
    with open(conf, encoding="utf-8") as f:
        right = f.read()
    cluster.fault(2, "shutdown")
    set_option(cluster, 2, "transport", "security = none")
    marks = [len(log(cluster, pnn)) for pnn in range(3)]
    cluster.fault(2, "power-on")
    wait_until(lambda: "does not speak TLS" in log(cluster, 0)[marks[0]:], what="the line in the log of node 0")
    wait_until(lambda: "security = none in [transport]: links between nodes are neither encrypted nor authenticated" in log(cluster, 2)[marks[2]:],
               what="the warning in the log of node 2")
    cluster.fault(2, "shutdown")
    with open(conf, "w", encoding="utf-8") as f:
        f.write(right)
    cluster.fault(2, "power-on")
    cluster.wait_ready(2 * PATIENCE)


def test_cluster_without_tls_says_so(cluster_factory):
    cluster = cluster_factory(2, tls=False)
    assert not os.path.exists(cluster.node(0).file("cluster.key"))
    told = links(cluster, 0)
    assert told["security"] == "none" and "neither encrypted nor authenticated" in told["warning"]
    assert [(p["security"], p["key_id"]) for p in told["paths"] if p["state"] == "active"] == [("none", None)]
    # A status does without what is not answered within 2 s.
    wait_until(lambda: "neither encrypted nor authenticated" in ctdb(cluster, 1, "cluster", "status"), what="the warning")
    wait_until(lambda: json.loads(ctdb(cluster, 1, "-o", "json", "cluster", "status")).get("security") == "none", what="the same in JSON")
    assert "there are no keys to change" in fail(cluster, 0, "cluster", "key", "rotate")
    assert "security = none" in fail(cluster, 0, "cluster", "key", "show-id")


def test_node_of_the_version_before(cluster_factory):
    """An upgrade goes node by node: one that speaks version 1 works with the others, messages and databases."""
    cluster = cluster_factory(3)
    ctdb(cluster, 0, "db", "attach", "upgrade.tdb")
    ctdb(cluster, 0, "db", "attach", "kept.tdb", "--model", "persistent")
    cluster.fault(1, "shutdown")
    set_option(cluster, 1, "transport", "interface version = 1")
    cluster.fault(1, "power-on")
    cluster.wait_ready(2 * PATIENCE)
    assert {link["pnn"]: link["version"] for link in links(cluster, 0)["links"]} == {1: 1, 2: 2}
    assert {link["version"] for link in links(cluster, 1)["links"]} == {1}
    wait_until(lambda: [p["connections"] for p in links(cluster, 0)["paths"] if p["state"] == "active"] == [1, 2], what="the connections")
    for step in range(6):
        ctdb(cluster, step % 3, "record", "set", "upgrade.tdb", "key", str(step))
        assert ctdb(cluster, (step + 1) % 3, "record", "get", "upgrade.tdb", "key") == str(step)
        ctdb(cluster, step % 3, "record", "set", "kept.tdb", "key", str(step))
        assert ctdb(cluster, (step + 2) % 3, "record", "get", "kept.tdb", "key") == str(step)
    listener = cluster.node(1).popen(["ctdb", "-o", "json", "message", "listen", "0x77000001", "--count", "1"], stdout=subprocess.PIPE,
                                     stdin=subprocess.DEVNULL, text=True)
    try:
        def sent():
            ctdb(cluster, 0, "message", "send", "all", "0x77000001", "hello")
            return listener.poll() is not None
        wait_until(sent, what="the message to arrive")
        assert "hello" in listener.stdout.read()
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()
    answer = json.loads(ctdb(cluster, 1, "-o", "json", "cluster", "key", "rotate"))
    assert {offered for offered, _, _ in keys(cluster, 2)} == {answer["id"]}
