"""The check of all databases' files at the end of each test's cluster: it would be of no use if it found nothing."""

import pytest
import tdbfiles


@pytest.mark.parametrize("mode", ["loopback", "netns"])
def test_damaged_file_is_named(cluster_factory, request, mode):
    if mode == "netns":
        request.getfixturevalue("need_root")
    cluster = cluster_factory(nodes=2, mode=mode)
    node = cluster.node(1)
    for command in (["attach", "kept", "--model", "persistent"], ["attach", "lost"]):
        node.run(["ctdb", "db", *command], check=True, capture_output=True)
    assert tdbfiles.damaged(cluster) == []
    paths = dict(tdbfiles.files(node))
    assert {"persistent/kept.1", "volatile/lost.1", "state/persistent_health.tdb.1"} <= set(paths)
    for name, at in (("persistent/kept.1", 1000), ("volatile/lost.1", -1000)):  # mutexes are first in a volatile one
        with open(paths[name], "rb") as f:
            good = f.read()
        # A chain that leads nowhere, a file that was cut.
        for bad in (good[:at] + b"\x7f\x7f\x7f\x7c" + good[at + 4:], good[:len(good) // 2]):
            with open(paths[name], "wb") as f:
                f.write(bad)
            found = tdbfiles.damaged(cluster)
            assert len(found) == 1 and f"{cluster.name} node1: {name} is damaged" in found[0], found
        with open(paths[name], "wb") as f:
            f.write(good)
    assert tdbfiles.damaged(cluster) == []
