"""A commit interrupted at each of its changes of files, on a real cluster: before or after, never between; all nodes equal; what was acknowledged is there."""

import contextlib
import os
import random
import shutil
import struct
import tempfile
import threading
import time

import pytest
from classic import Client, Closed
from crash import KILL, POWER, Crasher
from support import CALM, PATIENCE, wait_until
from test_readonly import File

NODES = 3
COMMITS = 3  # before a power cut at most
WORKER, DAEMON = "ctdb-db-worker", "ctdb-dbd"
SET_BAN, TRANS3_COMMIT, ATTACH_PERSISTENT = 109, 119, 61
MEMBER, COORDINATOR = 1, 0
# CTDB_SWEEP_ALL=1: all points of each sweep. Else some, chosen by CTDB_SWEEP_SEED, for so many seconds (CTDB_SWEEP_SECONDS), one at least.
ALL = bool(os.environ.get("CTDB_SWEEP_ALL"))
SEED = int(os.environ.get("CTDB_SWEEP_SEED", "1"))
SECONDS = 1e9 if ALL else float(os.environ.get("CTDB_SWEEP_SECONDS", "3"))


class Sweep:
    """The cluster, and what its database has to hold."""

    def __init__(self, cluster, crashers):
        self.cluster, self.crashers = cluster, crashers
        self.round = 0
        self.before = {}
        self.acknowledged = 0
        with self._client(COORDINATOR) as c:
            self.db = c.attach("sweep.tdb", ATTACH_PERSISTENT)
        self.commit_well()
        self.before = self.check(must=True)

    def _client(self, pnn):
        return Client(self.cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)

    def _wanted(self, number):
        """What the transaction of that number writes: records of all sizes, one that is new, one that goes and comes."""
        many = {b"one of many %d" % i: b"%d" % i for i in range(300 if number == 1 else 0)}  # enough for contents to travel in parts
        return {**many, b"a": b"a%d" % number, b"b": b"b" * (number % 700), b"large": (b"%08d" % number) * (2000 + number % 3 * 1500), b"new%d" % (number % 50): b"n%d" % number,
                b"gone": b"" if number % 2 else b"there"}

    def commit(self, pnn=COORDINATOR):
        """Status; None: the daemon went away, nobody knows."""
        self.round += 1
        wanted = {**self.before, **self._wanted(self.round)}
        self.after = wanted
        try:
            with self._client(pnn) as c:
                seqnum = c.seqnum(self.db) + 1
                buffer = c.commit_buffer(self.db, list(self._wanted(self.round).items()), seqnum, pnn, self.round)
                self.seqnum = seqnum
                return c.control(TRANS3_COMMIT, buffer)[0]
        except (Closed, OSError):
            return None

    def commit_again(self):
        """While recoveries refuse it."""
        def tried():
            status = self.commit()
            if status in (0, 2):
                return [status]
            self.check(must=False)
            return None
        return wait_until(tried, 4 * PATIENCE, what="a commit")[0]

    def commit_well(self):
        """One that is acknowledged. A second recovery may follow the one that was waited for, and refuse or end some."""
        def tried():
            if self.commit() == 0:
                return True
            self.check(must=False)
            return False
        wait_until(tried, 4 * PATIENCE, "a commit that is acknowledged")

    def wait_ready(self):
        """Who kept recoveries from succeeding that often is banned, and let in again."""
        def ready():
            reasons = [node.waiting_for() for node in self.cluster.nodes]
            for pnn in range(NODES):
                if any(reasons):
                    with contextlib.suppress(Closed, OSError), self._client(pnn) as c:
                        c.control(SET_BAN, struct.pack("=II", pnn, 0))
            return not any(reasons)
        if not ready():
            wait_until(ready, 2 * PATIENCE, "the nodes to serve")
        self.cluster.wait_ready(2 * PATIENCE)

    def contents(self, pnn):
        """What a node's file has: values, and for the comparison all bytes. The file is whole."""
        with self._client(pnn) as c:
            file = File(c, self.db)
            assert File.lib.tdb_check(file.tdb, None, None) == 0, f"the file of node {pnn} is damaged"
            got = {key: file.get(key) for key in {**self.before, **self.after}}
            seqnum = file.get(b"__db_sequence_number__\0")
            file.close()
        return {key: value for key, value in got.items() if value}, seqnum

    def check(self, must):
        """All nodes equal; before or after. must: it is there. Values that are there."""
        self.wait_ready()
        states = [self.contents(pnn) for pnn in range(NODES)]
        assert states[1:] == states[:-1], f"nodes differ: {states}"
        values = {key: value[3] for key, value in states[0][0].items()}
        number = struct.unpack("=Q", states[0][1][3])[0]
        assert values in (self.before, self.after), f"neither before nor after: {values}"
        assert values == self.after or not must, "an acknowledged commit is gone"
        assert number == self.seqnum - (values != self.after)
        self.before = values
        return values


@pytest.fixture(scope="module")
def sweep(module_factory, request):
    directory = tempfile.mkdtemp(prefix="ct", dir="/tmp")
    crashers = [Crasher(directory, pnn, request.config.getoption("--build")) for pnn in range(NODES)]
    cluster = module_factory(NODES, extra_config=CALM, env={c.pnn: c.env() for c in crashers})
    yield Sweep(cluster, crashers)
    shutil.rmtree(directory)


def chance_of_test():
    """The same for each run of a test, another for each test."""
    return random.Random(f"{SEED} {os.environ['PYTEST_CURRENT_TEST'].split(' ')[0]}")


def points(most):
    """1, 2, 3 ...; or by chance, if there is not the time for all."""
    if ALL:
        yield from range(1, 1000)
        return
    chance = chance_of_test()
    while True:
        yield chance.randint(1, most)


def run(sweep, one, most=20):
    """most: about so many changes there are. one(n): (whether the n-th change was reached, outcome). Ends with a commit that passed without reaching n, or in time."""
    sweep.cluster.wait_ready(2 * PATIENCE)
    end = time.monotonic() + SECONDS
    outcomes, longest = [], None
    for n in points(most):
        if longest and n > longest:
            n = 1 + (n - 1) % longest
        reached, outcome, seen = one(n)
        if not reached:
            longest = seen
            if ALL:
                break
        else:
            outcomes.append((n, outcome))
        if time.monotonic() > end and outcomes:
            break
    print(f"{len(outcomes)} crashes of {longest} possible: {outcomes}")
    assert outcomes
    sweep.commit_well()
    sweep.check(must=True)
    return outcomes


def settle(sweep, crasher, status, crashes=1, others=False):
    """After one commit: the cluster is whole again. others: something else broke, too. (all crashes took place, outcome, changes seen)"""
    old = dict(sweep.before)
    values = sweep.check(must=status == 0)
    seen, crashed = crasher.disarm()
    assert crashed or others or status in (0, 2, -1), f"a commit that no crash interrupted: status {status}"
    sweep.commit_well()
    sweep.check(must=True)
    return crashed >= crashes, f"{status}, {'before' if values == old else 'after'}", seen


@pytest.mark.slow
@pytest.mark.parametrize("pnn", [MEMBER, COORDINATOR])
def test_worker_is_killed_in_commit(sweep, pnn):
    crasher = sweep.crashers[pnn]

    def one(n):
        crasher.arm(n, WORKER, KILL)
        return settle(sweep, crasher, sweep.commit())
    outcomes = {outcome for _, outcome in run(sweep, one)}
    assert outcomes <= {"2, before", "2, after", "0, after"}  # the last: killed when all was done


@pytest.mark.slow
def test_worker_is_killed_again_when_its_copy_is_repaired(sweep):
    """The commit is on the others, so the recovery writes what this one lacks."""
    crasher = sweep.crashers[MEMBER]

    def one(n):
        crasher.arm(1, WORKER, KILL, then=n)
        return settle(sweep, crasher, sweep.commit(), 2)
    run(sweep, one, 40)


@pytest.mark.slow
@pytest.mark.parametrize("pnn", [MEMBER, COORDINATOR])
def test_daemon_is_killed_in_recovery(sweep, pnn):
    """What dbd itself writes: where the copies of its node come from."""
    crasher = sweep.crashers[pnn]

    def one(n):
        crasher.arm(n, DAEMON, KILL)
        sweep.cluster.fault(2, "kill:ctdb-dbd")
        return settle(sweep, crasher, sweep.commit_again(), others=True)
    run(sweep, one)


class PowerCuts:
    """Commits, one after the other, until the n-th change of files on a node; then nodes lose power."""

    def __init__(self, sweep, crasher, everywhere):
        self.sweep, self.crasher, self.everywhere = sweep, crasher, everywhere
        self.chance = chance_of_test()

    def _commits(self):
        """While the node stands; the client of the last one may wait for ever."""
        for _ in range(COMMITS):
            status = self.sweep.commit()
            if status != 0:
                return
            self.sweep.before = self.sweep.after

    def _until_crash(self, n):
        for crasher in self.sweep.crashers:
            if crasher is self.crasher:
                crasher.arm(n, "", POWER, self.sweep.cluster.node(crasher.pnn))
            elif self.everywhere:
                crasher.arm(1 << 40, "", POWER)  # never, but what it does is written down
        commits = threading.Thread(target=self._commits)
        commits.start()
        wait_until(lambda: self.crasher.crashes() or not commits.is_alive(), what="commits, or the crash in one")
        return commits

    def _off(self):
        cut = self.sweep.crashers if self.everywhere else [self.crasher]
        for crasher in cut:
            self.sweep.cluster.node(crasher.pnn).destroy()
        return [f"node {crasher.pnn}: {', '.join(story)}" for crasher in cut for story in [crasher.power_cut(self.sweep.cluster, self.chance)] if story]

    def _on(self):
        """Perhaps the power goes again while dbd starts."""
        again = self.chance.choice([0, self.chance.randint(1, 12)])
        if again:
            self.crasher.arm(again, DAEMON, POWER)
        for node in self.sweep.cluster.nodes:
            if not node.process:
                self.sweep.cluster.fault(node.pnn, "power-on")
        if not again:
            return []
        node = self.sweep.cluster.node(self.crasher.pnn)
        wait_until(lambda: self.crasher.crashes() or node.waiting_for() is None, 2 * PATIENCE, what=f"node {node.pnn} to start")
        if not self.crasher.disarm()[1]:
            return []
        story = self.crasher.power_cut(self.sweep.cluster, self.chance)
        self.sweep.cluster.fault(node.pnn, "power-on")
        return [f"again at change {again} of the start: {', '.join(story)}"]

    def one(self, n):
        commits = self._until_crash(n)
        seen, crashed = self.crasher.seen(), self.crasher.crashes()
        story = self._off()
        commits.join(4 * PATIENCE)
        assert not commits.is_alive()
        acknowledged = self.sweep.seqnum - (self.sweep.before is not self.sweep.after)
        story += self._on()
        print(f"{n}: {acknowledged} acknowledged; {'; '.join(story)}")
        outcome = "after" if self.sweep.check(must=False) == self.sweep.after else "before"
        self.sweep.commit_well()
        self.sweep.check(must=True)
        return bool(crashed), outcome, seen


@pytest.mark.slow
@pytest.mark.parametrize("pnn", [MEMBER, COORDINATOR])
def test_node_loses_power_in_commit(sweep, pnn):
    """What was not synced is there or not, sector by sector, name by name."""
    run(sweep, PowerCuts(sweep, sweep.crashers[pnn], False).one, 60)


@pytest.mark.slow
def test_all_nodes_lose_power_in_commit(sweep):
    """No other node can help: what was acknowledged has to be on each disk."""
    run(sweep, PowerCuts(sweep, sweep.crashers[MEMBER], True).one, 60)
