"""Clusters of both systems: this project's, and Debian's ctdbd as a peer."""

import pytest
from olddaemon import find_debian_root
from support import PATIENCE, ClusterFactory


@pytest.fixture(scope="session")
def debian_root(request):
    """Debian's ctdb, or skips and says why."""
    return find_debian_root(request.config)


class Clusters:
    """Clusters by system and size, made when they are first asked for, replaced when a test broke one."""

    def __init__(self, request):
        self.request, self.clusters, self.disturbed = request, {}, set()
        self.factory = ClusterFactory(request.config, request.getfixturevalue("bindir"))

    def get(self, system, nodes):
        cluster = self.clusters.get((system, nodes))
        if not cluster:
            debian = self.request.getfixturevalue("debian_root") if system == "old" else None
            cluster = self.clusters[system, nodes] = self.factory(nodes, debian=debian)
        if cluster in self.disturbed:
            cluster.wait_ready(4 * PATIENCE)
            self.disturbed.remove(cluster)
        return cluster

    def disturb(self, cluster):
        """The next test waits until it serves again."""
        self.disturbed.add(cluster)


@pytest.fixture(scope="module")
def systems(request):
    clusters = Clusters(request)
    yield clusters
    clusters.factory.remove()
