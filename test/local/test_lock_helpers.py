"""The programs that hold the cluster lock, alone: what they print, when they end, what they need."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from autocluster.process import start_time
from olddaemon import find_debian_root
from support import CAPTURE, PATIENCE, need_programs, wait_until


class Helper:
    """A running helper, and what it has printed."""

    def __init__(self, *argv, **options):
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.out, self.err = b"", b""
        os.set_blocking(self.process.stdout.fileno(), False)
        os.set_blocking(self.process.stderr.fileno(), False)

    def read(self):
        self.out += self.process.stdout.read() or b""
        self.err += self.process.stderr.read() or b""
        return self.out

    def answer(self):
        """Its first character."""
        wait_until(lambda: self.read() or self.process.poll() is not None, what="the helper's answer")
        return self.read()[:1].decode()

    def held(self):
        assert self.answer() == "0", self.err
        return self

    def untils(self):
        return [int(line.split()[1]) for line in self.read().split(b"\n")[1:-1] if line.startswith(b"until ")]

    def ended(self):
        """Exit status and standard error, when it has ended by itself."""
        wait_until(lambda: self.process.poll() is not None, what="the end of the helper")
        self.read()
        return self.process.returncode, self.err.decode()

    def alive(self):
        return self.process.poll() is None

    def term(self):
        self.process.terminate()
        return self.ended()[0]

    def close(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start():
    """start(PROGRAM, ARGUMENTS...): a Helper, ended after the test."""
    made = []

    def new(*argv, **options):
        made.append(Helper(*argv, **options))
        return made[-1]
    yield new
    for helper in made:
        helper.close()


def holder(start, *argv):
    """With etcd: each request has a fifth of the ttl, and a busy disk takes longer now and then. A try that fails leaves nothing."""
    return wait_until(lambda: next((h for h in [start(*argv)] if h.answer() == "0"), None), what="the key")


def checker_of(helper):
    """The pid of the process that looks at the file."""
    def find():
        with open(f"/proc/{helper.process.pid}/task/{helper.process.pid}/children", encoding="ascii") as f:
            return [int(word) for word in f.read().split()]
    return wait_until(find, what="the checker")[0]


# ---- a file ----

@pytest.fixture
def program(bindir):
    return os.path.join(bindir, "ctdb-lock-fcntl")


@pytest.fixture
def lock(base):
    return os.path.join(base, "lock")


def test_one_holds_the_others_do_not(program, lock, start):
    first = start(program, lock).held()
    second = start(program, lock)
    assert second.answer() == "1" and second.ended() == (0, "")
    assert first.alive()
    assert first.term() == -signal.SIGTERM
    third = start(program, lock).held()
    third.process.kill()
    third.ended()
    start(program, lock).held()
    assert os.stat(lock).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ours_first", [True, False])
def test_excludes_an_existing_helper(request, program, lock, start, ours_first):
    """During a migration both kinds of nodes are there."""
    root = find_debian_root(request.config)
    old = [os.path.join(root, "usr/libexec/ctdb/ctdb_mutex_fcntl_helper"), lock]
    libraries = [os.path.join(root, "usr/lib", name, "samba") for name in os.listdir(os.path.join(root, "usr/lib"))]
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(path for path in libraries if os.path.isdir(path))}
    first, second = ([program, lock], old) if ours_first else (old, [program, lock])
    holder = start(*first, env=env).held()
    assert start(*second, env=env).answer() == "1"
    holder.term()
    start(*second, env=env).held()


@pytest.mark.parametrize("arguments, expect", [
    ([], "usage: ctdb-lock-fcntl FILE"), ([""], "usage:"), (["--x"], "usage:"), (["a", "1", "2", "3"], "usage:"),
    (["{}", "x"], 'RECHECK-SECONDS is "x": give seconds from 0 to 86400'), (["{}", "1", "-1"], 'PING-TIMEOUT-SECONDS is "-1"'),
    (["{}", "86401"], 'RECHECK-SECONDS is "86401"'), (["{}/no/such"], "/no/such: No such file or directory: is the cluster file system mounted"),
    (["/"], "cannot open /: Is a directory"),
])
def test_bad_arguments(program, base, start, arguments, expect):
    helper = start(program, *[a.format(base + ("" if "/" in a else "/lock")) for a in arguments])
    assert helper.answer() == "3"
    status, err = helper.ended()
    assert status != 0 and expect in err


def test_help(program):
    done = subprocess.run([program, "--help"], check=False, **CAPTURE)
    assert done.returncode == 0 and done.stdout.startswith("usage: ctdb-lock-fcntl FILE")


def remove(lock):
    os.unlink(lock)


def replace(lock):
    with open(lock + ".new", "w", encoding="ascii"):
        pass
    os.rename(lock + ".new", lock)


def move_directory(lock):
    os.rename(os.path.dirname(lock), os.path.dirname(lock) + ".moved")


@pytest.mark.parametrize("harm, expect", [
    (remove, "cannot be opened any more: No such file or directory: the lock is lost"),
    (replace, "is another file now: the lock is lost"),
    (move_directory, "cannot be opened any more: No such file or directory"),
])
def test_h110_the_file_vanishes(program, base, start, harm, expect):
    os.mkdir(os.path.join(base, "dir"))
    lock = os.path.join(base, "dir", "lock")
    helper = start(program, lock, "1").held()
    careless = start(program, lock + "2", "0").held()
    harm(lock)
    status, err = helper.ended()
    assert status == 1 and expect in err and lock in err
    assert careless.alive()


def test_h110_the_file_system_hangs(program, lock, start):
    """A lock that is not granted is how a hung file system looks to the checker."""
    helper, patient = start(program, lock, "1", "3"), start(program, lock + "2", "1")
    for path in (lock, lock + "2"):
        (helper if path == lock else patient).held()
    stuck = checker_of(helper)
    for path in (lock, lock + "2"):
        fd = os.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
    status, err = helper.ended()
    assert status == 1 and "takes more than 3 s: does its file system hang?" in err
    # The lock is free though the checker hung.
    start(program, lock).held()
    wait_until(lambda: start_time(stuck) is None, what="the end of the checker")
    assert patient.alive()
    # Who holds does not hang with its checker.
    assert patient.term() == -signal.SIGTERM


def test_checker_is_killed(program, lock, start):
    helper = start(program, lock, "1").held()
    os.kill(checker_of(helper), signal.SIGKILL)
    status, err = helper.ended()
    assert status == 1 and "the process that checks" in err


def test_stopped_and_continued(program, lock, start):
    helper = start(program, lock, "1", "3").held()
    helper.process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    assert start(program, lock).answer() == "1"
    helper.process.send_signal(signal.SIGCONT)
    time.sleep(4)
    assert helper.alive(), helper.ended()


@pytest.mark.parametrize("kind", ["fcntl", "etcd"])
def test_h108_ends_with_its_parent(bindir, base, request, start, kind):
    """The parent is killed; nothing is left of the helper, and the lock is free."""
    argv = [os.path.join(bindir, f"ctdb-lock-{kind}"), os.path.join(base, "lock")] if kind == "fcntl" else \
        [os.path.join(bindir, "ctdb-lock-etcd"), "--endpoints", request.getfixturevalue("etcd").endpoint, "--ttl", "10"]
    out = os.path.join(base, "out")
    with open(out, "wb") as f:
        parent = subprocess.Popen(["/bin/sh", "-c", '"$@" & echo $! >&2; wait', "sh", *argv], stdout=f, stderr=subprocess.PIPE)
    pid = int(parent.stderr.readline())
    wait_until(lambda: os.path.getsize(out) > 0, what="the answer")
    parent.kill()
    parent.wait()
    parent.stderr.close()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the helper")
    holder(start, *argv)


def test_h108_a_stopped_one_ends_with_its_parent(program, lock, start):
    with subprocess.Popen(["/bin/sh", "-c", '"$@" & echo $! >&2; wait', "sh", program, lock], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        pid = int(parent.stderr.readline())
        assert parent.stdout.read(1) == b"0"
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the helper")
    start(program, lock).held()


def test_h108_nobody_reads_any_more(program, lock, start):
    helper = start(program, lock).held()
    helper.process.stdout.close()
    wait_until(lambda: helper.process.poll() is not None, what="the end of the helper")
    helper.process.stdout = open("/dev/null", "rb")
    start(program, lock).held()


@pytest.mark.parametrize("kind", ["fcntl", "etcd"])
def test_h108_orphan_from_the_start(bindir, base, kind, need_root):
    """Process 1 of a namespace of its own starts it: nobody who waits for a lock."""
    need_programs("unshare")
    argv = [os.path.join(bindir, f"ctdb-lock-{kind}")] + ([os.path.join(base, "lock")] if kind == "fcntl" else ["--endpoints", "127.0.0.1:1"])
    done = subprocess.run(["unshare", "--pid", "--fork", "/bin/sh", "-c", '"$@"; true', "sh", *argv], timeout=PATIENCE, check=False, **CAPTURE)
    assert "nobody waits for the lock" in done.stderr and done.stdout == ""


# ---- etcd ----

def free_address():
    """Two ports of a loopback address that nobody uses."""
    for i in range(200):
        host = f"127.{os.getpid() // 250 % 19 + 1}.{os.getpid() % 250 + 1}.{i + 1}"
        with socket.socket() as s:
            try:
                s.bind((host, 2379))
                return host
            except OSError:
                continue
    raise RuntimeError("no free loopback address")


class Etcd:
    """A real server."""

    def __init__(self, directory, tls=None):
        self.directory, self.tls, self.host = directory, tls, tls.host if tls else free_address()
        self.endpoint = f"{self.host}:2379"
        self.process = None

    def start(self):
        scheme = "https" if self.tls else "http"
        url, peer = f"{scheme}://{self.endpoint}", f"http://{self.host}:2380"
        argv = ["etcd", "--data-dir", self.directory, "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
        if self.tls:
            argv += ["--cert-file", self.tls("server.pem"), "--key-file", self.tls("server.key"), "--client-cert-auth", "--trusted-ca-file", self.tls("ca.pem")]
        with open(self.directory + ".log", "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self.ctl("endpoint", "health").returncode == 0, what="etcd")
        return self

    def ctl(self, *words):
        tls = ["--cacert", self.tls("ca.pem"), "--cert", self.tls("client.pem"), "--key", self.tls("client.key")] if self.tls else []
        return subprocess.run(["etcdctl", "--endpoints", f"http{'s' if self.tls else ''}://{self.endpoint}", *tls, *words], check=False, timeout=PATIENCE,
                              env={**os.environ, "ETCDCTL_API": "3"}, **CAPTURE)

    def value(self, *words):
        return self.ctl(*words, "get", "--print-value-only", "/ctdb/lock").stdout.strip()

    def lease(self):
        leases = self.ctl("lease", "list").stdout.split("\n")[1:]
        return next(line for line in leases if line)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def etcd(base):
    need_programs("etcd", "etcdctl")
    server = Etcd(os.path.join(base, "etcd")).start()
    yield server
    server.stop()


@pytest.fixture
def etcd_program(bindir):
    return os.path.join(bindir, "ctdb-lock-etcd")


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_etcd_one_holds(etcd, etcd_program, start):
    before = now_ns()
    first = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--name", "node 7 (host)", "--ttl", "10")
    second = start(etcd_program, "--endpoints", etcd.endpoint)
    assert second.answer() == "1"
    assert second.ended()[1] == "ctdb-lock-etcd: /ctdb/lock is held by node 7 (host)\n"
    other = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--key", "other")
    wait_until(lambda: len(first.untils()) >= 3, what="two renewals")
    untils = first.untils()
    assert untils == sorted(untils)
    # never more than the lease from before the request, less 1 %
    assert untils[0] <= now_ns() + 9900000000 and untils[0] >= before + 9900000000 - 10 * 10 ** 9
    assert etcd.value() == "node 7 (host)"
    assert first.term() == 0
    assert etcd.value() == "" and etcd.ctl("lease", "list").stdout.startswith("found 1 leases")
    assert other.alive()


def test_etcd_survives_many_lease_times(etcd, etcd_program, start):
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--ttl", "4")
    wait_until(lambda: len(helper.untils()) >= 12, what="renewals")
    assert helper.alive() and etcd.ctl("lease", "list").stdout.startswith("found 1 leases")


def test_etcd_next_server(etcd, etcd_program, start):
    dead = free_address()
    helper = holder(start, etcd_program, "--endpoints", f"{dead}:1,http://{etcd.endpoint}, {dead}:2", "--ttl", "5")
    wait_until(lambda: len(helper.untils()) >= 3, what="renewals")


def test_h111_etcd_frees_what_a_dead_holder_had(etcd, etcd_program, start):
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--ttl", "10")
    helper.process.kill()
    assert start(etcd_program, "--endpoints", etcd.endpoint, "--ttl", "20").answer() == "1"
    wait_until(lambda: start(etcd_program, "--endpoints", etcd.endpoint).answer() == "0", what="the key")


def test_etcd_does_not_answer(etcd, etcd_program, start):
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--ttl", "8")
    etcd.process.send_signal(signal.SIGSTOP)
    status, err = helper.ended()
    assert now_ns() >= helper.untils()[-1] and status == 1
    assert "/ctdb/lock is lost: etcd was not reached for 8 s" in err
    late = start(etcd_program, "--endpoints", etcd.endpoint, "--ttl", "2")
    assert late.answer() == "3" and "timed out" in late.ended()[1].lower()


def test_etcd_is_restarted(etcd, etcd_program, start):
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--ttl", "20")
    etcd.stop()
    etcd.start()
    n = len(helper.untils())
    wait_until(lambda: len(helper.untils()) > n, what="a renewal")
    assert start(etcd_program, "--endpoints", etcd.endpoint).answer() == "1"


@pytest.mark.parametrize("how", ["revoke", "delete", "taken"])
def test_etcd_key_is_taken_away(etcd, etcd_program, start, how):
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--ttl", "6")
    if how == "revoke":
        assert etcd.ctl("lease", "revoke", etcd.lease()).returncode == 0
    elif how == "delete":
        assert etcd.ctl("del", "/ctdb/lock").returncode == 0
    else:
        assert etcd.ctl("put", "/ctdb/lock", "an\x1badministrator").returncode == 0
    status, err = helper.ended()
    assert status == 1 and "/ctdb/lock is lost: it is held by " + {"revoke": "nobody", "delete": "nobody", "taken": "an?administrator now"}[how] in err
    # what it does not have it does not take away
    assert etcd.value() == ("an\x1badministrator" if how == "taken" else "")


def test_etcd_holder_is_paused(etcd, etcd_program, start):
    """It says nothing that is not true when it goes on."""
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--ttl", "2")
    helper.process.send_signal(signal.SIGSTOP)
    second = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--name", "second", "--ttl", "10")
    taken = now_ns()
    helper.process.send_signal(signal.SIGCONT)
    status, err = helper.ended()
    assert status == 1 and "is lost" in err
    assert all(until < taken for until in helper.untils())
    assert second.alive() and etcd.value() == "second"


def test_etcd_authentication(etcd, etcd_program, base, start):
    for words in (["user", "add", "root:secret"], ["user", "grant-role", "root", "root"], ["role", "add", "root"], ["user", "add", "guest:pw"],
                  ["user", "add", "root:secret"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
        etcd.ctl(*words)

    def user_file(name, text, mode=0o600):
        path = os.path.join(base, name)
        with open(path, "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, mode)) as f:
            f.write(text)
        return path

    def refused(*options):
        helper = start(etcd_program, "--endpoints", etcd.endpoint, "--ttl", "60", *options)  # each request has a fifth of that: passwords take etcd some time
        assert helper.answer() == "3"
        return helper.ended()[1]

    good = user_file("good", "root:secret\n")
    helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, "--user-file", good, "--ttl", "20")
    assert "it has authentication: set etcd user file" in refused()
    assert "check etcd user file" in refused("--user-file", user_file("wrong", "root:Secret"))
    assert "permission denied: give the user of etcd user file read and write access" in refused("--user-file", user_file("guest", "guest:pw"))
    assert "give one line USER:PASSWORD" in refused("--user-file", user_file("odd", "root"))
    assert "others may read it: chmod 600 it" in refused("--user-file", user_file("open", "root:secret", 0o644))
    # it forgets its tokens when it is started again
    etcd.stop()
    etcd.process = subprocess.Popen(["etcd", "--data-dir", etcd.directory, "--listen-client-urls", f"http://{etcd.endpoint}", "--advertise-client-urls",
                                     f"http://{etcd.endpoint}", "--listen-peer-urls", f"http://{etcd.host}:2380"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    n = len(helper.untils())
    wait_until(lambda: len(helper.untils()) > n, what="a renewal with a new token")


@pytest.fixture
def certificates(base):
    """certificates(NAME): path of a file."""
    need_programs("openssl")

    def path(name):
        return os.path.join(base, name)

    def run(*argv):
        subprocess.run(["openssl", *argv], check=True, **CAPTURE)

    for ca in ("ca", "other"):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={ca}", "-keyout",
            path(f"{ca}.key"), "-out", path(f"{ca}.pem"))
    path.host = free_address()
    with open(path("ext"), "w", encoding="ascii") as f:
        f.write(f"subjectAltName=IP:{path.host}\nextendedKeyUsage=serverAuth,clientAuth\n")
    for name in ("server", "client"):
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", path(f"{name}.key"), "-out",
            path(f"{name}.csr"))
        run("x509", "-req", "-in", path(f"{name}.csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile",
            path("ext"), "-out", path(f"{name}.pem"))
    return path


def test_etcd_tls(base, certificates, etcd_program, start):
    need_programs("etcd", "etcdctl")
    etcd = Etcd(os.path.join(base, "etcd"), certificates).start()
    try:
        ca, pair = ["--ca", certificates("ca.pem")], ["--cert", certificates("client.pem"), "--cert-key", certificates("client.key")]

        def refused(endpoint, *options):
            helper = start(etcd_program, "--endpoints", endpoint, "--ttl", "60", *options)
            assert helper.answer() == "3"
            return helper.ended()[1]

        helper = holder(start, etcd_program, "--endpoints", etcd.endpoint, *ca, *pair, "--ttl", "5")
        assert "its certificate is not trusted: check etcd ca file" in refused("https://" + etcd.endpoint, *pair)
        assert "its certificate is not trusted: check etcd ca file" in refused(etcd.endpoint, "--ca", certificates("other.pem"), *pair)
        assert "a certificate of this node" in refused(etcd.endpoint, *ca)
        assert "does it want https" in refused("http://" + etcd.endpoint)
        assert "/nothing: cannot be read: No such file" in refused(etcd.endpoint, "--ca", "/nothing")
        wait_until(lambda: len(helper.untils()) >= 3, what="renewals")
        assert helper.term() == 0 and etcd.value() == ""
    finally:
        etcd.stop()


class FakeEtcd(ThreadingHTTPServer):
    """Answers as a test wants: answers[PATH] is an object or a function of the request."""

    daemon_threads = True

    def __init__(self):
        header = {"member_id": "7", "raft_term": "3"}
        self.answers = {"/v3/kv/range": {"header": header}, "/v3/lease/grant": {"ID": "42", "TTL": "2"}, "/v3/kv/txn": {"succeeded": True},
                        "/v3/lease/keepalive": {"result": {"header": header, "ID": "42", "TTL": "2"}}, "/v3/lease/revoke": {}}
        self.seen = []
        self.authorization = None
        super().__init__((free_address(), 2379), Handler)
        self.endpoint = f"{self.server_address[0]}:2379"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def lease_time(self, seconds):
        """A request has a fifth of it, and one server is asked once: long enough for this process to be kept from answering."""
        self.answers["/v3/lease/grant"]["TTL"] = self.answers["/v3/lease/keepalive"]["result"]["TTL"] = seconds

    def hold(self, **header):
        """The key is the helper's; header: what differs in the answers about the key."""
        self.answers["/v3/kv/range"] = {"header": {"member_id": "7", "raft_term": "3", **header}, "kvs": [{"lease": "42", "value": "bWU="}]}

    def hold_then(self, **header):
        """As soon as the helper has taken the key."""
        self.answers["/v3/kv/txn"] = lambda body: (self.hold(**header), {"succeeded": True})[1]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        self.server.authorization = self.headers.get("Authorization")
        answer = self.server.answers.get(self.path, (404, b"404 page not found\n"))
        answer = answer(body) if callable(answer) else answer
        status, data = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode() + b"\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


@pytest.fixture
def fake():
    server = FakeEtcd()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("header", [{"raft_term": "4"}, {"member_id": "8"}, {"raft_term": "0"}])
def test_renewal_counts_only_if_one_leader_did_it(fake, etcd_program, start, header):
    """A deposed leader of etcd that says yes to a renewal must not make anybody act longer."""
    fake.hold_then(**header)
    fake.lease_time("12")
    helper = start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "12").held()
    status, _ = helper.ended()
    assert status == 1 and len(helper.untils()) == 1 and now_ns() >= helper.untils()[0]
    assert sum(path == "/v3/lease/keepalive" for path, _ in fake.seen) >= 2


def test_renewal_that_one_leader_did(fake, etcd_program, start):
    fake.hold_then()
    fake.lease_time("12")
    helper = start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "12").held()
    wait_until(lambda: len(helper.untils()) >= 3, what="renewals")


@pytest.mark.parametrize("ttl, seconds", [("18446744073709551615", 0), ("-1", 0), (-1, 0), ("18632767", 600), ("9223372036854775807", 600)])
def test_odd_times(fake, etcd_program, start, ttl, seconds):
    """A lease that has ended, or that lasts longer than anybody asked for: no multiplication makes it anything else."""
    fake.answers["/v3/lease/grant"] = {"ID": "42", "TTL": ttl}
    before = now_ns()
    helper = start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "60")
    if seconds == 0:
        assert helper.answer() == "3"
    else:
        helper.held()
        assert before + (seconds - 20) * 10**9 < helper.untils()[0] < now_ns() + seconds * 10**9


def test_long_token(fake, etcd_program, base, start):
    """As with etcd --auth-token=jwt."""
    path = os.path.join(base, "user")
    with open(path, "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write("root:secret\n")
    fake.answers["/v3/auth/authenticate"] = {"token": "t" * 2000}
    fake.lease_time("60")
    start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "60", "--user-file", path).held()
    assert fake.authorization == "t" * 2000


def test_lost_answer_was_yes(fake, etcd_program, start):
    """The first try of the transaction succeeded, though its answer was an error: the key is the helper's own lease's."""
    fake.answers["/v3/kv/txn"] = {"responses": [{"response_range": {"kvs": [{"lease": "42"}]}}]}
    fake.lease_time("60")
    start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "60").held()


@pytest.mark.parametrize("answer, expect", [
    ((404, b"404 page not found\n"), "answers HTTP status 404, but not as etcd 3.4 or later does: check etcd endpoints"),
    ((200, b"<html>"), "answers HTTP status 200, but not as etcd"), ((200, b"[]"), "but not as etcd"), ((200, b""), "but not as etcd"),
    ((400, b"Client sent an HTTP request to an HTTPS server.\n"), "it speaks https: write https://HOST:PORT in etcd endpoints"),
    ((503, b'{"error":"etcdserver: no leader","code":14}'), "etcd refuses: etcdserver: no leader"),
    ((500, b"{}"), "etcd refuses: HTTP status 500"), ((200, b"{" + b" " * 300000), "Failure writing output"),
    ({"error": {"message": "odd", "grpc_code": 2}}, "etcd refuses: odd"),
])
def test_odd_answers(fake, etcd_program, start, answer, expect):
    fake.answers["/v3/lease/grant"] = answer
    helper = start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "60")
    assert helper.answer() == "3"
    status, err = helper.ended()
    assert status == 1 and expect in err, err


def test_h106_told_to_end_while_etcd_hangs(fake, etcd_program, start):
    hung = threading.Event()
    fake.answers["/v3/kv/txn"] = lambda body: (hung.set(), time.sleep(3), {"succeeded": True})[2]
    helper = start(etcd_program, "--endpoints", fake.endpoint, "--ttl", "60")
    wait_until(hung.is_set, what="the transaction")
    helper.term()
    assert fake.seen[-1] == ("/v3/lease/revoke", {"ID": "42"})


@pytest.mark.parametrize("arguments, expect", [
    ([], "usage: ctdb-lock-etcd --endpoints LIST"), (["--endpoints", "a:1", "x"], "usage:"), (["--endpoints", " , "], "no server is named"),
    (["--endpoints", "a:1", "--ttl", "1"], '--ttl is "1": give seconds from 2 to 60'), (["--endpoints", "a:1", "--ttl", "2x"], '--ttl is "2x"'),
    (["--endpoints", "a:1", "--cert", "/c"], "--cert and --cert-key go together"), (["--endpoints", "a:1", "--key", ""], "--key is empty"),
    (["--endpoints", ",".join(["a:1"] * 40)], "more than 32 servers"), (["--nonsense"], "nonsense"),
    (["--endpoints", "no-such-host.invalid:1", "--ttl", "60"], "Could not resolve host: no-such-host.invalid"),
    (["--endpoints", "127.0.0.1:1"], "ctdb-lock-etcd: http://127.0.0.1:1: Connection refused: does etcd run there? Check etcd endpoints\n"),
])
def test_etcd_bad_arguments(etcd_program, start, arguments, expect):
    helper = start(etcd_program, *arguments)
    assert helper.answer() == "3"
    status, err = helper.ended()
    assert status != 0 and expect in err, err
