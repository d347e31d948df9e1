"""What all tests with more than one process share: where the programs are, waiting, clusters that never outlive their test."""

import os
import shutil
import signal
import sys
import tempfile

import pytest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from support import CALM, PATIENCE, TEST_TOKEN, TOP, ClusterFactory, remove_leftovers  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default=os.environ.get("CTDB_BUILD", "build"), help="meson build directory")
    parser.addoption("--bindir", default=None, help="directory of the programs (default: bin in the build directory)")
    parser.addoption("--debian-ctdb", default=None, help="run the cluster tests against Debian's ctdbd, unpacked there")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes longer than a minute, or tests nothing that sanitizers could find")
    config.addinivalue_line("markers", "valgrind: also run under valgrind, and with sanitizers by make test")
    # The environment of everything that the tests start: leftovers are found by it.
    os.environ[TEST_TOKEN] = f"{os.getpid()}"
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("terminated", 128 + number))
    remove_leftovers()


def pytest_unconfigure(config):
    remove_leftovers(own=True)


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


@pytest.fixture(scope="module")
def shared(module_factory):
    """Three nodes for a whole file; a file that needs others has a fixture of this name itself."""
    return module_factory(3, extra_config=CALM)


@pytest.fixture
def cluster(shared):
    """The same, serving: for tests that leave it as it was."""
    shared.wait_ready(2 * PATIENCE)
    return shared


@pytest.fixture(autouse=True)
def shared_clusters_stay_usable(request):
    """The test that breaks a cluster of its file fails, and no other: those that come are skipped."""
    factories = [request.getfixturevalue(name) for name in ("module_factory", "systems") if name in request.fixturenames]
    for factory in factories:
        if factory.broken:
            pytest.skip(f"{factory.broken} left the cluster unusable")
    yield
    for factory in factories:
        factory.check(request.node.name)


def _bindir_or_none(request):
    return None if request.config.getoption("--debian-ctdb") else request.getfixturevalue("bindir")


@pytest.fixture(scope="session")
def need_root():
    if os.getuid() != 0:
        pytest.skip("needs root (network namespaces)")
