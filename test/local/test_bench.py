"""ctdb-bench: each workload for a moment, on this project's daemons and on Debian's; and what bench/quick makes of the results."""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from olddaemon import find_debian_root
from support import CALM, PATIENCE, TOP, ClusterFactory, wait_until

NODES = 2
LIMIT = 10 * PATIENCE
SHORT = ["--ms", "500"]


class System:
    """A cluster, and ctdb-bench on all its nodes at once."""

    def __init__(self, cluster, bindir):
        self.cluster, self.bench = cluster, os.path.join(bindir, "ctdb-bench")

    def run(self, *argv, nodes=NODES):
        argv = [self.bench, *argv, *(["--nodes", str(nodes)] if nodes > 1 else []), "--json"]
        running = [node.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) for node in self.cluster.nodes[:nodes]]
        try:
            said = [process.communicate(timeout=LIMIT) for process in running]
        finally:
            for process in running:
                process.kill()
                process.wait()
        assert [process.returncode for process in running] == [0] * nodes, said
        results = [json.loads(text) for text, _ in said]
        assert [result["pnn"] for result in results] == list(range(nodes))
        assert {result["benchmark"] for result in results} == {argv[1]}
        return results


@pytest.fixture(scope="module", params=["ours", "Debian's"])
def system(request):
    bindir = request.getfixturevalue("bindir")
    factory = ClusterFactory(request.config, bindir)
    debian = find_debian_root(request.config) if request.param == "Debian's" else None
    yield System(factory(NODES, debian=debian, extra_config=CALM), bindir)
    factory.remove()


def done(results):
    return sum(result["operations_all"] for result in results)


def check_rates(results):
    assert done(results) > 0
    for result in results:
        latency = result["latency_us"]
        assert result["operations"] <= result["operations_all"]
        assert result["per_second"] == pytest.approx(result["operations"] / result["seconds"])
        assert latency["p50"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
        assert sum(n for _, n in latency["steps"]) == latency["n"]
        assert result["daemon_cpu_s"] >= 0


def _ring(system, workload, *options):
    """One client begins; if it is not given the processor as long as this is measured, nobody does anything."""
    def tried():
        results = system.run(workload, *SHORT, *options)
        return results if sum(result["operations_all"] for result in results) > 0 else None
    return wait_until(tried, what="an operation")


@pytest.mark.parametrize("workload", ["message-ring", "fetch-ring"])
def test_ring(system, workload):
    results = _ring(system, workload)
    check_rates(results)
    # One token passes the nodes in turn: none can be more than the tokens ahead of another.
    counts = [result["operations_all"] for result in results]
    assert max(counts) - min(counts) <= 3


@pytest.mark.parametrize("workload", ["message-ring", "fetch-ring"])
def test_ring_of_relays(system, workload):
    results = _ring(system, workload, "--relay")
    check_rates(results)
    assert all(result["relay"] for result in results)
    counts = [result["operations_all"] for result in results]
    assert max(counts) - min(counts) <= 3


def test_relays_know_one_client(system):
    node = system.cluster.nodes[0]
    process = node.popen([system.bench, "fetch-ring", "--relay", "--clients", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert process.communicate(timeout=LIMIT) == ("", "ctdb-bench fetch-ring: --relay has one client on each node\n")
    assert process.returncode == 1


def test_fetch_hot_loses_nothing(system):
    results = system.run("fetch-hot", *SHORT, "--clients", "3")
    check_rates(results)
    assert {result["counter_after"] - result["counter_before"] for result in results} == {done(results)}


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def gate(listener, target, n):
    """So many connections get through to the daemon, the next one does not."""
    for _ in range(n):
        ends = listener.accept()[0], socket.socket(socket.AF_UNIX)
        ends[1].connect(target)
        for pair in (ends, ends[::-1]):
            threading.Thread(target=pump, args=pair, daemon=True).start()
    listener.accept()[0].close()
    listener.close()


def test_a_client_that_fails_ends_the_run(system, base):
    """Before all are ready: those that are do not keep the others waiting."""
    path, node = os.path.join(base, "gate"), system.cluster.node(0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        thread = threading.Thread(target=gate, args=(listener, node.file("run", "ctdbd.socket"), 3))
        thread.start()
        ended = node.run(["env", f"CTDB_SOCKET={path}", system.bench, "fetch-hot", "--nodes", "1", "--clients", "3"], capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
        thread.join(PATIENCE)
    assert ended.returncode == 1 and "a client failed" in ended.stderr, ended.stderr
    assert ended.stdout == ""


def test_locks_exclude(system):
    """What the lock protects is read in one step and written in another."""
    results = system.run("glock", *SHORT, "--clients", "2", "--check")
    check_rates(results)
    assert {result["counter_after"] - result["counter_before"] for result in results} == {done(results)}


def test_locks_of_their_own(system):
    results = system.run("glock", *SHORT, "--clients", "2", "--own")
    check_rates(results)
    assert sum(result["waits"] for result in results) == 0


@pytest.mark.parametrize("api", [[], ["--api"]], ids=["samba", "api"])
@pytest.mark.parametrize("model", [[], ["--replicated"]], ids=["persistent", "replicated"])
def test_transactions_are_counted_once(system, model, api):
    results = system.run("transaction", "--ms", "1000", *model, *api)
    check_rates(results)
    assert {result["seqnum_after"] - result["seqnum_before"] for result in results} == {done(results)}


def test_transactions_on_databases_of_their_own(system):
    results = system.run("transaction", "--ms", "1000", "--own")
    check_rates(results)
    for result in results:
        assert result["seqnum_after"] - result["seqnum_before"] == result["operations_all"]


@pytest.mark.parametrize("way", ["file", "api"])
def test_local(system, way):
    result, = system.run("local", "--ms", "120", *(["--api"] if way == "api" else []), nodes=1)
    assert result["bare"]["of_bare"] == pytest.approx(1)
    assert result[way]["per_cpu_second"] > 0
    assert result[way]["of_bare"] > 0


def test_connections(system):
    results = system.run("connections", "--ms", "1000", "--connections", "20", "--waiting", "5")
    wanted = results[0]["wanted"]
    assert wanted["clients"] == 5 and results[0]["idle"]["connections"] == 15
    assert wanted["least"] <= wanted["median"] <= wanted["greatest"]
    assert "idle" not in results[1] and results[1]["wanted"]["clients"] == 1


def test_vacuum(system):
    for result in system.run("vacuum", "--records", "50", "--limit", "1", "--quiet-ms", "100"):
        assert 0 <= result["left"] <= 50
        assert result["left"] == 0 or result["seconds_until_gone"] == -1


@pytest.mark.parametrize("load", [[], ["--owners-only"]], ids=["known", "owners-only"])
def test_recovery_keeps_all_records(system, load):
    results = system.run("recovery", "--records", "300", "--small", "3", "--rounds", "1", "--quiet-ms", "100", *load)
    assert sum(result["owned_before"] for result in results) == 300
    assert sum(result["owned_after"] for result in results) == 300
    assert all(len(result["rounds"]) == 1 and result["rounds"][0]["wait_us"]["large"]["n"] >= 0 for result in results)
    assert max(result["rounds"][0]["frozen_ms"] for result in results) > 0


# ---- without a cluster ----

@pytest.mark.parametrize("argv, complaint", [
    (["fetch-ring", "--no-such-thing"], "--no-such-thing is not an option of it"),
    (["fetch-ring", "--nodes", "0"], "--nodes 0: must be a whole number from 1"),
    (["glock", "--own", "--check"], "exclude each other"),
    (["connections", "--connections", "5", "--waiting", "6"], "--waiting is a part of --connections"),
])
def test_wrong_arguments(bindir, argv, complaint):
    ended = subprocess.run([os.path.join(bindir, "ctdb-bench"), *argv], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert ended.returncode == 2 and complaint in ended.stderr


@pytest.mark.parametrize("argv", [["--help"], ["codec", "--help"]])
def test_output_that_cannot_be_written(bindir, argv):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([os.path.join(bindir, "ctdb-bench"), *argv], stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 1 and "No space left" in done.stderr, done.stderr


@pytest.mark.parametrize("workload", ["message-ring", "fetch-ring", "fetch-hot", "local", "glock", "transaction", "recovery", "vacuum", "connections"])
def test_no_daemon(bindir, base, workload):
    path = os.path.join(base, "nobody")
    ended = subprocess.run([os.path.join(bindir, "ctdb-bench"), workload], capture_output=True, text=True, timeout=LIMIT, check=False,
                           env={**os.environ, "CTDB_SOCKET": path})
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"ctdb-bench {workload}: {path}: No such file or directory")


def test_sync_takes_as_long_as_the_file_says(request, base):
    """The library that is preloaded into daemons. That a sleep is not too short is all that can be said about time."""
    shim = os.path.join(TOP, request.config.getoption("--build"), "bench", "ctdb-bench-sync.so")
    delay = os.path.join(base, "ms")
    program = ("import mmap, os, sys, time; f = open(sys.argv[1], 'w+b'); f.write(b'x' * 4096); f.flush()\n"
               "begin = time.monotonic(); os.fsync(f.fileno()); os.fdatasync(f.fileno()); mmap.mmap(f.fileno(), 4096).flush()\nprint(time.monotonic() - begin)")
    with open(delay, "w", encoding="ascii") as f:
        f.write("40\n")
    ended = subprocess.run([sys.executable, "-c", program, os.path.join(base, "data")], capture_output=True, text=True, timeout=LIMIT, check=True,
                           env={**os.environ, "LD_PRELOAD": shim, "CTDB_BENCH_SYNC_FILE": delay})
    assert ended.stderr == "" and float(ended.stdout) >= 0.12


@pytest.fixture(scope="module")
def quick():
    loader = importlib.machinery.SourceFileLoader("bench_quick", os.path.join(TOP, "bench", "quick"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_quick", loader))
    loader.exec_module(module)
    return module


def test_quick_merges_percentiles(quick):
    node0 = {"steps": [[1.0, 90], [10.0, 10]], "max": 9.5}
    node1 = {"steps": [[1.0, 99], [100.0, 1]], "max": 100.0}
    assert quick.percentile([node0, node1], 50) == 1.0
    assert quick.percentile([node0, node1], 99) == 10.0
    assert quick.percentile([node0, node1], 99.9) == 100.0
    assert quick.percentile([{"steps": [], "max": 0.0}], 50) == 0.0


def test_quick_refuses_figures_that_cannot_be_right(quick):
    good = [{"operations_all": 3, "before": 1, "after": 6}, {"operations_all": 2, "before": 1, "after": 6}]
    quick.check_counted("x", good, "before", "after")
    with pytest.raises(quick.Failed, match="5 operations were done, but 4"):
        quick.check_counted("x", [{**result, "after": 5} for result in good], "before", "after")


def test_quick_judges_by_medians(quick):
    case = quick.Case("x", [], None, [("rate", "rate", "", quick.at_least(3))])
    table = quick.Table()
    for ours, debian in ((20, 10), (40, 10), (35, 10)):
        table.add(case, quick.OURS, {"rate": ours})
        table.add(case, quick.DEBIAN, {"rate": debian})
    row, = table.rows(case)
    assert row["ratio"] == 3.5 and row["reached"] is True
    table.add(case, quick.OURS, {"rate": 1})
    table.add(case, quick.OURS, {"rate": 1})
    row, = table.rows(case)
    assert row["ratio"] == 2.0 and row["reached"] is False
    assert "NO" in table.text([case])
