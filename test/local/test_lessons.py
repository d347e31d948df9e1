"""Lessons of docs/lessons.md that show only in whole daemons: descriptors, sockets, floods, empty records, attaching too early."""

import os
import re
import socket
import stat
import struct
import subprocess
import threading

import pytest
from classic import CURRENT, FETCH, FETCH_WITH_HEADER, HEADER, REPLY_CALL, REQ_MESSAGE, Client, without_vacuuming
from support import CALM, CAPTURE, PATIENCE, TOP, output, wait_until

DAEMONS = ["ctdbd", "ctdb-transportd", "ctdb-clusterd", "ctdb-dbd", "ctdb-dbkeep"]
REGISTER, DEREGISTER, GET_PNN, ATTACH_PERSISTENT, TRANS3_COMMIT = 23, 24, 35, 61, 119
GET_VNNMAP, GET_RECMODE, SET_RECMODE = 5, 15, 16


@pytest.fixture(scope="module")
def shared(module_factory):
    return module_factory(2, extra_config=CALM)


@pytest.fixture
def cluster(cluster):
    without_vacuuming(cluster)
    return cluster


def connect(cluster, pnn):
    return Client(cluster.node(pnn).file("run", "ctdbd.socket"), 4 * PATIENCE)


@pytest.fixture
def clients(cluster):
    """A client on each node."""
    with connect(cluster, 0) as a, connect(cluster, 1) as b:
        yield a, b


def ctdb(cluster, pnn, *words):
    return cluster.node(pnn).run(["ctdb", *words], timeout=4 * PATIENCE, check=False, **CAPTURE)


def messages_so_far(client, srvid):
    """What has come for an address before the answer to a question asked now."""
    client.control(GET_PNN)
    kept = [body for op, _, body in client.kept if op == REQ_MESSAGE and struct.unpack_from("=Q", body)[0] == srvid]
    client.kept = []
    return [body[12:] for body in kept]


# ---- clients and records ----


def test_h022_clients_belong_to_their_node(clients):
    """What acts on "the client that asked" does not act on one of another node that happens to have the same number."""
    a, b = clients
    srvid = 0xAB00000000000022
    assert a.control(REGISTER, dest=1, srvid=srvid)[0] == -1
    b.message(CURRENT, srvid, b"to nobody")
    assert messages_so_far(b, srvid) == []
    b.register(srvid)
    assert a.control(DEREGISTER, dest=1, srvid=srvid)[0] == -1
    a.message(1, srvid, b"still there")
    assert b.next_message(srvid)[1] == b"still there"


def test_h023_empty_reads_as_not_found(cluster, clients):
    """A deleted record is none: where it was deleted, where it comes to, where its copy stayed, and for who walks over all."""
    name, key = "empty.tdb", b"key"
    assert output(ctdb(cluster, 0, "db", "attach", name)) is not None
    output(ctdb(cluster, 0, "record", "set", name, "key", "value"))
    output(ctdb(cluster, 0, "record", "set", name, "other", "value"))
    assert output(ctdb(cluster, 1, "record", "get", name, "key")) == "value\n"
    output(ctdb(cluster, 1, "record", "delete", name, "key"))
    for pnn in (1, 1, 0, 0, 1):  # local, remote, local again
        done = ctdb(cluster, pnn, "record", "get", name, "key")
        assert (done.returncode, done.stdout) == (3, "")
        assert ctdb(cluster, pnn, "record", "delete", name, "key").returncode == 3
    for c in clients:
        db = c.attach(name)
        assert c.call(db, key, FETCH) == b""
        assert len(c.call(db, key, FETCH_WITH_HEADER)) == HEADER.size
        assert [(k, data) for k, _, data in c.traverse(db)] == [(b"other", b"value")]


def test_h161_end_of_a_traverse_comes_last(clients):
    """Many batches of both nodes: all of them are there when the end mark comes."""
    a, b = clients
    db = a.attach("long_traverse.tdb")
    keys = [b"key %d" % i for i in range(3000)]
    # An empty record that never left its location master is removed at once: these were on both nodes.
    for turn in (1, 0):
        asked = [(c, c.call_send(db, key)) for i, key in enumerate(keys) for c in (clients[(i + turn) % 2],)]
        for c, reqid in asked:
            assert c.call_answer(reqid)[:2] == (REPLY_CALL, 0)
    for c in (a, b):
        assert sorted(key for key, _, _ in c.traverse(db, with_empty=True)) == sorted(keys)


def file_of(cluster, pnn, c, db):
    path = c.good(4, struct.pack("=I", db))[:-1].decode()
    return path if os.path.isabs(path) else cluster.node(pnn).file(path)


def change_counter(path):
    """TDB's own sequence number. Samba keeps what it has read as long as it stays. Files with mutexes have their real head behind these."""
    with open(path, "rb") as f:
        (mutexes,) = struct.unpack("=I", os.pread(f.fileno(), 4, 64))
        return struct.unpack("=I", os.pread(f.fileno(), 4, mutexes + 48))[0]


def test_h024_change_counter_follows_ownership(cluster, clients):
    """A record that goes away, or comes, counts as a change on both nodes: elsewhere it may change unseen."""
    db = clients[0].attach("counted.tdb")
    key = b"counted"
    for c in clients:
        c.good(26, struct.pack("=I", db))
        c.call(db, key)
    paths = [file_of(cluster, pnn, c, db) for pnn, c in enumerate(clients)]
    for turn in range(4):
        before = [change_counter(path) for path in paths]
        clients[turn % 2].call(db, key)
        after = [change_counter(path) for path in paths]
        assert [now != then for now, then in zip(after, before)] == [True, True], (turn, before, after)


class Holder:
    """A process that keeps the chain lock of a key in a file."""

    def __init__(self, request, path, flags, key):
        program = os.path.join(TOP, request.config.getoption("--build"), "src", "dbd", "test_holder")
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([program, path, str(flags), "lock", key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0


def test_h057_a_locked_record_delays_only_its_own_database(cluster, clients, request):
    """A client that holds a record of one database through a recovery, and waits for one of another, gets that one."""
    a, b = clients
    held, other = a.attach("held.tdb"), a.attach("other.tdb")
    for db in (held, other):
        b.call(db, b"key")
    flags = struct.unpack("=I", b.good(149, struct.pack("=I", held)))[0]
    path = file_of(cluster, 1, b, held)
    generation = b.good(5)[:4]
    with Holder(request, path, flags, "key"):
        cluster.fault(0, "kill:ctdb-dbd")
        wait_until(lambda: b.control(5)[1][:4] != generation, what="a recovery to begin or end")
        waits = b.call_send(held, b"new", FETCH_WITH_HEADER)
        assert len(b.call(other, b"key", FETCH_WITH_HEADER)) == HEADER.size
        assert len(b.call(other, b"new", FETCH_WITH_HEADER)) == HEADER.size
        assert waits not in [reqid for _, reqid, _ in b.kept]
    assert len(b.call_answer(waits)[2]) == HEADER.size
    cluster.wait_ready(2 * PATIENCE)


def test_h077_no_wish_for_a_recovery_is_forgotten(clients):
    """Asked for right after the end of the one before, from both nodes: it comes, though recoveries do not chase each other."""
    def generation(client):
        status, data, _ = client.control(GET_VNNMAP)
        return data[:4] if status == 0 and client.control(GET_RECMODE)[0] == 0 else None

    for turn in range(10):
        asks, other = clients[turn % 2], clients[1 - turn % 2]
        before = wait_until(lambda asks=asks: generation(asks), what="the end of the recovery")
        assert asks.control(SET_RECMODE, struct.pack("=I", 1))[0] == 0
        for client in (asks, other):
            wait_until(lambda client=client, before=before: generation(client) not in (None, before), what=f"recovery {turn}")


# ---- floods ----


class Flood(threading.Thread):
    """Sends packets to a daemon as fast as it takes them, until it is told to stop."""

    def __init__(self, path, packet):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.data, self.sent, self.stopped = packet * 2000, 0, False

    def run(self):
        try:
            while not self.stopped:
                self.sent += self.socket.send(self.data)
        except OSError:
            pass

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self.socket.close()


def test_h150_one_busy_client_does_not_starve_the_others(cluster, clients):
    """A client that never stops sending is read in portions: others get their answers meanwhile, and the cluster stays as it is."""
    a, b = clients
    generation = a.good(5)[:4]
    message = struct.pack("=8I", 44, 0x43544442, 1, 0, REQ_MESSAGE, CURRENT, 0, 0) + struct.pack("=QI", 0xAE01, 0)
    with Flood(cluster.node(0).file("run", "ctdbd.socket"), message) as flood:
        wait_until(lambda: flood.sent > 1 << 20, what="the flood")
        for _ in range(100):
            before = flood.sent
            assert a.control(GET_PNN)[0] == 0
            assert b.control(GET_PNN, dest=0)[0] == 0
            wait_until(lambda before=before: flood.sent > before, what="the flood to go on")
        assert flood.is_alive()
    assert a.good(5)[:4] == generation


def test_h151_answers_go_out_while_requests_come_in(cluster):
    """More answers than fit any buffer: they have to leave while the client is still asking, in order."""
    count = 20000
    with connect(cluster, 0) as c:
        sender = threading.Thread(target=lambda: [c.ask(GET_PNN) for _ in range(count)], daemon=True)
        sender.start()
        for reqid in range(1, count + 1):
            operation, number, _ = c.packet()
            assert (operation, number) == (8, reqid)
        sender.join()


# ---- attaching too early ----


def test_h078_attach_waits_for_usable_databases(cluster_factory):
    """A node that starts alone without a majority makes its clients wait, and then shows them everything."""
    cluster = cluster_factory(3, extra_config=CALM)
    with connect(cluster, 0) as c:
        db = c.attach("early.tdb", ATTACH_PERSISTENT)
        assert c.control(TRANS3_COMMIT, c.commit_buffer(db, [(b"k", b"v")], 1))[0] == 0
    for pnn in range(3):
        cluster.fault(pnn, "power-off")
    cluster.fault(0, "power-on")

    def listens():
        try:
            connect(cluster, 0).socket.close()
            return True
        except OSError:
            return False
    wait_until(listens, what="the socket")
    with connect(cluster, 0) as c:
        attach = c.ask(ATTACH_PERSISTENT, b"early.tdb\0")
        assert c.control(GET_PNN)[0] == 0
        assert [packet for packet in c.kept if packet[1] == attach] == []
        cluster.fault(1, "power-on")
        status, data, error = c.answer(attach)
        assert (status, error) == (0, "") and struct.unpack("=I", data)[0] == db
        assert dict((key, value) for key, _, value in c.traverse(db))[b"k"] == b"v"
        assert c.seqnum(db) == 1


# ---- processes, descriptors, sockets ----


def processes(cluster, pnn):
    """(program, pid) of all processes of the product on a node."""
    node = cluster.node(pnn)
    return [(program, p.pid) for program in DAEMONS + ["ctdb-db-worker"] for p in node.find_program(program)]


def descriptors(pid):
    """{number: (what it leads to, flags)}; what vanishes meanwhile is left out."""
    found = {}
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for number in numbers:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as f:
                flags = int(re.search(r"^flags:\s*([0-7]+)$", f.read(), re.M).group(1), 8)
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(number)] = (target, flags)
    return found


def use_everything(cluster):
    """So that there are workers, clients, links, open files."""
    with connect(cluster, 0) as a, connect(cluster, 1) as b:
        for name, opcode in (("used_v.tdb", 18), ("used_p.tdb", ATTACH_PERSISTENT)):
            db = a.attach(name, opcode)
            assert a.traverse(db) == b.traverse(db)


def test_h160_descriptors_are_not_inherited(cluster):
    """What a daemon opens is closed in what it starts: only standard descriptors and what was given on purpose are not."""
    use_everything(cluster)
    # Readiness, the supervisor's life, its lock; what libtevent makes for itself.
    allowed = re.compile(r"pipe:\[\d+\]|/dev/null|.*/run/ctdbd\.lock|anon_inode:.*")
    for pnn in range(2):
        for program, pid in processes(cluster, pnn):
            for number, (target, flags) in descriptors(pid).items():
                if number > 2 and not flags & os.O_CLOEXEC:
                    worker_end = program == "ctdb-db-worker" and target.startswith("socket:")
                    assert allowed.fullmatch(target) or worker_end, (program, number, target)


def test_h160_every_socket_is_open_in_one_process(cluster):
    """No link, client or endpoint stays open when the process that serves it has gone. A worker has its own end of one socket pair."""
    use_everything(cluster)

    def wrong():
        """Sockets that several processes have, workers that have more than one. A worker that begins at this moment still has all."""
        owners, workers = {}, []
        for pnn in range(2):
            for program, pid in processes(cluster, pnn):
                sockets = {target for target, _ in descriptors(pid).values() if target.startswith("socket:")}
                for target in sockets:
                    owners.setdefault(target, []).append((program, pid))
                if program == "ctdb-db-worker":
                    workers.append(sockets)
        assert workers and len(owners) > 20
        return [(target, who) for target, who in owners.items() if len(who) > 1] + [sockets for sockets in workers if len(sockets) != 1]
    wait_until(lambda: not wrong(), what=lambda: f"each socket to have one owner: {wrong()}")


def test_h160_descriptors_do_not_pile_up(cluster):
    """Clients, traverses and transactions that come and go leave none open."""
    def count():
        pids = [pid for program, pid in processes(cluster, 0) if program == "ctdb-dbd"]
        return len(descriptors(pids[0]))

    with connect(cluster, 0) as a:
        a.attach("used_v.tdb")
    use_everything(cluster)
    before = count()
    for _ in range(50):
        with connect(cluster, 0) as c:
            c.traverse(c.attach("used_v.tdb"))
            c.call_send(c.attach("used_v.tdb"), b"key")
    # The pool of workers may have grown by one or two.
    wait_until(lambda: count() < before + 20, what=lambda: f"{count()} descriptors to become {before} again")


def test_h165_sockets_are_for_their_owner_alone(cluster):
    """No other user of the machine can talk to a daemon."""
    found = 0
    for pnn in range(2):
        for directory, _, names in os.walk(cluster.node(pnn).file("run")):
            for name in names:
                status = os.lstat(os.path.join(directory, name))
                if stat.S_ISSOCK(status.st_mode):
                    found += 1
                    assert status.st_mode & 0o077 == 0, os.path.join(directory, name)
    assert found >= 2 * len(DAEMONS)


def test_h088_whoever_waits_for_locks_has_no_raised_priority(cluster):
    """A process that can wait for the lock of a file, while clients wait for it too, competes with them as an equal."""
    use_everything(cluster)

    def raised():
        """A worker that begins at this moment still has what dbd has; one that ends has nothing."""
        found, workers = [], 0
        for pnn in range(2):
            for program, pid in processes(cluster, pnn):
                if program in ("ctdb-db-worker", "ctdb-dbkeep", "ctdbd"):
                    workers += program == "ctdb-db-worker"
                    try:
                        scheduler, nice = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
                    except ProcessLookupError:
                        continue
                    if scheduler != os.SCHED_OTHER or nice < min(0, os.getpriority(os.PRIO_PROCESS, 0)):
                        found.append((program, pid, scheduler, nice))
        assert workers > 0
        return found
    wait_until(lambda: not raised(), what=lambda: f"no raised priority: {raised()}")


def test_h113_own_address_is_one_of_an_interface(need_root, base, bindir):
    """Where addresses of other machines can be bound as well, a node still finds the one that it has."""
    os.makedirs(os.path.join(base, "run", "msg"))
    with open(os.path.join(base, "nodes"), "w", encoding="utf-8") as f:
        f.write("192.0.2.1\n192.0.2.2\n192.0.2.3\n")
    with open(os.path.join(base, "ctdb.conf"), "w", encoding="utf-8") as f:
        f.write("[transport]\nsecurity = none\n")
    commands = ("ip link set lo up && ip addr add 192.0.2.2/32 dev lo && echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind && "
                f"exec {bindir}/ctdb-transportd --log stderr --log-level info")
    with subprocess.Popen(["unshare", "--net", "sh", "-c", commands], env={**os.environ, "CTDB_BASE": base}, stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as daemon:
        line = daemon.stderr.readline()
        daemon.terminate()
        rest = daemon.communicate(timeout=PATIENCE)[1]
    assert "node 1 ctdb-transportd" in line, line + rest


# ---- the source ----


def sources():
    """(folder/name, text without comments) of what runs in daemons."""
    source = os.path.join(TOP, "src")
    for folder in sorted(os.listdir(source)):
        for name in sorted(os.listdir(os.path.join(source, folder))):
            if name.endswith(".c") and not name.startswith("test_") and folder not in ("cli", "tools"):
                with open(os.path.join(source, folder, name), encoding="utf-8") as f:
                    yield f"{folder}/{name}", re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)


def test_h100_only_the_main_loop_waits_for_events():
    """Whoever waits inside a handler is called again by the next event."""
    waits = re.compile(r"\btevent_loop_(?:once|wait)\(|\btevent_req_poll|\btevent_loop_allow_nesting")
    # The main loop, one question of dbd's setup, which runs before it, and a program that is no daemon.
    assert {name for name, text in sources() if waits.search(text)} <= {"shared/daemon.c", "dbd/db_keep.c", "callbacks/main.c"}


def test_h158_no_daemon_measures_time_by_the_wall_clock():
    """tevent's own timers and end times follow it. What asks for the time of day does so to show it."""
    timers = re.compile(r"\btevent_add_timer|\btevent_req_set_endtime|\btevent_timeval_current")
    clock = re.compile(r"\bgettimeofday\(|\bCLOCK_REALTIME\b|[^\w]time\(")
    shows = {"shared/log_sink.c", "dbd/client.c", "dbd/control_stats.c", "dbd/control_node.c", "dbd/recovery.c", "dbd/status.c",
             "dbd/db_file.c", "clusterd/term_file.c", "clusterd/events.c", "clusterd/main.c"}
    # log lines, statistics, UPTIME, names of files put aside, the count of starts, when events were, terms of the lock
    read = 0
    for name, text in sources():
        read += 1
        assert not timers.search(text), f"{name}: {timers.search(text).group()}: use shared/mono_timer.h"
        assert name in shows or not clock.search(text), f"{name}: {clock.search(text).group()}"
    assert read > 50


# ---- the list itself ----


def test_list_of_lessons_is_complete_and_names_tests_that_exist():
    with open(os.path.join(TOP, "docs", "lessons.md"), encoding="utf-8") as f:
        text = f.read()
    short = dict(re.findall(r"`(\w+)` = `([\w/.]+)`", text))
    rows = re.findall(r"^\| ([HKT]-\d+) \|([^|\n]+)\|([^|\n]+)\|$", text, re.M)
    lessons = [f"H-{n:03}" for n in range(1, 176)]
    assert [number for number, _, _ in rows] == lessons + [f"K-{n}" for n in range(1, 37)] + [f"T-{n}" for n in range(1, 21)]
    for number, lesson, kept in rows:
        assert len(lesson.split()) <= 12, number
        path = None
        for name in re.findall(r"`([^`]+)`", kept):
            file, separator, test = name.rpartition("::")
            path = file if separator and file else path
            if not separator and name.startswith("test_"):
                file, test = short[re.search(rf"(\w+) (?:`test_[^`]+`, )*`{re.escape(name)}`", kept).group(1)], name.removesuffix("...")
            elif not separator:
                assert "/" not in name or os.path.exists(os.path.join(TOP, name)), (number, name)
                continue
            with open(os.path.join(TOP, file or path), encoding="utf-8") as f:
                assert re.search(rf"\b{re.escape(test)}", f.read()), (number, name)
