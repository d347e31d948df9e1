"""What all tests with more than one process share: where the programs are, waiting, clusters that never outlive their test."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)

from autocluster import cluster as clusters  # noqa: E402
from autocluster import state  # noqa: E402
from autocluster.process import Process, kill_all, with_environment  # noqa: E402

# Sanitizers and valgrind make everything slower: generous limits, never reached when all is well.
PATIENCE = 30
TEST_TOKEN = "CTDB_TEST_RUN"


def pytest_addoption(parser):
    parser.addoption("--build", default=os.environ.get("CTDB_BUILD", "build"), help="meson build directory")
    parser.addoption("--bindir", default=None, help="directory of the programs (default: bin in the build directory)")
    parser.addoption("--debian-ctdb", default=None, help="run the cluster tests against Debian's ctdbd, unpacked there")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes longer than a minute, or tests nothing that sanitizers could find")
    config.addinivalue_line("markers", "valgrind: also run under valgrind")
    # The environment of everything that the tests start: leftovers are found by it.
    os.environ[TEST_TOKEN] = f"{os.getpid()}"
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("terminated", 128 + number))
    _remove_leftovers()


def pytest_unconfigure(config):
    _remove_leftovers(own=True)


def _test_cluster_pid(name):
    match = re.fullmatch(r"t(\d+)-\w+", name)
    return int(match.group(1)) if match else None


def _remove_leftovers(own=False):
    """Clusters of test runs that were killed (and our own at the end)."""
    for name in state.names():
        pid = _test_cluster_pid(name)
        if pid and (own and pid == os.getpid() or not Process(pid).alive()):
            clusters.down(name)
    if own:
        kill_all(lambda: [p for p in with_environment(TEST_TOKEN, str(os.getpid())) if p.pid != os.getpid()])


def wait_until(condition, timeout=PATIENCE, what="the condition"):
    """Polls until condition() is true and returns its value; fails the test after the time-out. what: text or function for the message."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout} s in vain for {what() if callable(what) else what}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def bindir(request):
    """Directory of all programs."""
    path = request.config.getoption("--bindir") or os.path.join(request.config.getoption("--build"), "bin")
    path = os.path.join(TOP, path)
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is missing: run make first")
    return path


@pytest.fixture
def base(tmp_path_factory):
    """An empty directory with a short path (socket paths are limited to 107 characters), removed after the test."""
    path = tempfile.mkdtemp(prefix="ct", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


class ClusterFactory:
    """Makes clusters with unique names; knows all that it made."""

    def __init__(self, config, bindir_path):
        self.config, self.bindir = config, bindir_path
        self.made = []

    def __call__(self, nodes=3, **options):
        debian = self.config.getoption("--debian-ctdb")
        options.setdefault("mode", "loopback")
        bindir_path = None if debian else self.bindir
        cluster = clusters.Cluster.new(f"t{os.getpid()}-{_next()}", nodes, bindir=bindir_path, debian=debian, **options)
        self.made.append(cluster)
        cluster.up(timeout=120)
        return cluster

    def show_logs(self):
        for cluster in self.made:
            for node in cluster.nodes:
                print(f"==== {cluster.name} node {node.pnn}\n{node.log_tail(60)}")

    def remove(self):
        for cluster in self.made:
            cluster.down()


_numbers = iter(range(1, 1 << 30))


def _next():
    return next(_numbers)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call" and outcome.get_result().failed:
        for name in ("cluster_factory", "module_factory"):
            factory = getattr(item, "funcargs", {}).get(name)
            if factory:
                factory.show_logs()


@pytest.fixture
def cluster_factory(request):
    """cluster_factory(nodes=3, mode="loopback", ...): a running cluster (autocluster.cluster.Cluster), removed after the test."""
    factory = ClusterFactory(request.config, _bindir_or_none(request))
    yield factory
    factory.remove()


@pytest.fixture(scope="module")
def module_factory(request):
    """As cluster_factory, but the clusters live as long as the test file."""
    factory = ClusterFactory(request.config, _bindir_or_none(request))
    yield factory
    factory.remove()


def _bindir_or_none(request):
    return None if request.config.getoption("--debian-ctdb") else request.getfixturevalue("bindir")


@pytest.fixture(scope="session")
def need_root():
    if os.getuid() != 0:
        pytest.skip("needs root (network namespaces)")


def need_programs(*programs):
    """Skips if programs are not installed; with root that is make deps' fault and fails."""
    missing = [p for p in programs if not shutil.which(p, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing and os.getuid() == 0:
        pytest.fail(f"missing: {', '.join(missing)}; run make deps")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


def output(done):
    """Standard output of a finished command that has to have succeeded."""
    if done.returncode != 0:
        pytest.fail(f"{done.args} ended with status {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


CAPTURE = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
