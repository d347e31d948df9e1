"""Clusters of both systems: this project's, and Debian's ctdbd as a peer."""

import pytest
from autocluster.errors import ClusterError
from olddaemon import find_debian_root
from support import CALM, PATIENCE, ClusterFactory


@pytest.fixture(scope="session")
def debian_root(request):
    """Debian's ctdb, or skips and says why."""
    return find_debian_root(request.config)


class Clusters:
    """Clusters by system and size, made when they are first asked for."""

    broken = None  # which test left one unusable

    def __init__(self, request):
        self.request, self.clusters, self.disturbed = request, {}, set()
        self.factory = ClusterFactory(request.config, request.getfixturevalue("bindir"))

    def get(self, system, nodes):
        cluster = self.clusters.get((system, nodes))
        if not cluster:
            debian = self.request.getfixturevalue("debian_root") if system == "old" else None
            cluster = self.clusters[system, nodes] = self.factory(nodes, debian=debian, extra_config=CALM)
        return cluster

    def disturb(self, cluster):
        """The end of the test waits until it serves again."""
        self.disturbed.add(cluster)

    def check(self, test):
        for cluster in self.disturbed:
            try:
                cluster.wait_ready(4 * PATIENCE)
            except ClusterError as e:
                self.broken = test
                pytest.fail(f"this test left cluster {cluster.name}, which others use, in a state in which it does not serve: {e}", pytrace=False)
        self.disturbed.clear()


@pytest.fixture(scope="module")
def systems(request):
    clusters = Clusters(request)
    yield clusters
    clusters.factory.remove()
