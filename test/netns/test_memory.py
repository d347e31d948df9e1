"""Volatile databases in memory, by one option."""

import pytest
from support import CAPTURE, need_programs, output


@pytest.fixture
def cluster(cluster_factory, need_root):
    need_programs("ip")
    return cluster_factory(2, mode="netns", extra_config="[database]\n\tvolatile in memory = true\n")


def test_databases_in_memory(cluster):
    """/run/ctdb is a tmpfs there. A daemon that starts again finds the records; a node that boots does not."""

    def ctdb(pnn, *words):
        return output(cluster.node(pnn).run(["ctdb", *words], timeout=60, check=False, **CAPTURE))

    for model in ("volatile", "replicated", "persistent"):
        ctdb(0, "db", "attach", f"{model}.tdb", "--model", model)
    ctdb(0, "record", "set", "volatile.tdb", "key", "value")
    for pnn in range(2):
        assert f"File: /run/ctdb/volatile/volatile.tdb.{pnn}\n" in ctdb(pnn, "db", "status", "volatile.tdb")
        assert f"File: /run/ctdb/volatile/replicated.tdb.{pnn}\n" in ctdb(pnn, "db", "status", "replicated.tdb")
        assert f"File: /var/lib/ctdb/persistent/persistent.tdb.{pnn}\n" in ctdb(pnn, "db", "status", "persistent.tdb")
    kind = cluster.node(1).run(["stat", "-f", "-c", "%T", "/run/ctdb/volatile"], check=False, **CAPTURE)
    assert output(kind) == "tmpfs\n"
    cluster.fault(0, "kill:ctdb-dbd")
    cluster.wait_ready()
    assert ctdb(1, "record", "get", "volatile.tdb", "key") == "value\n"
    cluster.fault(1, "power-off")
    cluster.fault(1, "power-on")
    cluster.wait_ready()
    assert ctdb(0, "db", "check").startswith("OK: 0 of ")
