"""The nodes list of a running cluster: nodes are added, removed, given other addresses, under load and under faults."""

import json
import os
import random
import stat
import threading
import time

from support import CALM, CAPTURE, PATIENCE, output, wait_until


def run(cluster, pnn, *words):
    return cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)


def ctdb(cluster, pnn, *words):
    return output(run(cluster, pnn, *words)).rstrip("\n")


def refused(cluster, pnn, *words):
    """What is said against it."""
    done = run(cluster, pnn, *words)
    assert done.returncode == 1, done
    assert done.stdout == ""
    return done.stderr.removeprefix("ctdb: ").rstrip("\n")


def path(cluster, pnn, name="nodes"):
    return cluster.node(pnn).file(name)


def text(cluster, pnn):
    with open(path(cluster, pnn), encoding="utf-8") as f:
        return f.read()


def write(cluster, pnn, content):
    with open(path(cluster, pnn), "w", encoding="utf-8") as f:
        f.write(content)


def log(cluster, pnn):
    with open(cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
        return f.read()


def status(cluster, pnn):
    done = run(cluster, pnn, "-o", "json", "cluster", "status")
    return json.loads(done.stdout) if done.returncode == 0 else {"verdict": "", "membership": "", "ready": False, "leader": None, "nodes": []}


def leader(cluster):
    return wait_until(lambda: next((s["leader"] for s in (status(cluster, pnn) for pnn in sorted(cluster.running()))
                                    if s["ready"] and s["leader"] in cluster.running()), None) is not None and
                      [s["leader"] for s in (status(cluster, pnn) for pnn in sorted(cluster.running())) if s["leader"] is not None],
                      what="a leader")[0]


def all_have(cluster, content, pnns=None):
    """Nodes files, and nothing beside them."""
    def same():
        return all(text(cluster, pnn) == content and not os.path.exists(path(cluster, pnn, "nodes.next"))
                   for pnn in (cluster.running() if pnns is None else pnns))
    wait_until(same, what=lambda: f"the same nodes file everywhere, not {[text(cluster, pnn) for pnn in cluster.running()]}")


def listed(cluster, pnn):
    """[(address, whether it is deleted)] as the tool tells it: dbd hears of a change after the file is there."""
    return [(n["address"], "DELETED" in n["flags"]) for n in json.loads(ctdb(cluster, pnn, "-o", "json", "node", "list"))["nodes"]]


class Load:
    """Writes records on nodes of a cluster until it is told to stop; what was acknowledged has to be there."""

    def __init__(self, cluster, pnns):
        self.cluster, self.pnns, self.ended, self.done = cluster, pnns, False, {}
        ctdb(cluster, pnns[0], "db", "attach", "load.tdb")
        self.threads = [threading.Thread(target=self._write, args=(pnn,)) for pnn in pnns]
        for thread in self.threads:
            thread.start()

    def _write(self, pnn):
        n = 0
        while not self.ended:
            n += 1
            if run(self.cluster, pnn, "record", "set", "load.tdb", f"key{pnn}", str(n)).returncode == 0:
                self.done[pnn] = n

    def stop(self):
        self.ended = True
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def check(self, pnn):
        assert self.done.keys() == set(self.pnns)
        for writer, n in self.done.items():
            assert int(wait_until(lambda writer=writer: run(self.cluster, pnn, "record", "get", "load.tdb", f"key{writer}").stdout.strip())) >= n


def test_add_remove_replace_under_load(cluster_factory):
    cluster = cluster_factory(3, extra_config=CALM)
    node = cluster.next_node()
    was = text(cluster, 0)
    with Load(cluster, [0, 1, 2]) as load:
        assert ctdb(cluster, 1, "node", "add", "--dry-run", node.address) == f"Would be done:\nnode 3 is added: {node.address}"
        all_have(cluster, was)
        assert ctdb(cluster, 1, "node", "add", node.address) == f"node 3 is added: {node.address}"
        all_have(cluster, was + node.address + "\n")
        cluster.add_node()
        cluster.wait_ready(2 * PATIENCE)
        before = dict(load.done)
        wait_until(lambda: all(load.done[pnn] > before.get(pnn, 0) for pnn in (0, 1, 2)), what="records written with four nodes")
    load.check(3)
    assert [n["pnn"] for n in status(cluster, 3)["nodes"]] == [0, 1, 2, 3]

    # Everything works that needs all nodes: a database that is copied to all.
    ctdb(cluster, 3, "db", "attach", "all.tdb", "--model", "replicated")
    ctdb(cluster, 3, "record", "set", "all.tdb", "key", "value")
    assert ctdb(cluster, 0, "record", "get", "all.tdb", "key") == "value"

    assert refused(cluster, 3, "node", "remove", "1").endswith(": stop its ctdbd first")  # another text when it leads
    cluster.fault(1, "shutdown")
    wait_until(lambda: run(cluster, 3, "node", "remove", "1").returncode == 0, what="node 1 to be removed")
    lines = [cluster.node(pnn).address for pnn in range(4)]
    all_have(cluster, f"{lines[0]}\n#{lines[1]}\n{lines[2]}\n{lines[3]}\n")
    wait_until(lambda: [deleted for _, deleted in listed(cluster, 0)] == [False, True, False, False], what="node 1 to be deleted for clients, too")
    wait_until(lambda: not json.loads(ctdb(cluster, 0, "-o", "json", "node", "list"))["nodes"][3]["flags"], what="node 3 to be well")
    assert refused(cluster, 0, "node", "remove", "1") == "node 1 has been removed already"

    # Its number is used again, by a machine with another address.
    other = f"{lines[0].rpartition('.')[0]}.99"
    answer = json.loads(ctdb(cluster, 2, "-o", "json", "node", "replace", "1", other))
    assert answer["message"] == f"node 1 is used again: {other}" and answer["node"] == 1 and answer["dry_run"] is False
    all_have(cluster, f"{lines[0]}\n{other}\n{lines[2]}\n{lines[3]}\n")
    with open(path(cluster, 1, "ctdb.conf"), encoding="utf-8") as f:
        config = f.read().replace(f"node address = {lines[1]}", f"node address = {other}")
    with open(path(cluster, 1, "ctdb.conf"), "w", encoding="utf-8") as f:
        f.write(config)
    write(cluster, 1, text(cluster, 0))
    cluster.fault(1, "power-on")
    cluster.wait_ready(2 * PATIENCE)
    load.check(1)


def test_what_is_refused(cluster):
    was = text(cluster, 0)
    address = cluster.node(1).address
    free = cluster.next_node().address
    assert refused(cluster, 0, "node", "add", "nowhere") == '"nowhere" is not an address: give ADDR or ADDR1,ADDR2, IPv4 or IPv6'
    assert refused(cluster, 0, "node", "add", f"{free}\n#") == f'"{free}\n#" is not an address: give ADDR or ADDR1,ADDR2, IPv4 or IPv6'
    assert refused(cluster, 1, "node", "add", "1.2.3") == \
        'new nodes list:4: "1.2.3" is not an IPv4 or IPv6 address: write one address per line, the same file on all nodes'
    assert refused(cluster, 2, "node", "add", "0.0.0.0") == 'new nodes list:4: "0.0.0.0" cannot be the address of a node'
    assert refused(cluster, 1, "node", "add", address) == f"new nodes list:4: address {address} is already in line 2: each address once"
    assert refused(cluster, 1, "node", "add", f"{free},{free}") == \
        f"new nodes list:4: address {free} is twice in this line: give another one, or only one"
    assert refused(cluster, 1, "node", "add", "1.1.1.1,2.2.2.2,3.3.3.3") == "new nodes list:4: more than 2 addresses of one node are not possible"
    assert refused(cluster, 0, "node", "remove", "7") == "there is no node 7: the nodes list has 3"
    assert refused(cluster, 0, "node", "replace", "7", free) == "there is no node 7: the nodes list has 3"
    assert refused(cluster, 0, "node", "replace", "1", address) == "node 1 has this address already"
    lead = leader(cluster)
    other = (lead + 1) % 3
    assert refused(cluster, lead, "node", "remove", str(other)) == f"node {other} is still connected: stop its ctdbd first"
    assert refused(cluster, lead, "node", "replace", str(other), free) == f"node {other} is still connected: stop its ctdbd first"
    assert refused(cluster, other, "node", "remove", str(lead)) == f"node {lead} is the leader itself: stop its ctdbd first"
    done = run(cluster, 0, "node", "remove", "one")
    assert done.returncode == 2 and done.stderr == 'ctdb: "one" is not the number of a node: see ctdb node list\n'
    done = run(cluster, 0, "node", "list", "--dry-run")
    assert done.returncode == 2 and "--dry-run cannot be used" in done.stderr
    all_have(cluster, was)


def test_reload_finds_nothing_to_do(cluster):
    assert ctdb(cluster, 1, "node", "reload") == "there is nothing to do: all nodes have this list"
    assert ctdb(cluster, 1, "node", "reload", "--dry-run") == "Would be done:\nthere is nothing to do: all nodes have this list"


def test_reload_refuses_a_bad_file(cluster):
    was = text(cluster, 1)
    lines = was.split()
    try:
        write(cluster, 1, was + "nonsense\n")
        assert refused(cluster, 1, "node", "reload").startswith(f'{path(cluster, 1)}:4: "nonsense" is not an IPv4 or IPv6 address')
        write(cluster, 1, f"{lines[0]}\n{lines[1]}\n")
        assert refused(cluster, 1, "node", "reload") == \
            "the new list has 2 lines, the one in use 3: a node that is removed keeps its line, with '#' before the address"
        write(cluster, 1, f"{lines[0]}\n{lines[2]}\n{lines[1]}\n")
        assert refused(cluster, 1, "node", "reload") == f"new nodes list:3: address {lines[2]} is already in line 2: each address once"
        os.unlink(path(cluster, 1))
        assert refused(cluster, 1, "node", "reload").startswith(f"{path(cluster, 1)}: does not exist")
    finally:
        write(cluster, 1, was)
    all_have(cluster, was)


def test_a_node_that_cannot_write_refuses_for_all(cluster):
    was = text(cluster, 0)
    lead = leader(cluster)
    pnn = (lead + 1) % 3
    # A directory in the way of the file that has to be written beside it: root's permissions do not help against that.
    os.mkdir(path(cluster, pnn, "nodes.next"))
    try:
        error = refused(cluster, lead, "node", "add", cluster.next_node().address)
        assert error.startswith(f"node {pnn} refuses: {path(cluster, pnn)}.next cannot be written: ") and error.endswith(": nothing was changed")
        assert os.path.isdir(path(cluster, pnn, "nodes.next"))
    finally:
        os.rmdir(path(cluster, pnn, "nodes.next"))
    all_have(cluster, was)
    assert [n["pnn"] for n in status(cluster, lead)["nodes"]] == [0, 1, 2]


def test_symbolic_link_and_mode_stay(cluster_factory):
    cluster = cluster_factory(2)
    os.rename(path(cluster, 0), path(cluster, 0, "elsewhere"))
    os.symlink("elsewhere", path(cluster, 0))
    os.chmod(path(cluster, 0, "elsewhere"), 0o640)
    cluster.fault(0, "kill:ctdb-clusterd")
    cluster.wait_ready(2 * PATIENCE)
    node = cluster.next_node()
    wait_until(lambda: run(cluster, 0, "node", "add", node.address).returncode == 0, what="the change")
    wait_until(lambda: len(text(cluster, 0).split()) == 3, what="the new file")
    assert os.readlink(path(cluster, 0)) == "elsewhere"
    assert text(cluster, 0).split()[2] == node.address
    assert stat.S_IMODE(os.stat(path(cluster, 0)).st_mode) == 0o640


def test_differing_file_stays_out_and_gets_the_list(cluster):
    was = text(cluster, 0)
    odd = (leader(cluster) + 1) % 3
    lead = leader(cluster)
    other = ({0, 1, 2} - {odd, lead}).pop()
    lines = was.split()
    extra = f"{lines[0].rpartition('.')[0]}.77"
    cluster.fault(odd, "shutdown")
    write(cluster, odd, was + extra + "\n")
    cluster.fault(odd, "power-on")
    wait_until(lambda: f'node 3 ("{extra}") is only in its nodes file' in (status(cluster, lead)["membership"] or "") + log(cluster, lead), what="the leader to say why")
    wait_until(lambda: f'node {odd} is kept out: node 3 ("{extra}") is only in its nodes file' in log(cluster, lead))
    wait_until(lambda: f'node {lead} is kept out: node 3 ("{extra}") is missing in its nodes file' in log(cluster, odd))
    wait_until(lambda: f"kept out by leader node {lead}" in (status(cluster, odd)["membership"] or ""), what="the node to say why")
    wait_until(lambda: not status(cluster, odd)["ready"], what="the node not to serve")
    assert ctdb(cluster, other, "node", "reload", "--dry-run") == f"Would be done:\nnode {odd} gets the list"
    assert ctdb(cluster, other, "node", "reload") == f"node {odd} has the list now"
    cluster.wait_ready(2 * PATIENCE)
    all_have(cluster, was)


def test_reload_of_several(cluster_factory):
    """As with an old cluster: the new file is copied to all nodes, then one command."""
    cluster = cluster_factory(4, extra_config=CALM)
    lines = text(cluster, 0).split()
    base = lines[0].rpartition(".")[0]
    cluster.fault(3, "shutdown")
    new = f"{lines[0]}\n{lines[1]}\n{lines[2]}\n#{lines[3]}\n{base}.50\n"
    for pnn in (0, 1, 2):
        write(cluster, pnn, new)
    said = wait_until(lambda: (done := run(cluster, 1, "reloadnodes")).returncode == 0 and done.stdout.rstrip("\n"), what="the change")
    assert said == f"node 3 is removed\nnode 4 is added: {base}.50"
    all_have(cluster, new, (0, 1, 2))
    wait_until(lambda: listed(cluster, 2)[3:] == [(listed(cluster, 2)[3][0], True), (f"{base}.50", False)], what="the list of clients")
    # One more would leave no majority reachable (3 of 5, 3 of 6).
    assert ctdb(cluster, 1, "node", "add", f"{base}.51") == f"node 5 is added: {base}.51\nnode 4 is not reachable or kept out and does not get the list: " \
        "when it is back, run 'ctdb node reload' on a member"
    assert "would be reachable, no majority" in refused(cluster, 1, "node", "add", f"{base}.52")


def test_no_majority_no_change(cluster_factory):
    cluster = cluster_factory(3)
    was = text(cluster, 0)
    cluster.fault(1, "power-off")
    cluster.fault(2, "power-off")
    wait_until(lambda: not status(cluster, 0)["ready"], what="node 0 to notice")
    wait_until(lambda: refused(cluster, 0, "node", "remove", "2").startswith("there is no leader that could do it: "))
    assert text(cluster, 0) == was


def test_killed_in_the_middle(cluster_factory):
    """clusterd of the leader, or of others, is killed at random moments of changes: in the end all have the same list, and each answer was true."""
    cluster = cluster_factory(3)
    rnd = random.Random(4711)
    base = cluster.node(0).address.rpartition(".")[0]
    # A fourth node that never runs has another address each time.
    wait_until(lambda: run(cluster, 0, "node", "add", f"{base}.100").returncode == 0, what="the first change")
    with Load(cluster, [1]) as load:
        for i in range(101, 109):
            lead = leader(cluster)
            victim = lead if i % 3 else (lead + 1) % 3
            wait_until(lambda victim=victim: cluster.node(victim).find_program("ctdb-clusterd"), what="its clusterd")  # it pauses after each early end
            process = cluster.node((lead + 1) % 3).popen(["ctdb", "node", "replace", "3", f"{base}.{i}"], text=True, stdin=CAPTURE["stdin"],
                                                         stdout=-1, stderr=-1)
            time.sleep(rnd.random() * 0.05)
            cluster.fault(victim, "kill:ctdb-clusterd")
            said = process.communicate(timeout=4 * PATIENCE)
            wait_until(lambda: len({text(cluster, pnn) for pnn in range(3)}) == 1 and
                       not any(os.path.exists(path(cluster, pnn, "nodes.next")) for pnn in range(3)),
                       what=lambda i=i, said=said: f"agreement after change {i}: {[text(cluster, pnn) for pnn in range(3)]} {said}")
            if process.returncode == 0:
                assert text(cluster, 0).split()[3] == f"{base}.{i}"
            for pnn in range(3):
                wait_until(lambda pnn=pnn: status(cluster, pnn)["ready"], what=f"node {pnn} to serve")
    load.check(0)
