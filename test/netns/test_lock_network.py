"""Clusters that arbitrate by a lock, with a network of their own: partitions, power cuts, pauses, an etcd that is slow or out of reach."""

import re
import threading
import time

import pytest
from lockwatch import Watch, ctdb, log
from support import CAPTURE, PATIENCE, need_programs, wait_until


@pytest.fixture(params=["lock", "etcd"])
def kind(request):
    return request.param


@pytest.fixture
def cluster(cluster_factory, need_root, kind):
    need_programs("ip")
    return make(cluster_factory, kind)


def make(cluster_factory, kind):
    if kind == "etcd":
        return cluster_factory(3, mode="netns", arbitration="etcd", extra_config="[cluster]\n\tetcd ttl = 8s\n")
    return cluster_factory(3, mode="netns", arbitration="lock", lock="!ctdb-lock-fcntl {file} 1")


def held_by(watch, pnns):
    """Waits until only these act, and one of them leads."""
    wait_until(lambda: watch.active() == sorted(pnns) and watch.leader(pnns) in pnns, timeout=2 * PATIENCE,
               what=lambda: f"only nodes {pnns} to act: {watch.latest}")


def only(watch, pnns, seconds):
    """So long nobody else acts, and these do at the end, as soon as they have been asked."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert set(watch.active()) <= set(pnns)
        time.sleep(0.1)
    held_by(watch, pnns)


def test_partition_the_side_of_the_holder_goes_on(cluster):
    """Also if it is the smaller one; and nobody else does, for as long as it lasts."""
    ctdb(cluster, 0, "db", "attach", "split.tdb")
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        ctdb(cluster, leader, "record", "set", "split.tdb", "key", "before")
        cluster.partition([[leader], others])
        held_by(watch, [leader])
        cluster.wait_ready(2 * PATIENCE, [leader])
        ctdb(cluster, leader, "record", "set", "split.tdb", "key", "alone")
        assert cluster.node(others[0]).run(["ctdb", "-t", "2", "record", "set", "split.tdb", "key", "wrong"], **CAPTURE).returncode != 0
        only(watch, [leader], 5)
        cluster.heal()
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()
        assert ctdb(cluster, others[1], "record", "get", "split.tdb", "key") == "alone"


def test_partition_and_the_holder_loses_it(cluster, kind):
    """Then the lock goes to the other side, which acts when the first one has stopped for certain."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        cluster.partition([[leader], others])
        held_by(watch, [leader])
        if kind == "etcd":
            cluster.fault(leader, "unplug:eth1")
        else:
            cluster.node(leader).signal_program("clusterd", 19)
            cluster.fault(leader, "kill:lock-fcntl")
        held_by(watch, others)
        cluster.wait_ready(2 * PATIENCE, others)
        if kind == "etcd":
            cluster.fault(leader, "plug:eth1")
        else:
            cluster.node(leader).signal_program("clusterd", 18)
        only(watch, others, 3)
        cluster.heal()
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()


def test_all_alone(cluster):
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        cluster.partition([[0], [1], [2]])
        held_by(watch, [leader])
        cluster.fault(leader, "power-off")
        wait_until(lambda: len(watch.active()) == 1 and watch.active() != [leader], timeout=2 * PATIENCE, what="another one alone")
        cluster.fault(leader, "power-on")
        cluster.heal()
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()


def test_holder_loses_power(cluster):
    ctdb(cluster, 0, "db", "attach", "cut.tdb")
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        ctdb(cluster, others[0], "record", "set", "cut.tdb", "key", "before")
        cluster.fault(leader, "power-off")
        held_by(watch, others)
        cluster.wait_ready(2 * PATIENCE, others)
        assert ctdb(cluster, others[1], "record", "get", "cut.tdb", "key") == "before"
        cluster.fault(leader, "power-on")
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()


def test_holder_is_paused(cluster, kind):
    """All of it, for 8 s. The kernel's lock stays with it: nobody acts meanwhile. etcd's does not: the others go on, and it learns of it before it acts."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        cluster.node(leader).pause()
        end = time.monotonic() + 8
        if kind == "etcd":
            held_by(watch, others)
            cluster.wait_ready(2 * PATIENCE, others)
        if kind == "etcd":
            only(watch, others, max(0, end - time.monotonic()))
        else:
            time.sleep(max(0, end - time.monotonic()))
            assert watch.active() == []
        cluster.node(leader).resume()
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()


def test_followers_are_paused(cluster):
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        for pnn in others:
            cluster.node(pnn).pause()
        held_by(watch, [leader])
        time.sleep(3)
        for pnn in others:
            cluster.node(pnn).resume()
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()


@pytest.mark.parametrize("kind", ["etcd"], indirect=True)
def test_etcd_out_of_reach_for_the_holder(cluster):
    """It cannot renew: another one leads, and it follows."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        cluster.fault(leader, "unplug:eth1")
        watch.wait_leader(but=leader)
        cluster.wait_ready(2 * PATIENCE)
        cluster.fault(leader, "plug:eth1")
        assert re.search("(leader|probing|candidate) -> follower", log(cluster, leader))


class Slow:
    """An etcd that is awake for 30 ms of each 330."""

    def __init__(self, etcd):
        self.etcd, self.end, self.longest = etcd, threading.Event(), 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.end.wait(0.03):
            begin = time.monotonic()
            self.etcd.pause()
            time.sleep(0.3)
            self.etcd.resume()
            self.longest = max(self.longest, time.monotonic() - begin)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


@pytest.mark.parametrize("kind", ["etcd"], indirect=True)
def test_slow_etcd(cluster):
    """Each answer takes a third of a second: that delays elections and nothing else."""
    with Watch(cluster) as watch:
        with Slow(cluster.etcd) as slow:
            while True:
                leader, slow.longest = watch.wait_leader(), 0
                watch.forget_inactive()
                time.sleep(6)
                if slow.longest < 1:  # otherwise it was kept from running, and etcd stood still
                    break
            assert watch.wait_leader() == leader and not watch.inactive
            cluster.fault(leader, "power-off")
            watch.wait_leader([pnn for pnn in range(3) if pnn != leader], but=leader)
            cluster.fault(leader, "power-on")
            watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)
