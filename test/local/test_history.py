"""History checks: clients on all nodes increment counters while things break; no acknowledged increment may be lost or counted twice."""

import os
import subprocess
import time

import pytest
from support import PATIENCE, TOP, output

KEYS = 3
SECONDS = 6
POWER_SECONDS = 12  # a node without power is noticed meanwhile


class Counters:
    """One client on each node, working for so many seconds."""

    def __init__(self, cluster, program, name, model, seconds=SECONDS):
        self.cluster, self.name = cluster, name
        self.clients = [cluster.node(pnn).popen([program, name, model, str(KEYS), str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                        for pnn in range(3)]
        self.acknowledged, self.unsure = [0] * KEYS, [0] * KEYS
        self.stories = []

    def finish(self, killed=(), outcast=()):
        """
        killed: nodes that lost power; what their clients could have told is not known. outcast: nodes that the others went on without: in a volatile database
        what their clients did to a record since it came there is lost with it, so these increments may or may not be there.
        """
        for pnn, client in enumerate(self.clients):
            out, err = client.communicate(timeout=4 * PATIENCE)
            self.stories.append(f"node {pnn}: {err.strip()}")
            if pnn in killed:
                continue
            assert client.returncode == 0, err
            for line in out.splitlines():
                key, acknowledged, unsure = (int(word) for word in line.split())
                self.acknowledged[key] += 0 if pnn in outcast else acknowledged
                self.unsure[key] += unsure + (acknowledged if pnn in outcast else 0)

    def check(self, exact):
        for key in range(KEYS):
            value = int(output(self.cluster.node(0).run(["ctdb", "record", "get", self.name, f"c{key}"], timeout=4 * PATIENCE, check=False,
                                                        capture_output=True, text=True)))
            story = f"c{key} is {value}, acknowledged {self.acknowledged[key]}, unsure {self.unsure[key]}\n" + "\n".join(self.stories)
            print(story)
            assert value >= self.acknowledged[key], f"lost: {story}"
            if exact:
                assert value <= self.acknowledged[key] + self.unsure[key], f"counted twice: {story}"
        assert sum(self.acknowledged) > 0


@pytest.fixture(scope="module")
def program(request):
    path = os.path.join(TOP, request.config.getoption("--build"), "test", "local", "counter")
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is missing: run make first")
    return path


@pytest.fixture(scope="module")
def shared(module_factory):
    """Where a lost node is to be noticed while the clients work."""
    return module_factory(3, extra_config="[cluster]\n\tdead interval = 3s\n")


@pytest.fixture(scope="module")
def shared_patient(module_factory):
    """Daemons that are started again within the dead interval, also on a machine with much to do."""
    return module_factory(3, extra_config="[cluster]\n\tdead interval = 5s\n")


@pytest.fixture
def patient(shared_patient):
    shared_patient.wait_ready(2 * PATIENCE)
    return shared_patient


def spread(steps, seconds=SECONDS):
    """Carries out the steps spread over the time that the clients work."""
    for step in steps:
        time.sleep(seconds / (len(steps) + 1))  # not a wait for anything: the load has to meet the fault in the middle
        step()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["volatile", "replicated", "persistent"])
def test_nothing_breaks(patient, program, model):
    cluster = patient
    counters = Counters(cluster, program, f"quiet-{model}.tdb", model)
    counters.finish()
    counters.check(exact=True)
    assert sum(counters.unsure) == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["volatile", "replicated", "persistent"])
@pytest.mark.parametrize("daemon", ["ctdb-dbd", "ctdb-clusterd", "ctdb-transportd"])
def test_daemons_are_killed(patient, program, model, daemon):
    cluster = patient
    counters = Counters(cluster, program, f"{daemon}-{model}.tdb", model)
    spread([lambda pnn=pnn: cluster.fault(pnn, f"kill:{daemon}") for pnn in (1, 0, 2)])
    counters.finish()
    cluster.wait_ready(2 * PATIENCE)
    counters.check(exact=True)
    if daemon != "ctdb-dbd":
        assert sum(counters.unsure) == 0, counters.stories  # clients do not notice


@pytest.mark.slow
@pytest.mark.parametrize("model", ["replicated", "persistent"])
def test_power_cut_in_the_middle_of_commits(cluster, program, model):
    counters = Counters(cluster, program, f"power-{model}.tdb", model, POWER_SECONDS)
    spread([lambda: cluster.fault(2, "power-off"), lambda: cluster.fault(2, "power-on")], POWER_SECONDS)
    counters.finish(killed=[2])
    cluster.wait_ready(2 * PATIENCE)
    counters.check(exact=False)


@pytest.mark.slow
@pytest.mark.parametrize("daemon", ["ctdb-dbd", "ctdb-clusterd", "ctdb-transportd"])
def test_paused_daemon(request, program, daemon):
    # A dbd that stands still does not cost its node the lease; else its clients' work could be lost.
    cluster = request.getfixturevalue("patient" if daemon == "ctdb-dbd" else "cluster")
    counters = Counters(cluster, program, f"paused-{daemon}.tdb", "volatile", POWER_SECONDS)
    spread([lambda: cluster.fault(1, f"stop:{daemon}"), lambda: None, lambda: cluster.fault(1, f"cont:{daemon}")], POWER_SECONDS)
    counters.finish(outcast=[] if daemon == "ctdb-dbd" else [1])
    cluster.wait_ready(2 * PATIENCE)
    counters.check(exact=True)
