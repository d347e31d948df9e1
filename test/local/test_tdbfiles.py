"""The check of all databases' files at the end of each test's cluster: it would be of no use if it found nothing."""

import tdbfiles


def test_damaged_file_is_named(cluster_factory):
    cluster = cluster_factory(nodes=2)
    node = cluster.node(1)
    for command in (["attach", "kept", "--model", "persistent"], ["attach", "lost"]):
        node.run(["ctdb", "db", *command], check=True, capture_output=True)
    assert tdbfiles.damaged(cluster) == []
    names = [name for name, _ in tdbfiles.files(node)]
    assert {"persistent/kept.1", "volatile/lost.1", "state/persistent_health.tdb.1"} <= set(names)
    for name, at in (("persistent/kept.1", 1000), ("volatile/lost.1", -1000)):  # mutexes are first in a volatile one
        path = node.file("var", name)
        with open(path, "rb") as f:
            good = f.read()
        # A chain that leads nowhere, a file that was cut.
        for bad in (good[:at] + b"\x7f\x7f\x7f\x7c" + good[at + 4:], good[:len(good) // 2]):
            with open(path, "wb") as f:
                f.write(bad)
            found = tdbfiles.damaged(cluster)
            assert len(found) == 1 and f"{cluster.name} node1: {name} is damaged" in found[0], found
        with open(path, "wb") as f:
            f.write(good)
    assert tdbfiles.damaged(cluster) == []
