"""Vacuuming: deleted records go from all nodes' files, nothing that was deleted comes back, nobody waits for it."""

import json
import os
import struct
import subprocess
import threading

import pytest
from classic import FETCH, Client
from support import CALM, CAPTURE, PATIENCE, output, wait_until

SET_TUNABLE, ATTACH_PERSISTENT, VACUUM_FETCH, DB_VACUUM = 48, 61, 154, 155
NODES = 3


@pytest.fixture(scope="module")
def shared(module_factory):
    return module_factory(NODES, extra_config=CALM)


@pytest.fixture
def cluster(shared):
    shared.wait_ready(2 * PATIENCE)
    set_tunable(shared, "VacuumInterval", 1)
    return shared


def client(cluster, pnn):
    return Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)


def set_tunable(cluster, name, value):
    for node in cluster.nodes:
        with client(cluster, node.pnn) as c:
            c.good(SET_TUNABLE, struct.pack("=II", value, len(name) + 1) + name.encode() + b"\0")


def run(cluster, pnn, *words):
    return cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)


def ctdb(cluster, pnn, *words):
    return output(run(cluster, pnn, *words))


def script(cluster, pnn, lines):
    """Many commands of one node, in one shell."""
    done = cluster.node(pnn).run(["sh", "-ec", "\n".join(lines)], timeout=8 * PATIENCE, check=False, **CAPTURE)
    return output(done)


def write(cluster, pnn, db, keys, value):
    script(cluster, pnn, [f"ctdb record set {db} {key} {value}" for key in keys])


def delete(cluster, pnn, db, keys):
    script(cluster, pnn, [f"ctdb record delete {db} {key}" for key in keys])


def in_file(cluster, pnn, db):
    """What a node's file has: a dictionary of keys and values, deleted records with empty ones."""
    done = run(cluster, pnn, "db", "dump", "--local", db)
    if done.returncode != 0:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("set ")]
    return dict(tuple(json.loads("[" + line[4:].replace('" "', '", "') + "]")) for line in lines)


def vacuum(cluster, db, full=True):
    """On all nodes. A recovery may be in the way."""
    def tried():
        done = run(cluster, 0, "db", "vacuum", db, *(["--full"] if full else []))
        return done.returncode == 0
    wait_until(tried, 4 * PATIENCE, what="a run of vacuuming")


def wait_files(cluster, db, wanted, full=False, patience=4 * PATIENCE):
    """Until the files of all nodes have only keys that are wanted."""
    def left_at(pnn):
        there = in_file(cluster, pnn, db)
        return ["(no answer)"] if there is None else sorted(set(there) - set(wanted))

    def left():
        return {pnn: left_at(pnn) for pnn in range(NODES)}

    def gone():
        if full:
            vacuum(cluster, db)
        return not any(left().values())
    wait_until(gone, patience, what=lambda: f"deleted records to go: {left()}")


def spread(cluster, db, keys):
    """Copies of all records with data on all nodes."""
    ctdb(cluster, 0, "db", "attach", db)
    for pnn in range(NODES):
        write(cluster, pnn, db, keys, f"of{pnn}")


def check(cluster, db, values):
    """All nodes read these."""
    for pnn in range(NODES):
        for key, value in values.items():
            done = run(cluster, pnn, "record", "get", db, key)
            assert (done.returncode, done.stdout.rstrip("\n")) == ((0, value) if value else (3, "")), (pnn, key, done)
    done = run(cluster, 0, "db", "check", db)
    assert done.returncode == 0, done.stdout + done.stderr


def test_deleted_records_go_by_themselves(cluster):
    db, keys, kept = "go.tdb", [f"key{i}" for i in range(24)], ["kept1", "kept2"]
    spread(cluster, db, keys + kept)
    for pnn in range(NODES):
        delete(cluster, pnn, db, keys[pnn::NODES])
    # The file may change while it is read, which then ends with an error.
    wait_until(lambda: all((in_file(cluster, pnn, db) or {}).get(key) is not None for pnn in range(NODES) for key in kept), what="the kept records in all files")
    wait_files(cluster, db, kept)
    check(cluster, db, {**{key: "" for key in keys[:6]}, **{key: "of2" for key in kept}})


def test_vacuum_on_request(cluster):
    """By hand, while the nodes do nothing by themselves; hints are not needed for a full run."""
    set_tunable(cluster, "VacuumInterval", 0)
    db, keys = "request.tdb", [f"key{i}" for i in range(12)]
    spread(cluster, db, keys)
    delete(cluster, 1, db, keys)
    assert any(in_file(cluster, 0, db).values())
    wait_files(cluster, db, [], full=True)
    counts = [json.loads(ctdb(cluster, pnn, "-o", "json", "db", "statistics", db))["vacuum"] for pnn in range(NODES)]
    assert sum(c["removed"] + c["removed_at_once"] for c in counts) >= len(keys) and all(c["full_runs"] >= 1 for c in counts), counts
    rows = json.loads(ctdb(cluster, 1, "-o", "json", "db", "vacuum", db, "--full"))["databases"]
    assert [(row["node"], row["removed"], row["scanned"]) for row in rows] == [(pnn, 0, 0) for pnn in range(NODES)]
    rows = json.loads(ctdb(cluster, 1, "-o", "json", "db", "vacuum", "-n", "2"))["databases"]
    assert {row["node"] for row in rows} == {2} and db in {row["name"] for row in rows}


def test_errors(cluster):
    ctdb(cluster, 0, "db", "attach", "p.tdb", "--model", "persistent")
    done = run(cluster, 0, "db", "vacuum", "p.tdb")
    assert done.returncode == 1 and '"p.tdb" is not volatile' in done.stderr
    assert run(cluster, 0, "db", "vacuum", "unknown.tdb").returncode == 3
    with client(cluster, 0) as c:
        p, v = c.attach("p.tdb", ATTACH_PERSISTENT), c.attach("v.tdb")
        assert c.control(DB_VACUUM, struct.pack("=IB", p, 1))[0] == -1
        assert c.control(DB_VACUUM, struct.pack("=IB", 0x12345678, 1))[0] == -1
        assert c.control(DB_VACUUM, struct.pack("=I", v))[0] == -1
        assert c.control(DB_VACUUM, struct.pack("=IB", v, 0)) == (0, b"", "")
        assert c.control(DB_VACUUM, struct.pack("=IB", v, 1), dest=2) == (0, b"", "")


def test_classic_vacuum_fetch(cluster):
    """The request of classic daemons: the location master fetches the records and removes them."""
    set_tunable(cluster, "VacuumInterval", 0)
    db, keys = "fetch.tdb", [f"key{i}" for i in range(12)]
    spread(cluster, db, keys)
    delete(cluster, 2, db, keys)
    records = b"".join(struct.pack("=4I", 16 + len(key) + 24, 0, len(key), 24) + key.encode() + bytes(24) for key in keys)
    for pnn in range(NODES):
        with client(cluster, pnn) as c:
            number = c.attach(db)
            c.good(VACUUM_FETCH, struct.pack("=II", number, len(keys)) + records)

    def owners():
        return [line for pnn in range(NODES) for line in ctdb(cluster, pnn, "db", "dump", "--local", db).splitlines() if f"dmaster {pnn}" in line]

    def fetched():
        """Each location master has its own: only then nobody has to tell anybody anything."""
        rows = json.loads(ctdb(cluster, 0, "-o", "json", "db", "vacuum", db))["databases"]
        return sum(row["told"] for row in rows) == 0 and not owners()
    wait_until(fetched, 4 * PATIENCE, what=owners)
    wait_files(cluster, db, [])


def test_recreated_records_stay(cluster):
    """Set and deleted again and again while full runs go on: what was set last is there."""
    db, keys = "again.tdb", [f"key{i}" for i in range(6)]
    spread(cluster, db, keys)
    over = threading.Event()

    def churn(pnn):
        for turn in range(12):
            mine = keys[pnn::NODES]
            delete(cluster, pnn, db, mine)
            write(cluster, (pnn + turn) % NODES, db, mine, f"turn{turn}")
            if turn < 11:
                delete(cluster, (pnn + turn) % NODES, db, mine)
                write(cluster, pnn, db, mine, "between")

    def vacuums():
        while not over.is_set():
            run(cluster, 0, "db", "vacuum", db, "--full")
    threads = [threading.Thread(target=churn, args=(pnn,)) for pnn in range(NODES)]
    cleaner = threading.Thread(target=vacuums)
    for thread in [*threads, cleaner]:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    cleaner.join()
    check(cluster, db, {key: "turn11" for key in keys})
    delete(cluster, 0, db, keys)
    wait_files(cluster, db, [], full=True)
    check(cluster, db, {key: "" for key in keys})


def test_stopped_node_brings_nothing_back(cluster):
    """H-028: it has old copies with data of what was deleted and removed while it was out."""
    db, keys = "stopped.tdb", [f"key{i}" for i in range(12)]
    spread(cluster, db, keys)
    write(cluster, 0, db, keys, "latest")
    ctdb(cluster, 0, "node", "stop", "2")
    delete(cluster, 1, db, keys)

    def gone():
        done = run(cluster, 0, "db", "vacuum", db, "--full")
        return done.returncode == 0 and in_file(cluster, 0, db) == {} and in_file(cluster, 1, db) == {}
    wait_until(gone, 4 * PATIENCE, what="deleted records to go")
    ctdb(cluster, 0, "node", "continue", "2")
    cluster.wait_ready(4 * PATIENCE)
    check(cluster, db, {key: "" for key in keys})
    wait_files(cluster, db, [], full=True)


@pytest.mark.parametrize("fault", ["kill:ctdb-dbd", "power"])
@pytest.mark.parametrize("victim", [0, 2])
def test_node_dies_in_the_middle(cluster, fault, victim):
    """Location masters and others: whatever was done until then, nothing deleted comes back."""
    db, keys = f"dies{victim}{fault[:1]}.tdb", [f"key{i}" for i in range(40)]
    spread(cluster, db, keys)
    delete(cluster, 1, db, keys)
    argv = ["ctdb", "db", "vacuum", db, "--full"]
    running = [node.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) for node in cluster.nodes]
    if fault == "power":
        cluster.fault(victim, "power-off")
        cluster.fault(victim, "power-on")
    else:
        cluster.fault(victim, fault)
    for process in running:  # those that asked the node that died would wait for long
        process.kill()
        process.wait()
    cluster.wait_ready(4 * PATIENCE)
    ctdb(cluster, victim, "db", "attach", db)
    check(cluster, db, {key: "" for key in keys})
    wait_files(cluster, db, [], full=True)
    check(cluster, db, {key: "" for key in keys})


def bench_vacuum(cluster, bindir, records):
    """Records are made on all nodes, deleted and removed: the results of the nodes."""
    argv = [os.path.join(bindir, "ctdb-bench"), "vacuum", "--nodes", str(NODES), "--records", str(records), "--quiet-ms", "10"]
    argv += ["--limit", str(8 * PATIENCE), "--json"]
    running = [node.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) for node in cluster.nodes]
    results = []
    for process in running:
        out, err = process.communicate(timeout=16 * PATIENCE)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    return results


def test_churn_does_not_grow_the_file(cluster, bindir):
    sizes = []
    for _ in range(6):
        results = bench_vacuum(cluster, bindir, 3000)
        assert [result["left"] for result in results] == [0] * NODES
        sizes.append(max(result["file_bytes_after"] for result in results))
    assert sizes[-1] <= sizes[1] * 1.5, sizes


def test_requests_go_on(cluster, bindir):
    """While many deleted records are removed another client's requests are answered."""
    over = threading.Event()
    counts = []

    def work():
        with client(cluster, 0) as a, client(cluster, 1) as b:
            db, n = a.attach("meanwhile.tdb"), 0
            while not over.is_set():
                for c in (a, b):
                    assert c.call(db, b"key", FETCH) == b""
                    n += 1
            counts.append(n)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        results = bench_vacuum(cluster, bindir, 20000)
    finally:
        over.set()
        thread.join()
    assert [result["left"] for result in results] == [0] * NODES
    assert counts and counts[0] > 0
