"""The ctdb tool's commands about databases, against a daemon that says what the test wants, also wrongly."""

import hashlib
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import threading

import fake_daemon as fake
import pytest
from support import need_programs

OK, ERROR, USAGE, NOT_FOUND, TIMEOUT, NO_DAEMON, WRONG = range(7)
LIMIT = 60
STATISTICS, STATISTICS_RESET, STAT_HISTORY, DB_STATISTICS = 1, 17, 127, 132
DB_FREEZE, DB_THAW, TRANSACTION_START, TRANSACTION_COMMIT, TRANSACTION_CANCEL, WIPE, TRAVERSE_EXT = 141, 142, 143, 144, 145, 67, 131
PUSH_START, PUSH_CONFIRM, DB_SET_HEALTHY, GET_TUNABLE, DB_ATTACH_PERSISTENT, TRAVERSE_TOLD, INTERFACE_CALL = 147, 148, 121, 49, 61, 514, 513
EXAMINE, SCAN = 3, 4  # procedures of the interface of dbd
SEQNUM_KEY = b"__db_sequence_number__\0"
VOLATILE, PERSISTENT = 0x7A19D84D, 0x7132C184


@pytest.fixture
def daemon():
    d = fake.FakeDaemon()
    d.dbs = [(VOLATILE, 0, b"locking.tdb", b"", 0), (PERSISTENT, 1, b"secrets.tdb", b"", 3)]
    yield d
    d.stop()


@pytest.fixture
def tool(bindir, daemon):
    def run(*args, **options):
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        return subprocess.run([os.path.join(bindir, "ctdb"), "--socket", daemon.path, *args], capture_output=True, text=True, timeout=LIMIT,
                              check=False, env={**os.environ, "TZ": "UTC"}, **options)

    return run


@pytest.fixture
def popen(bindir, daemon):
    def start(*args):
        return subprocess.Popen([os.path.join(bindir, "ctdb"), "--socket", daemon.path, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    return start


def good(done):
    assert done.returncode == OK, (done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout


def bad(done, code, *words):
    assert done.returncode == code, (done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stdout


def value(data, rsn=1, dmaster=0, flags=0):
    return struct.pack("=QIIII", rsn, dmaster, 0, flags, 0) + data


def record(key, data, reqid=1):
    return struct.pack("=4I", 16 + len(key) + len(data), reqid, len(key), len(data)) + key + data


def walk(daemon, records, end=b"", opcode=TRAVERSE_TOLD):
    """The daemon answers a traverse with these, and this as the data of its end. Earlier daemons: opcode TRAVERSE_EXT."""

    def answer(asked, reqid, data):
        if asked == TRAVERSE_TOLD and opcode != TRAVERSE_TOLD:
            return fake.reply_control(reqid, -1)
        if asked != opcode:
            return None
        srvid = struct.unpack("=IIQ", data[:16])[2]
        parts = [record(key, data) for key, data in records] + ([record(b"", end)] if end is not None else [])
        return fake.reply_control(reqid, 0) + b"".join(fake.message(srvid, part) for part in parts)

    daemon.override = answer


RECORDS = [(b"k1", value(b"hello", 2, 0)), (b"a\"\\\0", value(b"\xff", 1 << 40, 2, 0x01010000)), (SEQNUM_KEY, value(b"\1" + bytes(7)))]


# ---- dump ----


def test_old_catdb(tool, daemon):
    walk(daemon, RECORDS)
    assert good(tool("catdb", "secrets.tdb")) == (
        'key(2) = "k1"\ndmaster: 0\nrsn: 2\nflags: 0x00000000\ndata(5) = "hello"\n\n'
        'key(4) = "a\\22\\5C\\00"\ndmaster: 2\nrsn: 1099511627776\nflags: 0x01010000 MIGRATED_WITH_DATA RO_HAVE_DELEGATIONS\ndata(1) = "\\FF"\n\n'
        'key(23) = "__db_sequence_number__\\00"\ndmaster: 0\nrsn: 1\nflags: 0x00000000\ndata(8) = "\\01\\00\\00\\00\\00\\00\\00\\00"\n\n'
        "Dumped 3 records\n")


def test_dump(tool, daemon):
    walk(daemon, RECORDS)
    assert good(tool("db", "dump", "0x7132c184")) == 'set "k1" "hello"\nset "a\\"\\\\\\x00" "\\xff"\n# 2 records\n'
    assert good(tool("db", "dump", "secrets.tdb", "--hex")) == "set 0x6b31 0x68656c6c6f\nset 0x61225c00 0xff\n# 2 records\n"
    documents = [json.loads(line) for line in good(tool("-o", "json", "db", "dump", "secrets.tdb")).splitlines()]
    assert documents[0] == {"key": "k1", "value": "hello", "rsn": 2, "dmaster": 0, "flags": 0, "encoding": "text"}
    assert documents[-1] == {"schema": 1, "records": 2, "complete": True}


def test_dump_with_an_earlier_daemon(tool, daemon):
    """It cannot tell whether all nodes answered: that is said."""
    walk(daemon, RECORDS[:1], opcode=TRAVERSE_EXT)
    assert good(tool("db", "dump", "secrets.tdb")).endswith("# 1 record; this daemon does not say whether all nodes answered\n")
    assert json.loads(good(tool("-o", "json", "db", "dump", "secrets.tdb")).splitlines()[-1])["complete"] is None
    assert good(tool("catdb", "secrets.tdb")).endswith("Dumped 1 records\n")


def end_of(status, text):
    return struct.pack("=II", status, len(text) + 1) + text + b"\0"


def test_dump_that_is_not_complete(tool, daemon):
    walk(daemon, RECORDS, end_of(104, b"node 2 was lost"))
    out = bad(tool("db", "dump", "secrets.tdb"), ERROR, "may be missing after 2: node 2 was lost")
    assert out.count("set ") == 2 and "# " not in out
    lines = bad(tool("-o", "json", "db", "dump", "secrets.tdb"), ERROR).splitlines()
    assert json.loads(lines[-2]) == {"schema": 1, "records": 2, "complete": False} and json.loads(lines[-1])["error"]["code"] == ERROR
    walk(daemon, RECORDS, end_of(0, b""))
    assert good(tool("db", "dump", "secrets.tdb")).endswith("# 2 records\n")
    walk(daemon, RECORDS, b"\1\2\3")
    bad(tool("db", "dump", "secrets.tdb"), ERROR, "something malformed")
    walk(daemon, RECORDS, None)
    bad(tool("-t", "3", "db", "dump", "secrets.tdb"), TIMEOUT, "nothing came for 3 s after 2 records")


def test_dump_refused(tool, daemon):
    bad(tool("db", "dump", "nosuch.tdb"), NOT_FOUND, 'no database "nosuch.tdb"')
    bad(tool("catdb", "nosuch.tdb"), ERROR, "No database matching 'nosuch.tdb' found")
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, -1, b"", b"a recovery is running") if opcode == TRAVERSE_TOLD else None
    bad(tool("-t", "3", "db", "dump", "secrets.tdb"), TIMEOUT, "a recovery is running")
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, -1, b"", b"this database is damaged") if opcode == TRAVERSE_TOLD else None
    bad(tool("db", "dump", "secrets.tdb"), ERROR, "this database is damaged")

    def garbage(opcode, reqid, data):
        if opcode != TRAVERSE_TOLD:
            return None
        return fake.reply_control(reqid, 0) + fake.message(struct.unpack("=IIQ", data[:16])[2], struct.pack("=4I", 16, 1, 5000, 1))

    daemon.override = garbage
    bad(tool("db", "dump", "secrets.tdb"), ERROR, "malformed record")


# ---- backup ----


def frames(path):
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"CTDBBAK\n"
    at, found = 8, []
    while at < len(data):
        kind, length = struct.unpack(">II", data[at:at + 8])
        found.append((kind, data[at + 8:at + 8 + length], data[:at]))
        at += 8 + length
    assert at == len(data)
    return found


def test_backup_is_as_the_manual_says(tool, daemon, base):
    walk(daemon, RECORDS)
    path = os.path.join(base, "file")
    assert "Records: 2" in good(tool("db", "backup", "secrets.tdb", path))
    (one, header, _), (two, block, _), (three, end, before) = frames(path)
    assert (one, two, three) == (1, 2, 3)
    assert header.startswith(struct.pack(">II", 1, 11) + b"secrets.tdb\0" + struct.pack(">II", PERSISTENT, 1))
    assert block == (struct.pack(">II", 2, 2) + b"k1\0\0" + struct.pack(">QIII", 2, 0, 0, 5) + b"hello\0\0\0" +
                     struct.pack(">I", 4) + b'a"\\\0' + struct.pack(">QIII", 1 << 40, 2, 0x01010000, 1) + b"\xff\0\0\0")
    assert end == struct.pack(">QQ", 2, 1) + hashlib.sha256(before + struct.pack(">QQ", 2, 1)).digest()
    assert good(tool("dumpdbbackup", path)).startswith("Dumping database secrets.tdb from backup @ 20")
    assert good(tool("dumpdbbackup", path)).endswith("Dumped 2 record(s)\n")
    assert good(tool("db", "show-backup", path, "--records")) == 'set "k1" "hello"\nset "a\\"\\\\\\x00" "\\xff"\n# 2 records\n'


def test_backup_does_not_replace_standard_output(bindir, daemon, base):
    walk(daemon, RECORDS)
    path = os.path.join(base, "out")
    for target in ("/dev/stdout", path):
        with open(path, "w", encoding="ascii") as out:
            out.write("before\n")
            out.flush()
            done = subprocess.run([os.path.join(bindir, "ctdb"), "--socket", daemon.path, "db", "backup", "secrets.tdb", target], stdout=out,
                                  stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
        assert done.returncode == ERROR and "is standard output: say -" in done.stderr, done.stderr
        with open(path, encoding="ascii") as out:
            assert out.read() == "before\n"


def test_backup_with_an_earlier_daemon(tool, daemon, base):
    """It cannot tell whether all nodes answered: a warning on standard error, in all forms."""
    walk(daemon, RECORDS, opcode=TRAVERSE_EXT)
    path, words = os.path.join(base, "file"), "records may be missing"
    for command in (["db", "backup"], ["-o", "json", "db", "backup"], ["backupdb"]):
        done = tool(*command, "secrets.tdb", path)
        assert done.returncode == OK and words in done.stderr, done.stderr
    assert words in json.loads(tool("-o", "json", "db", "backup", "secrets.tdb", path).stdout)["warning"]
    assert words in tool("db", "backup", "secrets.tdb", "-", errors="replace").stderr


def test_backup_of_any_key(tool, daemon, base):
    """In a volatile database that of the sequence number is one like others."""
    walk(daemon, RECORDS)
    path = os.path.join(base, "file")
    assert "Records: 3" in good(tool("db", "backup", "locking.tdb", path))
    assert "__db_sequence_number__" in good(tool("db", "show-backup", "--records", path))


def test_backup_ends_by_a_hangup(popen, daemon, base):
    """A session that is gone: no half file stays."""
    walk(daemon, RECORDS, None)
    usual, sent, started = daemon.override, [], threading.Event()

    def answer(opcode, reqid, data):
        if opcode == TRAVERSE_TOLD and not sent and started.wait(LIMIT):
            sent.append(process.send_signal(signal.SIGHUP))
        return usual(opcode, reqid, data)

    daemon.override = answer
    process = popen("db", "backup", "secrets.tdb", os.path.join(base, "file"))
    started.set()
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == ERROR and "interrupted after" in errors, errors
    assert os.listdir(base) == []


def test_names_that_a_terminal_would_act_on(tool, daemon, base):
    walk(daemon, RECORDS)
    daemon.dbs[1] = (PERSISTENT, 1, b"a\x1b[31m.tdb", b"", 3)
    path = os.path.join(base, "file")
    good(tool("db", "backup", "0x7132c184", path))
    assert good(tool("dumpdbbackup", path)).startswith("Dumping database a?[31m.tdb from")
    answers(daemon)
    assert "\x1b" not in tool("restoredb", path).stdout.split("\n", maxsplit=1)[0]


def test_no_backup_if_records_are_missing(tool, daemon, base):
    walk(daemon, RECORDS, end_of(104, b"node 2 was lost"))
    bad(tool("db", "backup", "secrets.tdb", os.path.join(base, "file")), ERROR, "node 2 was lost")
    bad(tool("backupdb", "secrets.tdb", os.path.join(base, "file")), ERROR, "node 2 was lost")
    assert os.listdir(base) == []


# ---- changes of whole databases: what is said to the nodes, and when one of them says no ----


def answers(daemon, refused=(), confirmed=None, recmode=0):
    """All that an edit asks is answered; refused: numbers of controls that are not."""
    daemon.recmode = recmode
    pushed = {"n": 0}

    def answer(opcode, reqid, data):
        if opcode in refused:
            return fake.reply_control(reqid, -1, b"", b"the test says no")
        if opcode == PUSH_CONFIRM:
            n = sum(struct.unpack("=II", m[2][:8])[1] for m in daemon.seen if m[0] == fake.REQ_MESSAGE and m[1][0] == 0)
            n, pushed["n"] = n - pushed["n"], pushed["n"]
            return fake.reply_control(reqid, 0, struct.pack("=I", n if confirmed is None else confirmed))
        if opcode in (DB_FREEZE, TRANSACTION_START, WIPE, PUSH_START, TRANSACTION_COMMIT, TRANSACTION_CANCEL, DB_SET_HEALTHY):
            return fake.reply_control(reqid, 0)
        if opcode == DB_THAW:
            daemon.generation += 1  # the recovery that follows
            return fake.reply_control(reqid, 0)
        return None

    daemon.override = answer


def controls(daemon):
    """Those of an edit, in their order, once each."""
    names = {DB_FREEZE: "freeze", TRANSACTION_START: "start", WIPE: "wipe", PUSH_START: "push", PUSH_CONFIRM: "confirm",
             TRANSACTION_COMMIT: "commit", TRANSACTION_CANCEL: "cancel", DB_SET_HEALTHY: "healthy", DB_THAW: "thaw"}
    order = []
    for operation, opcode, _ in daemon.seen:
        if operation == fake.REQ_CONTROL and opcode in names and order[-1:] != [names[opcode]]:
            order.append(names[opcode])
    return order


def test_wipe(tool, daemon):
    answers(daemon)
    assert good(tool("wipedb", "locking.tdb")) == "Database locking.tdb wiped\n"
    assert controls(daemon) == ["freeze", "start", "wipe", "commit", "thaw"]
    assert [opcode for _, opcode, _ in daemon.seen].count(DB_FREEZE) == 3
    daemon.seen.clear()
    assert "Emptied: secrets.tdb" in good(tool("db", "wipe", "secrets.tdb"))
    assert controls(daemon) == ["freeze", "start", "wipe", "push", "confirm", "commit", "healthy", "thaw"]
    pushed = [m[2] for m in daemon.seen if m[0] == fake.REQ_MESSAGE]
    assert len(pushed) == 3 and all(SEQNUM_KEY in m and m.endswith(struct.pack("=Q", 4)) for m in pushed)


@pytest.mark.parametrize("refused, order", [
    (DB_FREEZE, ["freeze", "thaw"]),
    (TRANSACTION_START, ["freeze", "start", "cancel", "thaw"]),
    (WIPE, ["freeze", "start", "wipe", "cancel", "thaw"]),
    (PUSH_START, ["freeze", "start", "wipe", "push", "cancel", "thaw"]),
    (PUSH_CONFIRM, ["freeze", "start", "wipe", "push", "confirm", "cancel", "thaw"]),
    (TRANSACTION_COMMIT, ["freeze", "start", "wipe", "push", "confirm", "commit", "cancel", "thaw"]),
])
def test_wipe_refused_at_each_step(tool, daemon, refused, order):
    """Whatever fails: what was begun is taken back and let go."""
    answers(daemon, [refused])
    bad(tool("db", "wipe", "secrets.tdb"), ERROR, "node 0: the test says no")
    assert controls(daemon) == order


@pytest.mark.parametrize("number, at", [(signal.SIGINT, DB_FREEZE), (signal.SIGTERM, WIPE), (signal.SIGHUP, PUSH_CONFIRM), (signal.SIGQUIT, fake.GET_RECMODE)])
def test_wipe_ends_by_a_signal(popen, daemon, number, at):
    """Before it is stored: it is taken back and let go, also while it waits (for a recovery that does not end)."""
    answers(daemon, recmode=1 if at == fake.GET_RECMODE else 0)
    usual, started, sent = daemon.override, threading.Event(), []

    def answer(opcode, reqid, data):
        if opcode == at and not sent and started.wait(LIMIT):
            sent.append(process.send_signal(number))  # once: a second one would end it at once
        return usual(opcode, reqid, data)

    daemon.override = answer
    process = popen("db", "wipe", "secrets.tdb")
    started.set()
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == ERROR and "interrupted, nothing was changed" in errors, errors
    order = controls(daemon)
    assert "commit" not in order and (order[-1:] == ["thaw"]) == (at != fake.GET_RECMODE)


def test_wipe_waits_as_long_as_it_is_told(tool, daemon):
    answers(daemon, recmode=1)
    bad(tool("-t", "3", "db", "wipe", "secrets.tdb"), TIMEOUT, "a recovery has not ended for 3 s")


@pytest.mark.parametrize("how, code", [("timed out", ERROR), ("refused by the second", ERROR), ("connection lost", NO_DAEMON)])
def test_a_wipe_of_which_it_is_not_known_whether_it_is_stored(tool, daemon, how, code):
    answers(daemon)
    usual, asked = daemon.override, []

    def answer(opcode, reqid, data):
        if opcode != TRANSACTION_COMMIT:
            return usual(opcode, reqid, data)
        asked.append(1)
        if how == "connection lost":
            raise OSError(how)
        return fake.reply_control(reqid, 0 if how[0] == "r" and len(asked) % 3 == 1 else -1, b"", how.encode())

    daemon.override = answer
    bad(tool("db", "wipe", "locking.tdb"), code, 'database "locking.tdb": it is not known whether all nodes have stored it', "do it again")


def test_partly_stored_and_completed_by_the_recovery(tool, daemon):
    """That of a persistent database is healthy then, too."""
    answers(daemon)
    usual = daemon.override

    def answer(opcode, reqid, data):
        if opcode == TRANSACTION_COMMIT and daemon.dbs[1][4] > 3:
            return fake.reply_control(reqid, -1, b"", b"no")
        if opcode != TRANSACTION_COMMIT:
            return usual(opcode, reqid, data)
        daemon.dbs[1] = (PERSISTENT, 1, b"secrets.tdb", b"", 4)
        return usual(opcode, reqid, data)

    daemon.override = answer
    assert "Emptied: secrets.tdb" in good(tool("db", "wipe", "secrets.tdb"))
    assert controls(daemon)[-4:] == ["commit", "cancel", "thaw", "healthy"]


def test_sequence_number_at_its_end(tool, daemon):
    daemon.dbs[1] = (PERSISTENT, 1, b"secrets.tdb", b"", 2**64 - 1)
    answers(daemon)
    bad(tool("db", "wipe", "secrets.tdb"), ERROR, "its sequence number cannot go up any more")
    assert "commit" not in controls(daemon)


def test_restore_makes_no_database_of_an_id(tool, daemon, base):
    walk(daemon, RECORDS)
    path = os.path.join(base, "file")
    good(tool("db", "backup", "secrets.tdb", path))
    answers(daemon)
    daemon.seen.clear()
    bad(tool("db", "restore", path, "0x47023bf1"), NOT_FOUND, 'no database "0x47023bf1"')
    assert not any(s[1] in (27, DB_ATTACH_PERSISTENT, 139) for s in daemon.seen)
    assert "Records: 2" in good(tool("db", "restore", path, "0x7132c184"))
    assert controls(daemon)[-3:] == ["commit", "healthy", "thaw"]


def test_restore_that_fails_says_what_is_there_now(tool, daemon, base):
    walk(daemon, RECORDS)
    path, new = os.path.join(base, "file"), os.path.join(base, "new.tdb")
    good(tool("db", "backup", "secrets.tdb", path))
    make_tdb(new)
    answers(daemon, [DB_FREEZE])
    usual, number = daemon.override, 0x11223344

    def answer(opcode, reqid, data):
        if opcode == DB_ATTACH_PERSISTENT:
            daemon.dbs.append((number, 1, b"new.tdb", b"", 0))
            return fake.reply_control(reqid, 0, struct.pack("=I", number))
        if opcode == fake.GETDBPATH and struct.unpack("=I", data)[0] == number:
            return fake.reply_control(reqid, 0, new.encode() + b"\0")
        if opcode == fake.DB_OPEN_FLAGS:
            return fake.reply_control(reqid, 0, struct.pack("=i", 0))
        return usual(opcode, reqid, data)

    daemon.override = answer
    bad(tool("db", "restore", path, "new.tdb"), ERROR, "the test says no", '"new.tdb" is attached now, and empty if it did not exist')


def test_records_that_got_lost_on_the_way(tool, daemon):
    answers(daemon, confirmed=17)
    bad(tool("db", "wipe", "secrets.tdb"), ERROR, "node 0 got 17 records of 1, nothing was changed")
    assert "commit" not in controls(daemon)


def test_changes_need_an_active_node(tool, daemon):
    answers(daemon)
    daemon.nodes[daemon.pnn] = (fake.STOPPED, "10.0.0.2")
    bad(tool("db", "wipe", "secrets.tdb"), ERROR, "this node is STOPPED|INACTIVE: do it on one that is active")
    assert controls(daemon) == []


def test_freeze_and_thaw(tool, daemon):
    answers(daemon)
    good(tool("db", "freeze", "locking.tdb"))
    assert controls(daemon) == ["freeze"]
    good(tool("db", "thaw", "locking.tdb"))
    assert controls(daemon) == ["freeze", "thaw"]
    answers(daemon, [DB_FREEZE])
    daemon.seen.clear()
    bad(tool("db", "freeze", "locking.tdb"), ERROR, "cannot be frozen", "the test says no")
    assert controls(daemon) == ["freeze", "thaw"]


def test_damaged_backup_is_refused_before_anything_is_asked(tool, daemon, base):
    walk(daemon, RECORDS)
    path = os.path.join(base, "file")
    good(tool("db", "backup", "secrets.tdb", path))
    with open(path, "r+b") as f:
        f.seek(60)
        f.write(b"\xee")
    answers(daemon)
    daemon.seen.clear()
    bad(tool("db", "restore", path), ERROR, path, "damaged", "nothing was changed")
    bad(tool("restoredb", path), ERROR, path, "damaged")
    assert [s for s in daemon.seen if s[1] not in (fake.GET_PNN, fake.GET_NODEMAP)] == []


def test_detach_asks_all_nodes_first(tool, daemon):
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, struct.pack("=I", 1)) if opcode == GET_TUNABLE else None
    bad(tool("db", "detach", "locking.tdb"), ERROR, "node 0: clients could attach", "AllowClientDBAttach")
    bad(tool("db", "detach", "secrets.tdb"), ERROR, "only volatile ones can be detached")
    bad(tool("detach", "nosuch.tdb"), ERROR, "No database matching")
    assert not any(s[1] == 139 for s in daemon.seen)


# ---- small ones ----


def test_old_forms_of_one_database(tool, daemon):
    assert good(tool("getdbstatus", "secrets.tdb")) == (
        "dbid: 0x7132c184\nname: secrets.tdb\npath: /var/lib/ctdb/secrets.tdb.1\nPERSISTENT: yes\nREPLICATED: no\nSTICKY: no\nREADONLY: no\n"
        "HEALTH: OK\n")
    daemon.dbs[1] = (PERSISTENT, 1, b"secrets.tdb", b"file lost", 0x1234)
    assert good(tool("getdbstatus", "secrets.tdb")).endswith("HEALTH: file lost\n")
    assert good(tool("getdbseqnum", "secrets.tdb")) == "0x1234\n"
    assert good(tool("db", "seqnum", "secrets.tdb")) == "4660\n"
    assert json.loads(good(tool("-o", "json", "db", "seqnum", "secrets.tdb")))["seqnum"] == 4660
    bad(tool("db", "seqnum", "locking.tdb"), ERROR, "is volatile: it has no sequence number")
    bad(tool("attach", "x.tdb", "bogus"), ERROR, '"bogus"')


def test_what_an_earlier_daemon_does_not_know(tool, daemon):
    bad(tool("db", "recover"), ERROR, "the daemon does not know this request")
    bad(tool("recover"), ERROR, "the daemon does not know this request")
    assert "recovery" not in json.loads(good(tool("-o", "json", "db", "status", "locking.tdb")))
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, hot_keys([])) if opcode == DB_STATISTICS else None
    assert "vacuum" not in json.loads(good(tool("-o", "json", "db", "statistics", "locking.tdb")))


def test_check_with_an_earlier_daemon(tool, daemon):
    bad(tool("db", "check"), ERROR, "cannot tell of its copies")
    bad(tool("record", "locate", "locking.tdb", "k"), ERROR, "cannot tell of its copies")


@pytest.mark.parametrize("args, words", [
    (["db", "dump"], "too few arguments"),
    (["db", "backup", "secrets.tdb"], "too few arguments"),
    (["db", "restore"], "too few arguments"),
    (["db", "dump", "secrets.tdb", "-n", "1"], "-n cannot be used"),
    (["db", "wipe", "secrets.tdb", "--local"], "cannot be used"),
    (["db", "check", "a", "b"], "too many arguments"),
    (["db", "chekc"], "did you mean"),
    (["transaction", "run"], "too few arguments"),
    (["record", "locate", "locking.tdb"], "too few arguments"),
    (["record", "locate", "locking.tdb", "\\q"], "after a backslash"),
])
def test_wrong_usage(tool, args, words):
    bad(tool(*args), USAGE, words)


# ---- transactions: mistakes in a script are found before the daemon hears of it ----


@pytest.mark.parametrize("script, words", [
    ("set a\n", "standard input: line 1: set KEY VALUE; nothing was done"),
    ("get a\n\n# x\nset \"a b\n", "line 4: a quote is missing"),
    ("set a 0x1\n", "line 1: after 0x only pairs"),
    ("", "the script is empty"),
])
def test_script_with_a_mistake(tool, daemon, script, words):
    daemon.seen.clear()
    bad(tool("transaction", "run", "secrets.tdb", input=script), USAGE, words)
    assert all(s[1] == fake.GET_PNN for s in daemon.seen)


def test_script_files(tool, base):
    path = os.path.join(base, "script")
    bad(tool("transaction", "run", "secrets.tdb", path), ERROR, path, "No such file")
    with open(path, "w", encoding="ascii") as f:
        f.write("set a\n")
    bad(tool("transaction", "run", "secrets.tdb", path), USAGE, f"{path}: line 1: set KEY VALUE")


def test_bytes_that_end_nothing(tool, daemon):
    """A NUL in the input is refused: what stands behind it must not get lost silently."""
    bad(tool("ptrans", "secrets.tdb", input='"a" "1"\n\0"b" "2"\n'), ERROR, "NUL byte", "nothing was done")
    bad(tool("--hex", "record", "set", "secrets.tdb", "aa", "-", input="aa\0bb"), USAGE, "NUL byte")
    assert not any(s[1] == DB_ATTACH_PERSISTENT for s in daemon.seen)


def test_json_error_of_any_bytes(tool, daemon):
    done = tool("-o", "json", "db", "dump", b"no\xff\x01.tdb", errors="replace")
    assert done.returncode == NOT_FOUND
    assert 'no database "no\\xff?.tdb"' in json.loads(done.stdout)["error"]["message"]
    daemon.dbs[0] = (VOLATILE, 0, b"x\xff\n.tdb", b"", 0)
    answers(daemon)
    done = tool("-o", "json", "db", "wipe", "0x7a19d84d", errors="replace")
    assert done.returncode == OK and json.loads(done.stdout)["name"] == "x\\xff\\x0a.tdb"


def interface(daemon, results):
    """results: {procedure: XDR, or function of the argument}, the same on all nodes."""

    def answer(opcode, reqid, data):
        if opcode != INTERFACE_CALL:
            return None
        procedure, endpoint = struct.unpack("=7I", data[:28])[2], struct.unpack("=7I", data[:28])[5]
        result = results[procedure]
        result = result(data[28 + endpoint:]) if callable(result) else result
        return fake.reply_control(reqid, 0, struct.pack("=iI", 0, len(result)) + result)

    daemon.override = answer


def test_check_of_answers_that_lead_nowhere(tool, daemon):
    """Pages that begin again and again, and more records than there can be."""
    examined = struct.pack(">IIIIQQ", 0, 1, 0, 0, 0, 0)
    interface(daemon, {EXAMINE: examined + struct.pack(">Q", 3), SCAN: struct.pack(">II", 0, 7)})
    bad(tool("db", "check", "locking.tdb"), ERROR, "node 0 gave an answer that this program does not understand")
    interface(daemon, {EXAMINE: examined + struct.pack(">Q", 2**63)})
    assert "node 2: says that there are 9223372036854775808 records, which is impossible" in bad(tool("db", "check", "locking.tdb"), WRONG)
    daemon.recmode, daemon.vnnmap = 1, []
    bad(tool("-t", "3", "record", "locate", "locking.tdb", "k"), ERROR, "a recovery runs")


# ---- raw files ----


def make_tdb(path):
    need_programs("tdbtool")
    subprocess.run(["tdbtool"], input=f"create {path}\nquit\n", text=True, check=True, capture_output=True)


def test_dump_of_the_local_file(tool, daemon, base):
    """Whatever state the node is in: nothing is attached, the daemon only says where the file is."""
    path = os.path.join(base, "file.tdb")
    make_tdb(path)
    for i in range(3):
        good(tool("tstore", path, f"k{i}", "v", "5", "2", "1"))
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, path.encode() + b"\0") if opcode == fake.GETDBPATH else None
    daemon.nodes[daemon.pnn] = (fake.STOPPED, "10.0.0.2")
    text = good(tool("db", "dump", "--local", "locking.tdb"))
    assert text.count("# rsn 5 dmaster 2 flags 0x00000001\n") == 3 and text.endswith("# 3 records\n")
    assert good(tool("cattdb", "locking.tdb")).endswith("Dumped 3 record(s)\n")
    assert not any(s[1] in (27, DB_ATTACH_PERSISTENT) for s in daemon.seen)
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, base.encode() + b"/nofile\0") if opcode == fake.GETDBPATH else None
    bad(tool("db", "dump", "--local", "locking.tdb"), ERROR, "locking.tdb", "/nofile: No such file")


def test_tfetch_leaves_no_half_file(tool, base):
    path, out = os.path.join(base, "file.tdb"), os.path.join(base, "out")
    make_tdb(path)
    good(tool("tstore", path, "k", "0x" + "61" * 20000))
    with open(out, "w", encoding="ascii") as f:
        f.write("old")

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))

    bad(tool("tfetch", path, "k", out, preexec_fn=small_disk), ERROR, "cannot be written: File too large")
    assert sorted(os.listdir(base)) == ["file.tdb", "out"]
    with open(out, encoding="ascii") as f:
        assert f.read() == "old"
    good(tool("tfetch", path, "k", out))
    assert os.path.getsize(out) == 20000
    good(tool("tfetch", path, "k", "/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_standard_output_that_takes_nothing(bindir, daemon):
    for args in (["statistics"], ["-o", "json", "db", "list"], ["catdb", "secrets.tdb"], ["pnn"]):
        walk(daemon, RECORDS)
        if args == ["statistics"]:
            daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, bytes(488)) if opcode == STATISTICS else None
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([os.path.join(bindir, "ctdb"), "--socket", daemon.path, *args], stdout=full, stderr=subprocess.PIPE, text=True,
                                  stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
        assert done.returncode == ERROR and "No space left" in done.stderr, (args, done)


def test_tfetch_and_tstore(tool, base):
    path = os.path.join(base, "file.tdb")
    make_tdb(path)
    assert good(tool("tstore", path, "k", "0x686900", "5", "2", "1")) == ""
    assert good(tool("tfetch", path, "k")) == "Data: size:3 ptr:[hi]\n"  # as printf prints it
    good(tool("tfetch", path, "0x6b", os.path.join(base, "out")))
    with open(os.path.join(base, "out"), "rb") as f:
        assert f.read() == b"hi\0"
    bad(tool("tfetch", path, "nokey"), ERROR, 'no record "nokey"')
    bad(tool("tfetch", os.path.join(base, "nofile"), "k"), ERROR, "Failed to open TDB file")
    bad(tool("tstore", path, "k", "v", "x"), ERROR, '"x" is not a number')


# ---- statistics ----




def test_statistics_of_any_bytes(tool, daemon):
    """No number that JSON has: null, and still a document."""
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, b"\xff" * 488) if opcode == STATISTICS else None
    document = json.loads(good(tool("-o", "json", "statistics")))
    assert document["call_latency"]["min"] is None and document["call_latency"]["average"] == 0


def test_statistics_malformed(tool, daemon):
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, b"\1\2\3") if opcode in (STATISTICS, STAT_HISTORY, DB_STATISTICS) else None
    assert tool("statistics").returncode == ERROR
    bad(tool("statistics", "--history"), ERROR, "malformed history")
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, struct.pack("=II", 5000, 0) + bytes(488)) if opcode == STAT_HISTORY else None
    bad(tool("stats"), ERROR, "malformed history")
    bad(tool("stats", "x"), ERROR, '"x" is not a number')
    bad(tool("dbstatistics", "locking.tdb"), ERROR)
    bad(tool("statisticsreset"), ERROR, "cannot reset")


def hot_keys(keys):
    """GET_DB_STATISTICS with these (count, key), lowest first."""
    raw = bytearray(464)
    struct.pack_into("=I", raw, 216, 10)
    for i, (count, key) in enumerate(keys, 10 - len(keys)):
        struct.pack_into("=I12xQ", raw, 224 + 24 * i, count, len(key))
    return bytes(raw) + b"".join(key for _, key in keys)


def test_hot_keys(tool, daemon):
    bad(tool("db", "hotkeys", "nosuch.tdb"), NOT_FOUND, 'no database "nosuch.tdb"')
    bad(tool("db", "hotkeys", "locking.tdb"), ERROR, 'database "locking.tdb", node 0')
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, hot_keys([(3, b"a\0"), (70, b"\xff")])) if opcode == DB_STATISTICS else None
    rows = [(n, count, key) for n in (0, 2) for count, key in ((70, "\\xff"), (3, "a\\x00"))]
    daemon.nodes[1] = (fake.STOPPED, "10.0.0.2")
    assert [tuple(line.split()) for line in good(tool("db", "hotkeys", "locking.tdb")).splitlines()] == [
        ("NODE", "COUNT", "KEY"), *((str(n), str(count), key) for n, count, key in rows)]
    assert [(r["node"], r["count"], r["key"]) for r in json.loads(good(tool("-o", "json", "db", "hotkeys", "locking.tdb")))["hot_keys"]] == rows
    one = json.loads(good(tool("-o", "json", "db", "hotkeys", "locking.tdb", "-n", "1", "--hex")))["hot_keys"]
    assert one == [{"node": 1, "count": 70, "key": "ff"}, {"node": 1, "count": 3, "key": "6100"}]
    assert good(tool("dbstatistics", "locking.tdb")).endswith("     Count:0 Key:\n" * 8 + "     Count:3 Key:6100\n     Count:70 Key:ff\n")
    daemon.override = lambda opcode, reqid, data: fake.reply_control(reqid, 0, hot_keys([])) if opcode == DB_STATISTICS else None
    assert good(tool("db", "hotkeys", "locking.tdb")) == "no record has come to a node yet\n"
    assert json.loads(good(tool("-o", "json", "db", "hotkeys", "locking.tdb")))["hot_keys"] == []


@pytest.mark.parametrize("flag, opcode", [("readonly", 129), ("sticky", 133)])
def test_set_flags_refused(tool, daemon, flag, opcode):
    bad(tool("db", f"set-{flag}", "secrets.tdb"), ERROR, f'database "secrets.tdb" is persistent: only volatile databases can be made {flag}')
    bad(tool("db", f"set-{flag}", "nosuch.tdb"), NOT_FOUND, 'no database "nosuch.tdb"')
    bad(tool(f"setdb{flag}", "secrets.tdb"), ERROR, f"{flag.upper()} can be set only on volatile DB")
    assert not any(s[1] == opcode for s in daemon.seen)
    bad(tool(f"setdb{flag}", "locking.tdb"), ERROR, "locking.tdb")
    assert [s[2] for s in daemon.seen if s[1] == opcode] == [struct.pack("=I", VOLATILE)]
