"""Clusters that arbitrate by a lock: what becomes of them when the lock, its file, its holder or etcd fails."""

import os
import signal
import subprocess
import time

import pytest
from autocluster.cluster import Cluster
from lockwatch import Watch, log, status
from olddaemon import find_debian_root
from support import CALM, CAPTURE, PATIENCE, TOP, output, wait_until

# Goes wrong when a file of the node says so: "no" it fails, "hang" it does not answer.
SICK = """#!/bin/sh
sick=$CTDB_BASE/sick
[ ! -e $sick ] || {{ case $(cat $sick) in
no) echo "the file system is not mounted" >&2; echo 3; exit 1;;
hang) trap '' TERM; while :; do sleep 1; done;;
esac; }}
exec {program} "$@"
"""


@pytest.fixture(params=["lock", "debian", "etcd"])
def kind(request):
    return request.param


def make(request, cluster_factory, kind, **options):
    """kind: lock (ours), debian (an existing helper), etcd, sick (ours, may fail on single nodes)."""
    if kind == "etcd":
        return cluster_factory(3, arbitration="etcd", **options)
    if kind == "lock":
        return cluster_factory(3, arbitration="lock", lock="!ctdb-lock-fcntl {file} 1", **options)
    directory = request.getfixturevalue("base")
    script = os.path.join(directory, "helper")
    if kind == "debian":
        root = find_debian_root(request.config)
        libraries = [os.path.join(root, "usr/lib", name, "samba") for name in os.listdir(os.path.join(root, "usr/lib"))]
        text = (f"#!/bin/sh\nLD_LIBRARY_PATH={':'.join(path for path in libraries if os.path.isdir(path))} "
                f"exec {root}/usr/libexec/ctdb/ctdb_mutex_fcntl_helper \"$@\"\n")
    else:
        text = SICK.format(program=os.path.join(request.getfixturevalue("bindir"), "ctdb-lock-fcntl"))
    with open(script, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(script, 0o755)
    return cluster_factory(3, arbitration="lock", lock=f"!{script} {{file}} 1", **options)


@pytest.fixture
def cluster(request, cluster_factory, kind):
    return make(request, cluster_factory, kind, extra_config=CALM)


def helper_of(kind):
    return {"etcd": "lock-etcd", "debian": "ctdb_mutex_fcntl_helper"}.get(kind, "lock-fcntl")


def make_sick(cluster, pnn, how):
    with open(cluster.node(pnn).file("sick"), "w", encoding="ascii") as f:
        f.write(how + "\n")


def make_well(cluster, pnn):
    os.unlink(cluster.node(pnn).file("sick"))


def test_h096_one_holds_the_lock_and_that_is_the_leader(cluster, kind):
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        wait_until(lambda: [pnn for pnn in range(3) if cluster.node(pnn).find_program(helper_of(kind))] == [leader], what="one holder, the leader")
        helper = {p.pid for p in cluster.node(leader).find_program(helper_of(kind))}
        # A recovery does not let go of it.
        generation = status(cluster, leader)["generation"]
        cluster.fault((leader + 1) % 3, "kill:dbd")
        wait_until(lambda: status(cluster, leader)["generation"] not in (None, generation), what="a recovery")
        cluster.wait_ready(2 * PATIENCE)
        assert {p.pid for p in cluster.node(leader).find_program(helper_of(kind))} == helper


def descriptors(process):
    """{number: what it leads to}"""
    found = {}
    for number in os.listdir(f"/proc/{process.pid}/fd"):
        try:
            found[int(number)] = os.readlink(f"/proc/{process.pid}/fd/{number}")
        except FileNotFoundError:
            continue
    return found


def test_h160_the_helper_has_nothing_of_the_daemon(cluster, kind):
    """It may be anybody's program: of the daemon's sockets, pipes and files it has its own standard output and error, and no more."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
    node = cluster.node(leader)
    helpers = wait_until(lambda: node.find_program(helper_of(kind)), what="the helper")
    daemon = {target for process in node.find_program("ctdb-clusterd") for target in descriptors(process).values()}
    assert any(target.startswith("socket:") for target in daemon)
    for process in helpers:
        mine = descriptors(process)
        assert mine
        for number, target in mine.items():
            assert number <= 2 or target.startswith("anon_inode:") or target not in daemon, (number, target)


def test_planned_stop_of_the_holder(cluster):
    """Nobody else stops acting meanwhile: the lock is free before the lease of the others ends."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        watch.forget_inactive()
        watch.shutdown(leader)
        watch.wait_leader(others, but=leader)
        assert not [pnn for pnn in others if watch.inactive.get(pnn)]
        cluster.fault(leader, "power-on")
        cluster.wait_ready(2 * PATIENCE)


def test_h105_the_helper_is_killed(cluster, kind):
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        old = {p.pid for p in cluster.node(leader).find_program(helper_of(kind))}
        watch.forget_inactive()
        cluster.fault(leader, "kill:" + helper_of(kind))
        wait_until(lambda: any({p.pid for p in cluster.node(pnn).find_program(helper_of(kind))} - old for pnn in range(3)), what="another helper")
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()
        if kind != "etcd":  # etcd waits for the end of the lease
            assert not watch.inactive
    assert "the cluster lock was lost: " in log(cluster, leader)


def test_clusterd_of_the_holder_is_killed(cluster):
    with Watch(cluster) as watch:
        cluster.fault(watch.wait_leader(), "kill:clusterd")
        watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)
        watch.wait_leader()


def test_holder_loses_power(cluster, kind):
    """On loopback a node without power is frozen: its process keeps a lock of the kernel. A file system that all nodes share takes it away."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        cluster.fault(leader, "power-off")
        if kind != "etcd":
            cluster.node(leader).signal_program(helper_of(kind), signal.SIGKILL)
        watch.wait_leader(others, but=leader)
        cluster.wait_ready(2 * PATIENCE, others)
        cluster.fault(leader, "power-on")
        cluster.wait_ready(2 * PATIENCE)


def test_helper_is_stopped(cluster, kind):
    """The kernel's lock is held whoever sleeps; etcd's is not."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        watch.forget_inactive()
        cluster.fault(leader, "stop:" + helper_of(kind))
        if kind == "etcd":
            # whose clock is read first: that of the core, or that of what leads the helper
            lost = ("did not renew the lock in time", "nothing is heard of the lock")
            wait_until(lambda: any(text in log(cluster, leader) for text in lost), what="the loss")
        else:
            time.sleep(2)
            assert watch.wait_leader() == leader and not watch.inactive
        watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)
        watch.shutdown(watch.wait_leader())
        watch.wait_leader()


@pytest.mark.parametrize("kind", ["lock", "debian"], indirect=True)
def test_h110_the_file_is_removed(cluster):
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        os.unlink(cluster.lock_file)
        wait_until(lambda: "the cluster lock was lost: " in log(cluster, leader), what="the loss")
        watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)
        wait_until(lambda: os.path.exists(cluster.lock_file), what="a new file")


@pytest.mark.parametrize("kind", ["lock"], indirect=True)
def test_h107_the_file_system_is_gone_for_all(cluster):
    """Nobody leads, nobody serves, nobody is banned; and it goes on by itself."""
    directory = os.path.dirname(cluster.lock_file)
    with Watch(cluster) as watch:
        watch.wait_leader()
        os.rename(directory, directory + ".away")
        wait_until(lambda: not watch.active(), what="the end of all")
        wait_until(lambda: not status(cluster, 0)["ready"], what="node 0 not to serve")
        wait_until(lambda: "is the cluster file system mounted, and its directory there?" in "".join(log(cluster, pnn) for pnn in range(3)), what="the reason")
        os.rename(directory + ".away", directory)
        watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)


@pytest.mark.parametrize("kind", ["sick"], indirect=True)
@pytest.mark.parametrize("how", ["no", "hang"])
def test_h106_h107_the_lock_is_out_of_reach_for_one_node(cluster, how):
    """It does not lead then; others do."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        others = [pnn for pnn in range(3) if pnn != leader]
        make_sick(cluster, leader, how)
        cluster.fault(leader, "kill:lock-fcntl")
        assert watch.wait_leader(others, but=leader) in others
        watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)
        # the next one as well: only one is left who can
        second = watch.wait_leader()
        make_sick(cluster, second, how)
        cluster.fault(second, "kill:lock-fcntl")
        third = ({0, 1, 2} - {leader, second}).pop()
        wait_until(lambda: watch.leader() == third, timeout=2 * PATIENCE, what=f"node {third} to lead")
        cluster.wait_ready(2 * PATIENCE)


@pytest.mark.parametrize("kind", ["sick"], indirect=True)
def test_h101_trying_is_not_holding(cluster):
    """A helper that does not answer makes no leader."""
    with Watch(cluster) as watch:
        leader = watch.wait_leader()
        for pnn in range(3):
            make_sick(cluster, pnn, "hang")
        cluster.fault(leader, "kill:lock-fcntl")
        wait_until(lambda: not watch.active(), what="the end of all")
        time.sleep(2)
        assert not watch.active()
        for pnn in range(3):
            make_well(cluster, pnn)
        watch.wait_leader()
        cluster.wait_ready(2 * PATIENCE)


@pytest.mark.parametrize("kind", ["lock"], indirect=True)
def test_h112_another_lock_is_kept_out(cluster):
    node = cluster.node(2)
    with Watch(cluster) as watch:
        watch.wait_leader()
        watch.shutdown(2)
        with open(node.file("ctdb.conf"), encoding="utf-8") as f:
            text = f.read()
        with open(node.file("ctdb.conf"), "w", encoding="utf-8") as f:
            f.write(text.replace(cluster.lock_file, cluster.lock_file + "2"))
        cluster.fault(2, "power-on")
        wait_until(lambda: "differs from this node's" in log(cluster, 0) + log(cluster, 1), what="the others to say so")
        watch.wait_leader([0, 1], but=2)
        wait_until(lambda: not status(cluster, 2)["ready"], what="node 2 not to serve")
        watch.shutdown(2)
        with open(node.file("ctdb.conf"), "w", encoding="utf-8") as f:
            f.write(text)
        cluster.fault(2, "power-on")
        cluster.wait_ready(2 * PATIENCE)


# ---- etcd itself ----

@pytest.fixture
def etcd_cluster(cluster_factory):
    return cluster_factory(3, arbitration="etcd", extra_config="[cluster]\n\tetcd ttl = 8s\n")


def unnoticed(cluster, watch):
    """etcd stands still for a moment. True: nobody minds; False: this process was kept from running meanwhile, so that it was no moment."""
    leader, begin = watch.wait_leader(), time.monotonic()
    watch.forget_inactive()
    cluster.etcd.pause()
    time.sleep(0.7)
    cluster.etcd.resume()
    lasted = time.monotonic() - begin
    time.sleep(1.5)
    if lasted > 1:
        return False
    assert watch.wait_leader() == leader and not watch.inactive
    return True


def test_etcd_stands_still(etcd_cluster):
    """Longer than its lease: nobody acts until it is back. Shorter: nobody notices."""
    with Watch(etcd_cluster) as watch:
        wait_until(lambda: unnoticed(etcd_cluster, watch), 2 * PATIENCE, what="a pause that was short")
        etcd_cluster.etcd.pause()
        wait_until(lambda: not watch.active(), what="the end of all")
        time.sleep(2)
        assert not watch.active()
        etcd_cluster.etcd.resume()
        watch.wait_leader()
        etcd_cluster.wait_ready(2 * PATIENCE)


def test_etcd_is_restarted(etcd_cluster):
    with Watch(etcd_cluster) as watch:
        watch.wait_leader()
        for _ in range(2):
            etcd_cluster.etcd.signal_program("etcd", 9)  # its machine starts it again
            wait_until(etcd_cluster.etcd.healthy, what="etcd")
            watch.wait_leader()
        etcd_cluster.etcd.off()
        wait_until(lambda: not watch.active(), what="the end of all")
        etcd_cluster.etcd.start()
        watch.wait_leader()
        etcd_cluster.wait_ready(2 * PATIENCE)


@pytest.mark.parametrize("words", [["lease", "revoke"], ["del", "/ctdb/lock"]])
def test_etcd_lease_is_taken_away(etcd_cluster, words):
    """By an administrator: the holder learns of it at its next look."""
    with Watch(etcd_cluster) as watch:
        leader = watch.wait_leader()
        lease = [line for line in etcd_cluster.etcd.ctl("lease", "list").stdout.split("\n")[1:] if line]
        assert etcd_cluster.etcd.ctl(*words, *(lease if words[0] == "lease" else [])).returncode == 0
        wait_until(lambda: "the cluster lock was lost: /ctdb/lock is lost: it is held by nobody" in log(etcd_cluster, leader), what="the loss")
        watch.wait_leader()
        etcd_cluster.wait_ready(2 * PATIENCE)


def test_other_cluster_has_the_key(etcd_cluster):
    """Two clusters with the same key: only one serves, the other one says who has the key."""
    with Watch(etcd_cluster) as watch:
        leader = watch.wait_leader()
        for pnn in range(3):
            watch.shutdown(pnn)
        assert etcd_cluster.etcd.ctl("put", "/ctdb/lock", "node 0 (192.0.2.1)").returncode == 0
        for pnn in range(3):
            etcd_cluster.fault(pnn, "power-on")
        wait_until(lambda: "/ctdb/lock is held by node 0 (192.0.2.1)" in log(etcd_cluster, leader), what="the reason")
        assert not watch.active()
        assert etcd_cluster.etcd.ctl("del", "/ctdb/lock").returncode == 0
        watch.wait_leader()
        etcd_cluster.wait_ready(2 * PATIENCE)


# ---- the node that starts ----

@pytest.mark.parametrize("lines, expect", [
    (["arbitration = lock", "cluster lock = !/does/not/exist x"], "cannot run /does/not/exist, which cluster lock in [cluster] names"),
    (["cluster lock = !/usr/libexec/ctdb/ctdb_mutex_fcntl_helper.gone /x"], "install it, or correct the option"),
    (["arbitration = etcd", "etcd endpoints = a:1", "etcd ca file = /does/not/exist"], "/does/not/exist, the etcd ca file in [cluster], cannot be read"),
    (["arbitration = etcd"], "arbitration = etcd needs etcd endpoints as well"),
])
def test_ctdbd_does_not_start_without_its_helper(bindir, base, lines, expect):

    with open(os.path.join(base, "nodes"), "w", encoding="ascii") as f:
        f.write("127.0.0.1\n")
    with open(os.path.join(base, "ctdb.conf"), "w", encoding="ascii") as f:
        f.write("[transport]\nsecurity = none\n[cluster]\n" + "\n".join(lines) + "\n")
    done = subprocess.run([os.path.join(bindir, "ctdbd"), "-i"], env={**os.environ, "CTDB_BASE": base}, timeout=PATIENCE, check=False,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and expect in done.stderr, done.stderr


@pytest.mark.parametrize("option, line", [("--lock", "cluster lock = "), ("--etcd", "etcd endpoints = 127.")])
def test_autocluster_makes_such_clusters(bindir, option, line):
    name, tool = f"t{os.getpid()}-cli", os.path.join(TOP, "autocluster", "autocluster")
    try:
        output(subprocess.run([tool, "up", name, "--nodes", "2", "--loopback", option, "--bindir", bindir], timeout=4 * PATIENCE, check=False, **CAPTURE))
        cluster = Cluster.open(name)
        with open(cluster.node(1).file("ctdb.conf"), encoding="utf-8") as f:
            assert line in f.read()

        def status():
            done = subprocess.run([tool, "status", name], timeout=PATIENCE, check=False, **CAPTURE)
            return done.stdout if done.returncode == 0 else None

        # With the leases of the default a node that stood still for a moment has none.
        assert wait_until(status, what="both nodes to serve").startswith(f"{name}: 2 nodes, loopback, arbitration {option[2:]}")
        processes = [p for machine in (*cluster.nodes, cluster.etcd) for p in machine.processes()]
    finally:
        output(subprocess.run([tool, "down", name], timeout=4 * PATIENCE, check=False, **CAPTURE))
    assert processes and not [p for p in processes if p.alive()]
