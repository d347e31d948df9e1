"""Operations on whole databases, on clusters: dump, backup, restore, wipe, freeze, check, transactions, damaged copies."""

import json
import os
import random
import re
import signal
import struct
import subprocess
import threading

import pytest
from support import CALM, CAPTURE, PATIENCE, output, wait_until

NODES = 3
OK, ERROR, USAGE, NOT_FOUND, TIMEOUT, NO_DAEMON, WRONG = range(7)
SEQNUM = "__db_sequence_number__"
MODELS = ("volatile", "persistent", "replicated")


@pytest.fixture(scope="module")
def shared(module_factory):
    return module_factory(NODES, extra_config=CALM)


_numbers = iter(range(1, 1 << 30))


class Database:
    """A database of its own for each test, and ctdb on any node."""

    def __init__(self, cluster, model, name=None):
        self.cluster, self.model = cluster, model
        self.name = name or f"ops{next(_numbers)}.tdb"
        self.good("db", "attach", self.name, "--model", model)

    def run(self, *args, pnn=0, **options):
        return self.cluster.node(pnn).run(["ctdb", *args], check=False, **{**CAPTURE, **options})

    def good(self, *args, **options):
        return output(self.run(*args, **options))

    def bad(self, code, *args, words=(), **options):
        done = self.run(*args, **options)
        assert done.returncode == code, (done.stdout, done.stderr)
        for word in words:
            assert word in done.stderr, done.stderr
        return done

    def settled(self, *args, **options):
        """As good(); again if a recovery ran meanwhile, which the command cannot be blamed for."""
        done = wait_until(lambda: (d := self.run(*args, **options)) and "a recovery ran meanwhile" not in d.stderr and d, what="a quiet moment")
        return output(done)

    def set(self, key, value, pnn=0):
        self.good("record", "set", self.name, key, value, pnn=pnn)

    def fill(self, n, size=100, pnn=0):
        """n records, of a volatile database spread over the nodes."""
        if self.model == "volatile":
            pairs = [(f"key{i}", "v" * (i % size + 1)) for i in range(n)]
            for i, (key, value) in enumerate(pairs):
                self.set(key, value, pnn=i % NODES)
        else:
            script = "".join(f"set key{i} {'v' * (i % size + 1)}\n" for i in range(n))
            self.run_script(script, pnn=pnn)

    def run_script(self, script, pnn=0, **options):
        options = {"capture_output": True, "text": True, "input": script, **options}
        return output(self.cluster.node(pnn).run(["ctdb", "transaction", "run", self.name], check=False, **options))

    def records(self, pnn=0):
        """{key: value} of the whole cluster, as that node tells."""
        lines = self.settled("-o", "json", "db", "dump", self.name, pnn=pnn).splitlines()
        assert json.loads(lines[-1]) == {"schema": 1, "records": len(lines) - 1, "complete": True}
        found = [json.loads(line) for line in lines[:-1]]
        assert len({r["key"] for r in found}) == len(found)
        return {r["key"]: r["value"] for r in found}

    def check(self, pnn=0):
        return output(self.run("db", "check", self.name, pnn=pnn)).splitlines()[0]


def finish(process):
    """What is left of its output, and of its errors. (communicate() forgets what was read ahead.)"""
    with process:
        out, errors = process.stdout.read(), process.stderr.read()
        process.wait(4 * PATIENCE)
    return out, errors


def expected(n, size=100):
    return {f"key{i}": "v" * (i % size + 1) for i in range(n)}


# ---- dump ----


@pytest.mark.parametrize("model", MODELS)
def test_dump(cluster, model):
    db = Database(cluster, model)
    assert db.good("db", "dump", db.name) == "# 0 records\n"
    db.fill(30)
    for pnn in range(NODES):
        assert db.records(pnn) == expected(30)
    db.good("record", "delete", db.name, "key7", pnn=1)
    assert "key7" not in db.records(2)
    text = db.good("db", "dump", db.name)
    assert text.endswith("# 29 records\n") and 'set "key0" "v"\n' in text
    assert f"0x{b'key3'.hex()} 0x{b'vvvv'.hex()}\n" in db.good("db", "dump", "--hex", db.name)
    local = db.good("db", "dump", "--local", db.name)
    assert "# rsn " in local and (SEQNUM in local) == (model != "volatile")


def test_a_dump_is_a_script(cluster):
    """What db dump prints, transaction run reads: also bytes that are no text."""
    source, target = Database(cluster, "replicated"), Database(cluster, "replicated")
    source.run_script('set "a \\"b\\"\\\\c" "\\x00\\xff\\n"\n'.replace("\\n", "\\x0a") + "set plain 0x20\n")
    for options in ([], ["--hex"]):
        script = source.good("db", "dump", source.name, *options)
        target.run_script(script, pnn=1)
        assert target.records() == source.records() == {'a "b"\\\\c': "\\x00\\xff\\x0a", "plain": " "}


def test_large_dump_is_streamed(cluster):
    """Some 40 MB through a reader that is slow at first: the tool and the daemons hold a small part."""
    db = Database(cluster, "replicated")
    value = "x" * 4000
    for part in range(10):
        db.run_script("".join(f"set k{part}-{i} {value}\n" for i in range(1000)), pnn=part % NODES)
    process = cluster.node(1).popen(["ctdb", "db", "dump", db.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    first = process.stdout.readline()
    assert first.startswith(b"set ")
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as f:
        resident = int(f.read().split()[1]) * 4096
    assert resident < 30e6
    rest, _ = finish(process)
    assert process.returncode == 0 and rest.endswith(b"# 10000 records\n") and rest.count(b"\nset ") + 1 == 9999
    path = os.path.join(cluster.node(0).file("var"), "large.backup")
    db.settled("db", "backup", db.name, path)
    db.good("db", "wipe", db.name, pnn=2)
    assert db.records() == {}
    db.good("db", "restore", path, pnn=0)
    assert len(db.records(1)) == 10000
    assert db.check().startswith("OK: 0 of 1")
    os.unlink(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dump_ends_by_a_signal(cluster, number):
    db = Database(cluster, "replicated")
    db.run_script("".join(f"set k{i} {'x' * 2000}\n" for i in range(4000)))
    process = cluster.node(0).popen(["ctdb", "db", "dump", db.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    process.stdout.readline()  # the pipe is full now, or will be
    process.send_signal(number)
    _, errors = finish(process)
    assert process.returncode == ERROR and b"interrupted after " in errors


def test_dump_says_when_a_node_is_lost(cluster):
    """Its records are missing, and the exit status says so. The node comes back at the end."""
    db = Database(cluster, "volatile")
    db.fill(30)
    # Much that node 2 owns and that nobody reads: the walk is on its way there when the node goes.
    big = "y" * 60000
    for i in range(100):
        db.set(f"big{i}", big, pnn=2)
    process = cluster.node(0).popen(["ctdb", "-o", "json", "db", "dump", db.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    stdin=subprocess.DEVNULL, text=True)
    process.stdout.readline()
    cluster.fault(2, "power-off")
    try:
        out, errors = finish(process)
    finally:
        cluster.fault(2, "power-on")
    assert process.returncode == ERROR and "may be missing" in errors, errors
    documents = [json.loads(line) for line in out.splitlines()]
    assert documents[-2]["complete"] is False and "error" in documents[-1]
    cluster.wait_ready(4 * PATIENCE)
    assert set(expected(30)) - set(db.records()) <= set(expected(30))


# ---- backup and restore ----


@pytest.mark.parametrize("model", MODELS)
def test_backup_and_restore(cluster, model, base):
    db = Database(cluster, model)
    path = os.path.join(base, "file")
    db.fill(40)
    before = db.records()
    assert "Records: 40" in db.settled("db", "backup", db.name, path)
    assert os.stat(path).st_mode & 0o777 == 0o600 and os.listdir(base) == ["file"]
    shown = json.loads(db.good("-o", "json", "db", "show-backup", path))
    assert shown["name"] == db.name and shown["model"] == model and shown["records"] == 40
    db.good("record", "set", db.name, "key3", "changed", pnn=1)
    db.good("record", "set", db.name, "later", "gone", pnn=2)
    db.good("record", "delete", db.name, "key4", pnn=2)
    assert "Records: 40" in db.good("db", "restore", path, pnn=1)
    for pnn in range(NODES):
        assert db.records(pnn) == before
    assert db.check().startswith("OK: 0 of 1")
    db.good("record", "set", db.name, "key3", "again", pnn=2)
    assert db.records()["key3"] == "again"
    other = f"copy-{db.name}"
    db.good("db", "restore", path, other)
    copy = Database(cluster, model, other)
    assert copy.records(2) == before
    assert copy.check().startswith("OK: 0 of 1")


def test_restore_keeps_the_flags(cluster, base):
    db = Database(cluster, "volatile")
    path, other = os.path.join(base, "file"), f"flags-{db.name}"
    db.good("attach", db.name, "readonly")
    db.set("a", "1")
    db.settled("db", "backup", db.name, path)
    db.good("db", "restore", path, other)
    for pnn in range(NODES):
        assert "READONLY: yes\n" in db.good("getdbstatus", other, pnn=pnn)
    assert Database(cluster, "volatile", other).records(1) == {"a": "1"}


def test_restore_counts_above_all(cluster, base):
    """The sequence number goes up: a restored database is newer than whatever it replaces."""
    db = Database(cluster, "persistent")
    path = os.path.join(base, "file")
    db.set("a", "1")
    db.settled("db", "backup", db.name, path)
    for i in range(5):
        db.set("a", f"{i + 2}")
    high = int(db.good("db", "seqnum", db.name))
    db.good("db", "restore", path)
    assert [int(db.good("db", "seqnum", db.name, pnn=pnn)) for pnn in range(NODES)] == [high + 1] * NODES
    db.good("db", "wipe", db.name)
    assert int(db.good("db", "seqnum", db.name)) == high + 2 and db.records() == {}


def damaged_files(path, base):
    with open(path, "rb") as f:
        good = f.read()
    middle = len(good) // 2
    files = {"cut short": good[:-10], "damaged": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1:],
             "is no backup of a database": b"anything else" * 100, "behind the end": good + b"x"}
    for number, (words, data) in enumerate(files.items()):
        bad = os.path.join(base, f"bad{number}")
        with open(bad, "wb") as f:
            f.write(data)
        yield words, bad


def test_bad_backups_change_nothing(cluster, base):
    db = Database(cluster, "persistent")
    path = os.path.join(base, "file")
    db.fill(20)
    db.settled("db", "backup", db.name, path)
    db.set("later", "stays")
    before, seqnum = db.records(), db.good("db", "seqnum", db.name)
    for words, bad in damaged_files(path, base):
        db.bad(ERROR, "db", "restore", bad, words=[bad, words, "nothing was changed"])
        db.bad(ERROR, "db", "show-backup", bad, words=[bad, words])
    db.bad(ERROR, "db", "restore", os.path.join(base, "nothing"), words=["No such file", "nothing was changed"])
    db.bad(ERROR, "db", "restore", base, words=["is not a regular file"])
    volatile = Database(cluster, "volatile")
    db.bad(ERROR, "db", "restore", path, volatile.name, words=["persistent", "nothing was changed"])
    assert db.records() == before and db.good("db", "seqnum", db.name) == seqnum


def test_backup_file_appears_when_it_is_complete(cluster, base):
    db = Database(cluster, "persistent")
    path = os.path.join(base, "file")
    with open(path, "w", encoding="ascii") as f:
        f.write("old")
    db.bad(NOT_FOUND, "db", "backup", "nosuch.tdb", path, words=["no database"])
    db.bad(ERROR, "db", "backup", db.name, os.path.join(base, "no", "file"), words=["cannot be made"])
    with open(path, encoding="ascii") as f:
        assert f.read() == "old"
    assert os.listdir(base) == ["file"]
    done = cluster.node(0).run(["ctdb", "db", "backup", db.name, "-"], check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == OK and done.stdout.startswith(b"CTDBBAK\n")


def old_backup(name, records, big=False):
    """As CTDB's own tool writes it."""
    order = ">" if big else "<"
    body = b""
    for key, data in records:
        value = struct.pack(order + "QIIII", 3, 7, 0, 0, 0) + data
        body += struct.pack(order + "IIII", 16 + len(key) + len(value), 0, len(key), len(value)) + key + value
    return (struct.pack(order + "QQQQQ", 3, 1700000000, 1, 1, len(records)) + name.encode().ljust(64, b"\0") +
            struct.pack(order + "IIQ", 0xdead, len(records), len(body)) + body)


@pytest.mark.parametrize("big", [False, True])
def test_restore_of_old_backups(cluster, base, big):
    """Also from a machine of the other byte order: the sequence number is a number there."""
    path, name = os.path.join(base, "file"), f"old{next(_numbers)}.tdb"
    seqnum = struct.pack(">Q" if big else "<Q", 900)
    with open(path, "wb") as f:
        f.write(old_backup(name, [(b"a", b"one"), (SEQNUM.encode() + b"\0", seqnum), (b"b\0", b"two")], big))
    node = cluster.node(1)
    text = output(node.run(["ctdb", "restoredb", path], check=False, **CAPTURE))
    assert re.fullmatch(f"Restoring database {name} from backup @ 2023/11/1[45] [0-9:]*\nDatabase {name} restored\n", text)
    db = Database(cluster, "persistent", name)
    assert db.records() == {"a": "one", "b\\x00": "two"}
    assert int(db.good("db", "seqnum", name)) == 901


def test_nothing_is_changed_if_a_recovery_comes(cluster, base):
    """A node that goes while a database is frozen: all is taken back, on all nodes."""
    db = Database(cluster, "persistent")
    db.fill(10)
    db.good("db", "freeze", db.name)
    wait_until(lambda: "frozen                             1" in db.good("statistics"), what="it to be frozen")
    db.good("db", "thaw", db.name)
    cluster.wait_ready(2 * PATIENCE)
    assert db.records() == expected(10)
    db.good("db", "freeze", db.name)
    cluster.fault(2, "power-off")
    cluster.fault(2, "power-on")
    cluster.wait_ready(4 * PATIENCE)
    for pnn in range(NODES):
        assert db.records(pnn) == expected(10)
    db.set("key1", "goes on", pnn=1)


def test_clients_wait_while_it_is_frozen(cluster):
    db = Database(cluster, "persistent")
    db.set("a", "1")
    db.good("db", "freeze", db.name)
    done = []
    thread = threading.Thread(target=lambda: done.append(db.run("-t", "60", "record", "set", db.name, "a", "2", pnn=1)))
    thread.start()
    assert not done
    frozen = [json.loads(db.good("-o", "json", "db", "status", db.name, pnn=pnn))["frozen"] for pnn in range(NODES)]
    assert all(f["state"] == "frozen" and f["node"] == 0 and f["seconds"] >= 0 for f in frozen), frozen
    assert frozen[0]["pid"] > 0 and frozen[0]["program"] == "ctdb" and frozen[1]["pid"] is None, frozen
    assert f"Frozen: frozen, by process {frozen[0]['pid']} (ctdb) of node 0, for " in re.sub(" +", " ", db.good("db", "status", db.name))
    assert "Frozen: frozen, by node 0, for " in re.sub(" +", " ", db.good("db", "status", db.name, pnn=1))
    generation = json.loads(db.good("-o", "json", "cluster", "status", pnn=2))["generation"]
    db.good("db", "thaw", db.name, pnn=2)
    assert json.loads(db.good("-o", "json", "cluster", "status", pnn=2))["generation"] != generation  # the recovery is over
    thread.join(4 * PATIENCE)
    assert done and done[0].returncode == OK, done
    assert db.records()["a"] == "2"
    assert json.loads(db.good("-o", "json", "db", "status", db.name))["frozen"] is None and "Frozen" not in db.good("db", "status", db.name)


# ---- detach ----


def test_detach(cluster):
    db = Database(cluster, "volatile")
    db.bad(ERROR, "db", "detach", db.name, words=["AllowClientDBAttach"])
    persistent = Database(cluster, "persistent")
    db.bad(ERROR, "db", "detach", persistent.name, words=["only volatile ones can be detached"])
    db.bad(NOT_FOUND, "db", "detach", "nosuch.tdb", words=["no database"])
    for pnn in range(NODES):
        set_tunable(cluster, pnn, "AllowClientDBAttach", 0)
    try:
        db.good("db", "detach", db.name)
        for pnn in range(NODES):
            wait_until(lambda at=pnn: db.name not in db.good("db", "list", pnn=at), what="it to be gone")
    finally:
        for pnn in range(NODES):
            set_tunable(cluster, pnn, "AllowClientDBAttach", 1)


def set_tunable(cluster, pnn, name, value):
    import classic
    with classic.Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE) as c:
        text = name.encode() + b"\0"
        assert c.control(48, struct.pack("=II", value, len(text)) + text)[0] == 0


# ---- transactions ----


def test_transaction_all_or_nothing(cluster):
    db = Database(cluster, "persistent")
    db.run_script("set a 1\nset b 2\nset c 3\n")
    assert db.run_script("expect a 1\nset a 10\ndelete b\nabsent zz\nget a\nget b\nget c\n", pnn=1) == "KEY  VALUE\na    10\nb    -\nc    3\n"
    before = db.records()
    for script, words in (("set a 11\nexpect c 4\n", 'line 2: expect: "c" is "3": nothing was changed'),
                          ("set a 11\ndelete b\n", 'line 2: delete: "b" is absent: nothing was changed'),
                          ("set a 11\nabsent c\n", 'line 2: absent: "c" is "3"'),
                          ("set a 11\nexpect b x\n", 'line 2: expect: "b" is absent')):
        db.bad(ERROR, "transaction", "run", db.name, words=[words], input=script, stdin=None)
    for script, words in (("set a 11\nset b\n", "line 2: set KEY VALUE"), ("", "the script is empty"), ("# nothing\n\n", "the script is empty"),
                          ("set a 11\nfrob\n", "line 2: it begins with none of")):
        db.bad(USAGE, "transaction", "run", db.name, words=[words], input=script, stdin=None)
    assert db.records() == before
    volatile = Database(cluster, "volatile")
    volatile.bad(ERROR, "transaction", "run", volatile.name, words=["volatile", "ctdb record"], input="set a 1", stdin=None)
    document = json.loads(db.good("-o", "json", "transaction", "run", db.name, "-", input="get a\nset q 1\n", stdin=None))
    assert document["values"] == [{"key": "a", "value": "10"}] and document["changes"] == 1


def test_transactions_of_all_nodes_in_turn(cluster):
    """Each adds one to the same number, or begins again: none is lost."""
    db = Database(cluster, "replicated")
    db.run_script("set n 0\n")

    def add(pnn):
        left = 5
        while left > 0:
            n = int(db.good("record", "get", db.name, "n", pnn=pnn))
            done = db.run("-t", "60", "transaction", "run", db.name, pnn=pnn, input=f"expect n {n}\nset n {n + 1}\n", stdin=None)
            left -= done.returncode == OK
            assert done.returncode == OK or "nothing was changed" in done.stderr, done.stderr

    threads = [threading.Thread(target=add, args=(pnn,)) for pnn in range(NODES)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20 * PATIENCE)
    assert db.records()["n"] == str(5 * NODES)


# ---- where records are; do the copies fit together ----


def test_locate(cluster):
    db = Database(cluster, "volatile")
    db.bad(NOT_FOUND, "record", "locate", db.name, "nokey", words=["no node has a record"])
    db.set("k", "1", pnn=1)
    db.set("k", "22", pnn=2)
    copies = json.loads(db.good("-o", "json", "record", "locate", db.name, "k"))["copies"]
    assert [c["node"] for c in copies] == [0, 1, 2]
    owners = [c for c in copies if "owner" in c["role"]]
    assert [c["node"] for c in owners] == [2] and owners[0]["size"] == 2 and owners[0]["dmaster"] == 2
    assert sum("lmaster" in c["role"] for c in copies) == 1
    assert all(not c["found"] or c["rsn"] <= owners[0]["rsn"] for c in copies)


def test_check_of_a_cluster_at_work(cluster):
    """Records move between the nodes all the time: nothing of it looks wrong in the end."""
    db = Database(cluster, "volatile")
    db.fill(60)
    stop = threading.Event()

    def work(pnn):
        rnd = random.Random(pnn)
        while not stop.is_set():
            db.run("record", "set", db.name, f"key{rnd.randrange(60)}", "w" * rnd.randrange(1, 50), pnn=pnn)

    threads = [threading.Thread(target=work, args=(pnn,)) for pnn in range(NODES)]
    for t in threads:
        t.start()
    try:
        for _ in range(3):
            assert db.check().startswith("OK: 0 of 1 databases wrong; 60 records, on 3 nodes")
    finally:
        stop.set()
        for t in threads:
            t.join(4 * PATIENCE)
    assert db.good("db", "check").startswith("OK: 0 of ")


def store_raw(cluster, db, pnn, key, value, rsn, dmaster):
    """Into the file of a node, past its daemon."""
    path = re.search("^File: (.*)$", db.good("db", "status", db.name, pnn=pnn), re.MULTILINE).group(1)
    output(cluster.node(pnn).run(["ctdb", "tstore", path, key, value, str(rsn), str(dmaster), "0"], check=False, **CAPTURE))


def without_mutexes(cluster_factory):
    return cluster_factory(NODES, extra_config=CALM + "[database]\n\ttdb mutexes = false\n")


def test_check_finds_what_is_wrong(cluster_factory):
    """Copies are changed behind the daemons' back; each kind of damage is named."""
    cluster = without_mutexes(cluster_factory)
    db = Database(cluster, "volatile")
    for i in range(10):
        db.set(f"k{i}", "v", pnn=0)
    assert db.check().startswith("OK")
    places = {c["node"]: c for c in json.loads(db.good("-o", "json", "record", "locate", db.name, "k1"))["copies"]}
    store_raw(cluster, db, 1, "k1", "twice", places[0]["rsn"], 1)
    store_raw(cluster, db, 0, "k2", "nobody's", 5, 2)
    store_raw(cluster, db, 2, "k2", "nobody's", 5, 0)
    done = db.bad(WRONG, "db", "check", db.name)
    assert done.stdout.startswith("WRONG: 1 of 1 databases wrong; 10 records")
    assert f'{db.name}: record "k1": nodes 0 and 1 both own it\n' in done.stdout
    assert f'{db.name}: record "k2": no node owns it\n' in done.stdout
    document = json.loads(db.bad(WRONG, "-o", "json", "db", "check").stdout)
    row = next(r for r in document["databases"] if r["name"] == db.name)
    assert row["verdict"] == "wrong" and row["wrong"] == 2 and len(row["findings"]) == 2


def test_check_finds_contents_that_differ(cluster_factory):
    cluster = without_mutexes(cluster_factory)
    db = Database(cluster, "persistent")
    db.fill(5)
    store_raw(cluster, db, 1, "key2", "other", 1, 0)
    done = db.bad(WRONG, "db", "check", db.name)
    assert f"{db.name}: nodes 0 and 1 differ: sequence numbers 1 and 1, digests " in done.stdout


# ---- damaged files ----


def damage(path):
    with open(path, "r+b") as f:
        f.write(random.Random(7).randbytes(3000))


def test_check_finds_a_damaged_file(cluster_factory):
    """The file of a running node; then the node starts again and has the contents of the others."""
    cluster = without_mutexes(cluster_factory)
    db = Database(cluster, "persistent")
    db.fill(5)
    path = cluster.node(1).file("var", "persistent", f"{db.name}.1")
    with open(path, "r+b") as f:
        f.seek(168)
        f.write(b"\xff" * 2000)  # the hash chains, not what the open file is known by
    done = db.bad(WRONG, "db", "check", db.name)
    assert f"{db.name}: node 1: the file is damaged" in done.stdout
    cluster.fault(1, "shutdown")
    cluster.node(1).start()
    cluster.wait_ready(4 * PATIENCE)
    assert db.check(1).startswith("OK")
    assert db.records(1) == expected(5)
    assert any(name.startswith(f"{db.name}.1.corrupted.") for name in os.listdir(os.path.dirname(path)))


def test_all_copies_are_damaged(cluster_factory, base):
    """Nobody can give the contents: the database is empty, says why, and takes nothing until a restore."""
    cluster = cluster_factory(NODES, extra_config=CALM)
    db = Database(cluster, "persistent")
    db.fill(10)
    path = os.path.join(base, "file")
    db.settled("db", "backup", db.name, path)
    for pnn in range(NODES):
        cluster.fault(pnn, "shutdown")
    for pnn in range(NODES):
        damage(cluster.node(pnn).file("var", "persistent", f"{db.name}.{pnn}"))
    for pnn in range(NODES):
        cluster.node(pnn).start()
    cluster.wait_ready(4 * PATIENCE)
    for pnn in range(NODES):
        status = db.good("db", "status", db.name, pnn=pnn)
        assert "Healthy: no" in status or "Healthy: false" in status
        assert f"the file was damaged and is now {cluster.node(pnn).file('var', 'persistent', db.name)}.{pnn}.corrupted." in status
    db.bad(ERROR, "record", "get", db.name, "key1")
    db.bad(ERROR, "record", "set", db.name, "key1", "x")
    db.bad(ERROR, "db", "dump", db.name, words=["damaged"])
    db.bad(ERROR, "db", "backup", db.name, os.path.join(base, "other"), words=["damaged"])
    done = db.bad(WRONG, "db", "check", db.name)
    assert f"{db.name}: node 2: marked unhealthy: the file was damaged" in done.stdout
    db.good("db", "restore", path)
    for pnn in range(NODES):
        assert db.records(pnn) == expected(10)
        assert "Health: ok" in db.good("db", "status", db.name, pnn=pnn)
    assert db.check().startswith("OK")
    db.set("key1", "goes on", pnn=2)


# ---- statistics ----


def test_statistics(cluster):
    db = Database(cluster, "volatile")
    db.set("a", "1", pnn=1)
    text = db.good("statistics")
    assert text.startswith("CTDB version 1\nCurrent time of statistics  : ") and "\n num_clients       " in text
    document = json.loads(db.good("-o", "json", "statistics", "-n", "1"))
    assert document["client.req_control"] > 0
    db.good("statistics", "--reset", "-n", "1")
    after = json.loads(db.good("-o", "json", "statistics", "-n", "1"))
    assert after["client.req_control"] < document["client.req_control"]
    rows = wait_until(lambda: json.loads(db.good("-o", "json", "statistics", "--history"))["history"], what="an interval")
    assert len(rows) <= 100 and all(r["until"] >= r["since"] for r in rows)
    assert len(json.loads(db.good("-o", "json", "statistics", "--history", "--count", "1"))["history"]) == 1
    db.bad(USAGE, "statistics", "--count", "1", words=["--history"])
    db.bad(USAGE, "statistics", "--history", "--reset", words=["either"])
    assert json.loads(db.good("-o", "json", "db", "statistics", db.name))["name"] == db.name
    db.bad(NOT_FOUND, "db", "statistics", "nosuch.tdb", words=["no database"])


def test_history_has_longer_intervals_if_asked_for(cluster):
    db = Database(cluster, "volatile")
    set_tunable(cluster, 1, "StatHistoryInterval", 2)
    try:
        db.good("statistics", "--reset", "-n", "1")

        def newest():
            rows = json.loads(db.good("-o", "json", "statistics", "--history", "-n", "1"))["history"]
            return rows and rows[0]

        row = wait_until(newest, 4 * PATIENCE, "an interval")
        assert row["until"] - row["since"] >= 1  # of two seconds, told in whole ones
    finally:
        set_tunable(cluster, 1, "StatHistoryInterval", 1)
