"""Faults of daemons, nodes, links, clocks and the network. What clusterd tells on each node is watched all the time (watch.py): a fault of one node costs at most
its own membership, no two sides are ever active, those who are left serve, and all are together again afterwards."""

import datetime
import json
import os
import struct
import threading
import time

import pytest
from support import CAPTURE, PATIENCE, TOP, need_programs, output, wait_until
from watch import Watch

# Five seconds: the machine that runs the tests has other work, too, and the survivors of a leader have a third of them to elect another.
CONFIG = "[cluster]\n\theartbeat interval = 250\n\tdead interval = 5000\n"
DEAD = 5
DAEMONS = ["ctdbd", "ctdb-transportd", "ctdb-clusterd", "ctdb-dbd", "ctdb-dbkeep"]
ROLES = ["leader", "follower"]


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", "-t", "60", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def try_ctdb(cluster, pnn, *words):
    done = cluster.node(pnn).run(["ctdb", "-t", "10", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def status(cluster, pnn):
    return json.loads(wait_until(lambda: try_ctdb(cluster, pnn, "-o", "json", "cluster", "status"), what=f"the status of node {pnn}"))


class Observed:
    """A cluster that is watched."""

    def __init__(self, cluster, build):
        self.cluster, self.watch = cluster, Watch(cluster, os.path.join(TOP, build))
        self.all = [node.pnn for node in cluster.nodes]
        self.numbers = iter(range(1 << 30))

    def together(self, pnns=None):
        """Waits until these (all) nodes are the members of one view, and serve."""
        pnns = self.all if pnns is None else pnns
        wait_until(lambda: self.watch.agreed(pnns), 4 * PATIENCE, lambda: f"one view of nodes {pnns}: {[self.watch.newest(p) for p in self.all]}")
        self.cluster.wait_ready(4 * PATIENCE, pnns)

    def leader(self):
        return wait_until(lambda: self.watch.agreed(self.all) and [pnn for pnn in [self.watch.leader()] if pnn is not None], 4 * PATIENCE, "one view of all nodes")[0]

    def pick(self, role):
        """The leader, or the last of the others."""
        leader = self.leader()
        return leader if role == "leader" else [pnn for pnn in self.all if pnn != leader][-1]

    def serve(self, pnns):
        """Records move between these nodes."""
        number = next(self.numbers)
        wait_until(lambda: try_ctdb(self.cluster, pnns[0], "record", "set", "faults.tdb", "key", f"{number}") is not None, what="a write")
        for pnn in pnns:
            assert wait_until(lambda pnn=pnn: try_ctdb(self.cluster, pnn, "record", "get", "faults.tdb", "key"), what="a read") == f"{number}"
            wait_until(lambda pnn=pnn: try_ctdb(self.cluster, pnn, "record", "set", "faults.tdb", f"key of {pnn}", f"{number}") is not None, what="a write")

    def one_side(self, since):
        assert not self.watch.two_sides(since)

    def undisturbed(self, pnns, since, until=None):
        """These acted all the time, until now. What they were told by now may not have been read yet."""
        until = time.monotonic() if until is None else until
        for pnn in pnns:
            gaps = self.watch.gaps(pnn, since, until)
            end = time.monotonic() + PATIENCE
            while gaps and gaps[-1][1] == until and time.monotonic() < end:
                time.sleep(0.1)
                gaps = self.watch.gaps(pnn, since, until)
            assert not gaps, f"node {pnn} did not act: {[f'{b - since:.3f} to {e - since:.3f} s' for b, e in gaps]}; {self.watch.spans(pnn, since)}"


@pytest.fixture(scope="module")
def shared(module_factory, need_root, request):
    need_programs("ip", "nft")
    observed = Observed(module_factory(3, mode="netns", two_addresses=True, extra_config=CONFIG), request.config.getoption("--build"))
    ctdb(observed.cluster, 0, "db", "attach", "faults.tdb")
    yield observed
    observed.watch.end()


@pytest.fixture
def three(shared):
    """Three nodes with two networks; after the test all are together, nobody has a flag (together() sees to that), and there never were two sides."""
    begin = time.monotonic()
    yield shared
    shared.together()
    shared.serve(shared.all)
    shared.one_side(begin)


def left(observed, victim):
    return [pnn for pnn in observed.all if pnn != victim]


@pytest.mark.parametrize("role", ROLES)
def test_power_cut(three, role):
    victim = three.pick(role)
    others, begin = left(three, victim), time.monotonic()
    three.cluster.fault(victim, "power-off")
    three.together(others)
    three.serve(others)
    three.undisturbed(others, begin)
    three.cluster.fault(victim, "power-on")
    three.together()
    three.undisturbed(others, begin)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("daemon", DAEMONS)
def test_killed_daemon(three, daemon, role):
    """Whichever it is, of which node: the others go on all the time."""
    victim = three.pick(role)
    others, begin = left(three, victim), time.monotonic()
    before = {p.pid for p in three.cluster.node(victim).find_program(daemon)}
    three.cluster.fault(victim, f"kill:{daemon}")
    wait_until(lambda: {p.pid for p in three.cluster.node(victim).find_program(daemon)} - before, what=f"a new {daemon}")
    three.together()
    three.undisturbed(others, begin)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("daemon", DAEMONS)
def test_paused_daemon(three, daemon, role):
    """For longer than the dead interval."""
    victim = three.pick(role)
    others, begin = left(three, victim), time.monotonic()
    three.cluster.fault(victim, f"stop:{daemon}")
    resume = threading.Timer(DEAD + 2, three.cluster.fault, (victim, f"cont:{daemon}"))
    resume.start()
    try:
        if daemon in ("ctdbd", "ctdb-dbkeep"):
            three.serve(three.all)
        elif daemon != "ctdb-dbd":
            wait_until(lambda: three.watch.agreed(others) or not resume.is_alive(), what="a view of the others")
    finally:
        resume.join()
    three.together()
    three.undisturbed(others, begin)


@pytest.mark.parametrize("role", ROLES)
def test_paused_node(three, role):
    """As a virtual machine that is moved: what it had to do while it stood still comes too late, and harms nobody."""
    victim = three.pick(role)
    others, begin = left(three, victim), time.monotonic()
    three.cluster.fault(victim, "pause")
    resume_at = time.monotonic() + 2 * DEAD
    try:
        three.together(others)
        three.serve(others)
        time.sleep(max(0, resume_at - time.monotonic()))
    finally:
        three.cluster.fault(victim, "resume")
    three.together()
    three.undisturbed(others, begin)


@pytest.mark.parametrize("deaf, muted", [("leader", "follower"), ("follower", "leader"), ("follower", "other")])
def test_link_in_one_direction(three, deaf, muted):
    """One node does not hear another, which hears it: one of the two is left out, and the third goes on with the other."""
    leader = three.leader()
    followers = left(three, leader)
    pnn = {"leader": leader, "follower": followers[1], "other": followers[0]}
    begin = time.monotonic()
    three.cluster.fault(pnn[deaf], f"deaf:{pnn[muted]}")
    pairs = [left(three, pnn[deaf]), left(three, pnn[muted])]
    try:
        winners = wait_until(lambda: [pair for pair in pairs if three.watch.agreed(pair)], 2 * PATIENCE, "a view of two")[0]
        three.together(winners)
        three.serve(winners)
        # No coming and going while the fault lasts.
        views = {three.watch.newest(p)[1] for p in winners}
        time.sleep(2 * DEAD)
        assert {three.watch.newest(p)[1] for p in winners} == views
        three.undisturbed(winners, begin)
    finally:
        three.cluster.fault(pnn[deaf], "hear")
    three.together()


def test_all_links_of_the_leader(three):
    """Both of its cables: the others elect one of them before their leases end."""
    victim = three.leader()
    others, begin = left(three, victim), time.monotonic()
    three.cluster.fault(victim, "unplug:eth0")
    time.sleep(1)
    three.cluster.fault(victim, "unplug:eth2")
    try:
        three.together(others)
        three.serve(others)
        three.undisturbed(others, begin)
        assert not three.watch.acts(victim)
    finally:
        three.cluster.fault(victim, "plug:eth0")
        three.cluster.fault(victim, "plug:eth2")
    three.together()


@pytest.mark.parametrize("percent", [5, 10])
def test_packet_loss(three, percent):
    """TCP repeats what gets lost: nobody is left out, and records go on to move."""
    begin = time.monotonic()
    for pnn in three.all:
        three.cluster.fault(pnn, f"lose:{percent / 2}")  # a packet passes the cables of two nodes
    try:
        while time.monotonic() < begin + 15:
            three.serve(three.all)
        for pnn in three.all:
            out = [state for state in three.watch.states(pnn, begin) if len(state[4]) < 3]
            assert not out, f"node {pnn} saw a view without somebody"
    finally:
        for pnn in three.all:
            three.cluster.fault(pnn, "hear")


def test_wall_clock_jumps(cluster_factory, need_root, request):
    """An hour on and back, on one node alone: nobody is left out, and no time-out comes early or late."""
    build = os.path.join(TOP, request.config.getoption("--build"))
    env = {"LD_PRELOAD": f"{build}/test/local/clock_shift.so", "CTDB_TEST_CLOCK": "/var/log/ctdb/clock"}
    observed = Observed(ClockFactory(cluster_factory)(3, mode="netns", extra_config=CONFIG, env={1: env}), build)
    clock = observed.cluster.node(1).file("log", "clock")
    with observed.watch:
        ctdb(observed.cluster, 0, "db", "attach", "faults.tdb")
        observed.together()
        begin = time.monotonic()
        for hours in (1, 0, -1, 0):
            with open(clock, "r+b") as f:
                f.write(struct.pack("=q", 3600 * hours))
            told = observed.cluster.node(1).run(["date", "+%s"], **CAPTURE)
            assert abs(int(output(told)) - time.time() - 3600 * hours) < 600
            end = time.monotonic() + 2 * DEAD
            while time.monotonic() < end:
                observed.serve(observed.all)
        observed.undisturbed(observed.all, begin)
        observed.one_side(begin)
        # Also what is to happen later does: a killed daemon comes back, a dead node is noticed.
        with open(clock, "r+b") as f:
            f.write(struct.pack("=q", -3600))
        observed.cluster.fault(1, "kill:ctdb-dbd")
        observed.together()
        with open(observed.cluster.node(1).file("log", "log.ctdb"), encoding="utf-8") as f:
            last = [line for line in f if "ctdb-dbd" in line][-1]
        assert datetime.datetime.fromisoformat(last.split(" ", 1)[0]).timestamp() < time.time() - 3000  # the daemons believed it
        observed.cluster.fault(2, "power-off")
        observed.together([0, 1])
        observed.serve([0, 1])


class ClockFactory:
    """Puts the file of the clock where node 1 finds it, before its first start."""

    def __init__(self, factory):
        self.factory = factory

    def __call__(self, *args, **options):
        from autocluster import cluster as clusters  # pylint: disable=import-outside-toplevel
        original = clusters.Node.install

        def install(node):
            original(node)
            with open(node.file("log", "clock"), "wb") as f:
                f.write(bytes(8))
        clusters.Node.install = install
        try:
            return self.factory(*args, **options)
        finally:
            clusters.Node.install = original


def test_four_nodes_in_halves(cluster_factory, need_root, request):
    """Neither half is a majority: nobody acts until the network is whole again."""
    observed = Observed(cluster_factory(4, mode="netns", extra_config=CONFIG), request.config.getoption("--build"))
    with observed.watch:
        ctdb(observed.cluster, 0, "db", "attach", "faults.tdb")
        observed.together()
        observed.serve(observed.all)
        begin = time.monotonic()
        observed.cluster.partition([[0, 1], [2, 3]])
        wait_until(lambda: not any(map(observed.watch.acts, observed.all)), what="all to stop")
        wait_until(lambda: not [pnn for pnn in observed.all if status(observed.cluster, pnn)["ready"]], what="all to say so")
        observed.cluster.heal()
        observed.together()
        observed.serve(observed.all)
        observed.one_side(begin)


def test_both_halves_go_on_without_arbitration(cluster_factory, need_root, request):
    """Split brain, as asked for; one cluster again afterwards, led by one."""
    observed = Observed(cluster_factory(4, mode="netns", arbitration="none", extra_config=CONFIG), request.config.getoption("--build"))
    with observed.watch:
        ctdb(observed.cluster, 0, "db", "attach", "faults.tdb")
        for groups in ([[0, 1], [2, 3]], [[3, 0, 1], [2]]):
            leader, begin = observed.leader(), time.monotonic()
            observed.cluster.partition(groups)
            for group in groups:
                observed.together(group)
                observed.serve(group)
            # Who still has the leader does not even notice for a moment.
            observed.undisturbed(next(group for group in groups if leader in group), begin)
            observed.cluster.heal()
            observed.together()
            observed.serve(observed.all)


def test_eight_nodes(cluster_factory, need_root, request):
    """The leader and two more lose power at once; then five and three are divided."""
    observed = Observed(cluster_factory(8, mode="netns", extra_config=CONFIG), request.config.getoption("--build"))
    with observed.watch:
        ctdb(observed.cluster, 0, "db", "attach", "faults.tdb")
        leader = observed.leader()
        dead = [leader, *left(observed, leader)[-2:]]
        begin = time.monotonic()
        for pnn in dead:
            observed.cluster.fault(pnn, "power-off")
        alive = [pnn for pnn in observed.all if pnn not in dead]
        observed.together(alive)
        observed.serve(alive)
        observed.undisturbed(alive, begin)
        for pnn in dead:
            observed.cluster.fault(pnn, "power-on")
        observed.together()
        observed.cluster.partition([[0, 2, 4, 6, 7], [1, 3, 5]])
        observed.together([0, 2, 4, 6, 7])
        assert not any(map(observed.watch.acts, [1, 3, 5]))
        observed.cluster.heal()
        observed.together()
        observed.serve(observed.all)
        observed.one_side(begin)
