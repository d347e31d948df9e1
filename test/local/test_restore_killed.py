"""A restore of a volatile database of which a part dies: all of it or nothing, or the tool says that old and new may be mixed. Unless it is the tool that dies."""

import random
import time

import pytest
from support import CALM, CAPTURE, PATIENCE, output, wait_until
from test_readonly import Node

N = 200
ROUNDS = 5
KEYS = [b"key%d" % i for i in range(N)]
SEED = 5


@pytest.fixture(scope="module")
def cluster(module_factory):
    return module_factory(3, extra_config=CALM)


def restore(cluster, path):
    return cluster.node(0).popen(["ctdb", "db", "restore", path], stdout=-3, stderr=-1, stdin=-3, text=True)


def state(cluster, name):
    """("old", "new" or "mixed", the values of all keys as node 0 reads them)"""
    cluster.wait_ready(2 * PATIENCE)
    node = Node(cluster, 0, name, readonly=False)
    values = {node.read(key)[1] for key in KEYS}
    node.close()
    return values.pop().decode() if len(values) == 1 else f"mixed: {sorted(values)}"


def write(cluster, name, value):
    for pnn in range(3):
        node = Node(cluster, pnn, name, readonly=False)
        for key in KEYS[pnn::3]:
            node.write(key, value)
        node.close()


def prepared(cluster, name, path):
    write(cluster, name, b"new")
    output(cluster.node(0).run(["ctdb", "db", "backup", name, path], timeout=4 * PATIENCE, check=False, **CAPTURE))
    begin = time.monotonic()
    assert restore(cluster, path).wait(4 * PATIENCE) == 0
    write(cluster, name, b"old")
    return time.monotonic() - begin


@pytest.mark.parametrize("victim", ["ctdb-dbd", "ctdb-db-worker"])
def test_daemon_is_killed(cluster, base, victim):
    chance, seen = random.Random(SEED), []
    name, path = f"{victim}.tdb", f"{base}/backup"
    lasts = prepared(cluster, name, path)
    for i in range(ROUNDS):
        tool = restore(cluster, path)
        time.sleep(lasts * 2 ** -i * chance.uniform(0.5, 1))  # the fault has to come somewhere in it, where most happens early
        for process in cluster.node(1).find_program(victim)[:4]:
            process.kill()  # and its end: who looks at the cluster afterwards is not to find it alive
        _, err = tool.communicate(timeout=8 * PATIENCE)
        now = state(cluster, name)
        seen.append((tool.returncode, now))
        if tool.returncode == 0:
            assert now == "new", err
        elif "may be mixed" not in err:
            assert now == "old", err
        write(cluster, name, b"old")
    print(seen)
    assert output(cluster.node(0).run(["ctdb", "db", "check", name], timeout=4 * PATIENCE, check=False, **CAPTURE)).startswith("OK")


def test_tool_is_killed(cluster, base):
    """Killed between the commits of two nodes it leaves old and new records mixed, and nobody who could say so; the next restore puts that right. The freeze that it left
    ends after two minutes, with a recovery, or by hand."""
    chance, seen = random.Random(SEED), []
    name, path = "tool.tdb", f"{base}/backup"
    lasts = prepared(cluster, name, path)
    for i in range(ROUNDS):
        tool = restore(cluster, path)
        time.sleep(lasts * 2 ** -i * chance.uniform(0.5, 1))  # the fault has to come somewhere in it, where most happens early
        tool.kill()
        tool.communicate(timeout=4 * PATIENCE)
        wait_until(lambda: cluster.node(0).run(["ctdb", "db", "thaw", name], timeout=4 * PATIENCE, check=False, **CAPTURE).returncode == 0, 4 * PATIENCE,
                   "the end of the freeze")
        seen.append(state(cluster, name))
        # Mixed or not: each record has one owner, and no copy is newer.
        assert output(cluster.node(0).run(["ctdb", "db", "check", name], timeout=4 * PATIENCE, check=False, **CAPTURE)).startswith("OK")
        assert restore(cluster, path).wait(4 * PATIENCE) == 0
        assert state(cluster, name) == "new"
        assert output(cluster.node(0).run(["ctdb", "db", "check", name], timeout=4 * PATIENCE, check=False, **CAPTURE)).startswith("OK")
        write(cluster, name, b"old")
    print(seen)
