"""libctdbapi against this project's daemons and against Debian's ctdbd: the same cases, the same expectations (api_suite.c).

What differs between the two systems, and why a case allows it (api_suite knows by its first argument which one it talks to):

| case | new | old | reason |
| --- | --- | --- | --- |
| verdict | one line of text | EREMOTEIO | a control that is ours alone |
| interface | the endpoint's answer, here ENOENT: no such endpoint | ENOSYS | the gateway to the daemons' interfaces is ours alone |
"""

import os
import subprocess

import pytest
from support import SLOW, TOP

CASE_LIMIT = 600 if SLOW else 200
# The old daemon needs half a minute for its recoveries: once is enough.
ONCE_ON_OLD = ("events_stop", "killed_in_commit")


def program(request):
    return os.path.join(TOP, request.config.getoption("--build"), "test", "interop", "api_suite")


def listed(config):
    """{case: nodes that it needs}. Without a build pytest has nothing to list; the test then fails for that reason."""
    path = os.path.join(TOP, config.getoption("--build"), "test", "interop", "api_suite")
    if not os.access(path, os.X_OK):
        return {}
    lines = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: int(nodes) for name, nodes in (line.split() for line in lines)}


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    cases = listed(metafunc.config) or {"no_build": 1}
    # All with one cluster one after the other.
    grid = [(system, nodes, name, mode) for system in ("new", "old") for nodes in (3, 1) for name in cases if cases[name] <= nodes
            for mode in ("sync", "async") if not (system == "old" and mode == "async" and name in ONCE_ON_OLD)]
    metafunc.parametrize("system, nodes, case, mode", grid, ids=[f"{s}-{n}-{c}-{m}" for s, n, c, m in grid])


def test_case(request, systems, system, nodes, case, mode):
    path = program(request)
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is missing: run make first")
    cluster = systems.get(system, nodes)
    sockets = [node.file("run", "ctdbd.socket") for node in cluster.nodes]
    done = subprocess.run([path, system, mode, case, *sockets], capture_output=True, text=True, timeout=CASE_LIMIT, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0 or case in ("daemon_killed", "killed_in_commit", "events_stop", "timeout"):
        systems.disturb(cluster)
    if done.returncode != 0:
        systems.factory.show_logs()
    assert done.returncode == 0, done.stderr
