"""Debian's ctdb reloadnodes, unmodified: the nodes file of four nodes of ours changes as users have always changed it."""

import shutil
import tempfile

import pytest
from support import wait_until
from test_old_tool import Tool


@pytest.fixture
def tool(debian_root, cluster_factory):
    base = tempfile.mkdtemp(prefix="ct", dir="/tmp")
    yield Tool(debian_root, cluster_factory(4), base)
    shutil.rmtree(base, ignore_errors=True)


def test_reloadnodes(tool):
    nodes = tool.cluster.nodes
    text = "".join(node.address + "\n" for node in nodes)
    tool.run("reloadnodes")
    tool.cluster.fault(3, "shutdown")
    wait_until(lambda: "DISCONNECTED" in tool.run("status"), what="node 3 to be out")
    other = nodes[0].address.rpartition(".")[0] + ".50"
    new = text.replace(nodes[3].address, "#" + nodes[3].address) + other + "\n"

    with open(nodes[1].file("nodes"), "w", encoding="utf-8") as f:
        f.write(new)
    tool.run("reloadnodes", pnn=1, status=1)  # the others have another file: nothing is done
    for pnn in (0, 2):
        with open(nodes[pnn].file("nodes"), "w", encoding="utf-8") as f:
            f.write(new)
    assert tool.run("reloadnodes", pnn=1).split("\n")[:2] == ["Node 3 is DELETED", "Node 4 is NEW"]
    for pnn in range(3):
        assert tool.run("listnodes", pnn=pnn).split() == [nodes[0].address, nodes[1].address, nodes[2].address, other]
        with open(nodes[pnn].file("nodes"), encoding="utf-8") as f:
            assert f.read() == new
    wait_until(lambda: tool.run("reloadnodes", pnn=2) == "", what="that nothing is to be done any more")
