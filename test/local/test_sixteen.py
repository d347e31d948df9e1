"""Sixteen nodes: they start, elect one leader, and go on without it."""

import os
import time

import pytest
from support import CAPTURE, PATIENCE, TOP, output, wait_until
from watch import Watch

NODES = 16
# One machine runs about a hundred daemons here.
CONFIG = "[cluster]\n\theartbeat interval = 1s\n\tdead interval = 5s\n"


def ctdb(cluster, pnn, *words):
    return output(cluster.node(pnn).run(["ctdb", "-t", "60", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)).rstrip("\n")


@pytest.mark.slow
def test_sixteen_nodes(cluster_factory, request):
    cluster = cluster_factory(NODES, extra_config=CONFIG)
    everybody = list(range(NODES))
    with Watch(cluster, os.path.join(TOP, request.config.getoption("--build"))) as watch:
        wait_until(lambda: watch.agreed(everybody), 4 * PATIENCE, "one view of sixteen nodes")
        ctdb(cluster, 0, "db", "attach", "sixteen.tdb")
        for pnn in everybody:
            ctdb(cluster, pnn, "record", "set", "sixteen.tdb", f"key{pnn}", f"of {pnn}")
            assert ctdb(cluster, NODES - 1 - pnn, "record", "get", "sixteen.tdb", f"key{pnn}") == f"of {pnn}"
        leader = wait_until(lambda: watch.agreed(everybody) and [pnn for pnn in [watch.leader()] if pnn is not None], 4 * PATIENCE, "one leader")[0]
        begin = time.monotonic()
        others = [pnn for pnn in everybody if pnn != leader]
        cluster.fault(leader, "power-off")
        wait_until(lambda: watch.agreed(others) and watch.leader() in others, 4 * PATIENCE, "a view of the others")
        assert not watch.two_sides(begin)
        cluster.wait_ready(4 * PATIENCE, others)
        assert ctdb(cluster, others[0], "record", "get", "sixteen.tdb", f"key{leader}") == f"of {leader}"
