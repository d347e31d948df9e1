"""Helpers of the tests with more than one process: waiting, clusters with unique names, leftovers."""

import os
import re
import shutil
import subprocess
import time

import pytest
import tdbfiles
from autocluster import cluster as clusters
from autocluster import state
from autocluster.errors import ClusterError
from autocluster.process import Process, kill_all, with_environment

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Sanitizers and valgrind make everything slower: generous limits, never reached when all is well.
SLOW = bool(os.environ.get("CTDB_TEST_SLOW"))
PATIENCE = 120 if SLOW else 30
# Nodes that run under a checker are too slow for the usual heartbeats.
SLOW_CONFIG = "[cluster]\n\theartbeat interval = 1s\n\tdead interval = 10s\n"
# The machine that runs the tests has other work, too: with the usual second a node that nobody harms would now and then be without a lease.
BUSY_CONFIG = "[cluster]\n\tdead interval = 3s\n"
# A machine that stands still for seconds costs no node its lease. For all clusters but those whose tests need that a lost node is noticed soon.
CALM = "[cluster]\n\tdead interval = 6s\n"
TEST_TOKEN = "CTDB_TEST_RUN"
CAPTURE = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}


def _test_cluster_pid(name):
    match = re.fullmatch(r"t(\d+)-\w+", name)
    return int(match.group(1)) if match else None


def remove_leftovers(own=False):
    """Clusters of test runs that were killed (and our own at the end)."""
    for name in state.names():
        pid = _test_cluster_pid(name)
        if pid and (own and pid == os.getpid() or not Process(pid).alive()):
            clusters.down(name)
    if own:
        kill_all(lambda: [p for p in with_environment(TEST_TOKEN, str(os.getpid())) if p.pid != os.getpid()])


_numbers = iter(range(1, 1 << 30))


def _next():
    return next(_numbers)


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


def _with_intervals(config):
    """What the test itself wants counts more than what is for all, and less than what a checker needs. An option may be given once."""
    if SLOW:
        return re.sub(r"^\s*(?:heartbeat|dead) interval = .*\n", "", config, flags=re.MULTILINE) + SLOW_CONFIG
    return config if "dead interval" in config else config + BUSY_CONFIG


class ClusterFactory:
    """Makes clusters with unique names; knows all that it made."""

    def __init__(self, config, bindir_path):
        self.config, self.bindir = config, bindir_path
        self.made = []
        self.broken = None  # which test left a cluster of ours unusable

    def __call__(self, nodes=3, **options):
        debian = options.pop("debian", self.config.getoption("--debian-ctdb"))
        options.setdefault("mode", "loopback")
        if debian:
            options["extra_config"] = options.get("extra_config", "").replace(CALM, "")  # it has no such option
        else:
            options["extra_config"] = _with_intervals(options.get("extra_config", ""))
        bindir_path = None if debian else self.bindir
        cluster = clusters.Cluster.new(f"t{os.getpid()}-{_next()}", nodes, bindir=bindir_path, debian=debian, **options)
        self.made.append(cluster)
        cluster.up(timeout=4 * PATIENCE)
        return cluster

    def check(self, test):
        """All nodes of all clusters are on and serve, without a flag; otherwise it was this test, and those that come are told."""
        for cluster in self.made:
            try:
                off = sorted({node.pnn for node in cluster.nodes} - cluster.running())
                if off:
                    raise ClusterError(f"node {', '.join(map(str, off))} is off")
                cluster.wait_ready(2 * PATIENCE)
            except ClusterError as e:
                self.broken = test
                self.show_logs()
                pytest.fail(f"this test left cluster {cluster.name}, which others use, in a state in which it does not serve: {e}", pytrace=False)

    def show_logs(self):
        for cluster in self.made:
            for node in cluster.nodes:
                print(f"==== {cluster.name} node {node.pnn}\n{node.log_tail(60)}")

    def remove(self):
        """Ends all of them. Whatever a sanitizer or valgrind has found is a failure, and so is a file that is damaged."""
        findings = []
        for cluster in self.made:
            if SLOW:  # leaks are reported at an orderly end only
                for pnn in sorted(cluster.running()):
                    cluster.fault(pnn, "shutdown")
            findings += [finding for node in cluster.nodes for finding in _findings(node.file("log"))]
            findings += self._end(cluster)
        self.made = []
        if findings:
            pytest.fail("\n".join(findings))


    def replace(self, cluster):
        """Ends one that a test has left broken; its files have to be in order all the same."""
        self.made.remove(cluster)
        found = self._end(cluster)
        if found:
            pytest.fail("\n".join(found))

    @staticmethod
    def _end(cluster):
        try:
            return [] if cluster.config["debian"] else tdbfiles.damaged(cluster)
        finally:
            cluster.down()


def _findings(directory):
    """What sanitizers and valgrind have written."""
    found = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.startswith(("sanitizer.", "valgrind.")):
            with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as f:
                text = f.read().strip()
            # Lines of the form --PID-- are valgrind's notes about itself (a system call that it does not know).
            if any(line.strip() and not line.startswith("--") for line in text.splitlines()):
                found.append(f"---- {name}\n{text}")
    return found


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
