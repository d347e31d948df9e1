"""Clusters with a cluster lock: an observer that sees whether ever two sides were active, and the names of things."""

import json
import os
import socket
import struct
import threading
import time

from endpoint import Endpoint
from support import CAPTURE, PATIENCE, output, wait_until

CLUSTER, GET_STATE = 0x20C70001, 1
DISCONNECTED, BANNED = 1, 8
SAMPLE = 0.01  # s between two looks at a node


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class State:
    """What a clusterd says of itself. All nodes of a virtual cluster have the same monotonic clock."""

    def __init__(self, packet, asked):
        packet.data, packet.pos = packet.payload, 0
        self.asked = asked
        self.term, self.number, self.leader, n = packet.take("QQII")
        self.members, self.banned = set(), set()
        for _ in range(n):
            pnn, flags, _ = packet.take("III")
            packet.string()
            packet.take("Q")
            self.members |= set() if flags & DISCONNECTED else {pnn}
            self.banned |= {pnn} if flags & BANNED else set()
        self.active = bool(packet.take("I")[0])
        self.reason = packet.string()
        self.lease_until = packet.take("Q")[0]

    def __repr__(self):
        return f"({self.term}.{self.number} leader {self.leader} members {sorted(self.members)} {'active' if self.active else self.reason})"


class _Node:
    """Where a node's endpoints are, seen from outside."""

    def __init__(self, node):
        self.pnn = node.pnn
        self.run = f"/proc/{node.require().pid}/root/run/ctdb" if node.namespaces else node.paths.run

    def path(self, name):
        return os.path.join(self.run, name)


class Watch:
    """with Watch(cluster) as watch: ... asks all nodes again and again what they are. At the end: fails if a node was active in a view that leaves out
    another one whose lease was not over, or if somebody was banned."""

    def __init__(self, cluster):
        self.cluster, self.wrong, self.samples = cluster, [], 0
        self.latest = {}      # pnn: State
        self.leases = {}      # pnn: (end of the newest lease that it told, under which view, when that was)
        self.inactive = {}    # pnn: how many looks found it not active
        self.leaving = set()  # stopped in order: gave their lease back, though nobody may have seen it
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(node,), daemon=True) for node in cluster.nodes]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.latest) == len(self.cluster.nodes), what="the first look at all nodes")
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if kind is None:
            assert not self.wrong, self.wrong[:3]
            assert self.samples >= len(self.cluster.nodes)

    def shutdown(self, pnn):
        with self._lock:
            self.leaving.add(pnn)
        self.cluster.fault(pnn, "shutdown")

    def forget_inactive(self):
        with self._lock:
            self.inactive = {}

    def _run(self, node):
        while not self._stop.is_set():
            try:
                with Endpoint(_Node(node), "watch") as endpoint:
                    endpoint.socket.settimeout(1)
                    while not self._stop.wait(SAMPLE):
                        asked = now_ns()
                        reply = endpoint.call(("cluster", node.pnn), CLUSTER, GET_STATE)
                        if reply.status == 0:
                            self._look(node.pnn, State(reply, asked))
            except (OSError, socket.timeout, struct.error, Exception):  # pylint: disable=broad-except
                self._stop.wait(0.1)  # off, frozen or restarted: as good as silent
                self._clean(node)

    @staticmethod
    def _clean(node):
        try:
            os.unlink(_Node(node).path("msg/watch"))
        except Exception:  # pylint: disable=broad-except
            pass

    def _look(self, pnn, state):
        with self._lock:
            self.samples += 1
            self.latest[pnn] = state
            if state.banned:
                self.wrong.append(f"banned: {state}")
            if not state.active:
                self.inactive[pnn] = self.inactive.get(pnn, 0) + 1
                self.leases.pop(pnn, None)  # given back
                self.leaving.discard(pnn)
                return
            for other, (lease_until, view, told) in self.leases.items():
                # What the other one told before this one was asked, it can rely on until then, unless that is newer than what this one knows.
                if other not in state.members | self.leaving and told < state.asked < lease_until and view < (state.term, state.number):
                    self.wrong.append(f"node {pnn} {state} acts without node {other}, whose lease lasts {(lease_until - state.asked) / 1e6} ms longer; "
                                      f"it: {self.latest.get(other)}")
            self.leases[pnn] = (state.lease_until, (state.term, state.number), now_ns())

    def leader(self, nodes=None):
        """The leader that all of these nodes (those that run) are active under; None: there is none."""
        with self._lock:
            states = [self.latest.get(pnn) for pnn in (self.cluster.running() if nodes is None else nodes)]
        leaders = {s.leader if s and s.active and now_ns() < s.lease_until else None for s in states}
        return leaders.pop() if len(leaders) == 1 else None

    def wait_leader(self, nodes=None, but=None):
        return wait_until(lambda: (self.leader(nodes) is not None and self.leader(nodes) != but and [self.leader(nodes)]) or None,
                          timeout=2 * PATIENCE, what=lambda: f"a leader of {nodes}: {self.latest}")[0]

    def active(self):
        with self._lock:
            return sorted(pnn for pnn, s in self.latest.items() if s.active and now_ns() < s.lease_until)


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", "-t", "60", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


def status(cluster, pnn):
    def ask():
        done = cluster.node(pnn).run(["ctdb", "-o", "json", "cluster", "status"], timeout=PATIENCE, check=False, **CAPTURE)
        return json.loads(done.stdout) if done.returncode == 0 else None
    return wait_until(ask, what=f"the status of node {pnn}")


def log(cluster, pnn):
    with open(cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
        return f.read()
