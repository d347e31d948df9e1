"""A three-node cluster with Samba, and SMB clients on its public network."""

import json
import os
import select
import subprocess
import time

import pytest
from support import CALM, ClusterFactory, need_programs, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"


class AgentError(Exception):
    """What an agent could not do."""


class Agent:
    """One SMB connection to one node, made by a process in the client's namespace (agent.py)."""

    def __init__(self, cluster, pnn, **options):
        self.pnn = pnn
        argv, env = cluster.client_command([PYTHON, os.path.join(HERE, "agent.py")])
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.call("connect", host=cluster.public_address(pnn), **options)

    def start(self, method, **args):
        """Sends a command without waiting for its end; finish() waits."""
        for name, value in args.items():
            if isinstance(value, bytes):
                args[name] = value.hex()
        self.process.stdin.write(json.dumps({"do": method, "args": args}).encode() + b"\n")
        self.process.stdin.flush()

    def finish(self, timeout=60):
        line = b""
        end = time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AgentError(f"the client of node {self.pnn} gave no answer within {timeout} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise AgentError(f"the client of node {self.pnn} ended")
            line += data
        answer = json.loads(line)
        if "error" in answer:
            raise AgentError(f"node {self.pnn}: {answer['error']}")
        return answer["ok"]

    def call(self, method, **args):
        self.start(method, **args)
        return self.finish()

    def end(self):
        """As a client that vanishes."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class SambaCluster:
    """The cluster and the clients of one test."""

    def __init__(self, cluster):
        self.cluster, self.agents = cluster, []

    def agent(self, pnn, **options):
        agent = Agent(self.cluster, pnn, **options)
        self.agents.append(agent)
        return agent

    def try_agent(self, pnn):
        """A connection, or None while the node does not serve."""
        try:
            return self.agent(pnn, timeout=10)
        except AgentError:
            return None

    def smbclient(self, pnn, commands, check=True):
        done = self.cluster.client(["smbclient", "-N", f"//{self.cluster.public_address(pnn)}/share", "-c", commands], capture_output=True,
                                   text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            pytest.fail(f"smbclient to node {pnn}: {done.stdout}{done.stderr}")
        return done

    def smbstatus(self, pnn, *options):
        done = self.cluster.node(pnn).run(["smbstatus", *options], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_serving(self, pnn, timeout=60):
        """Until a client can connect to that node."""
        wait_until(lambda: self.try_agent(pnn), timeout, f"Samba on node {pnn}")

    def pids(self, *programs):
        """{(pnn, program): [pids]}"""
        return {(node.pnn, program): sorted(p.pid for p in node.find_program(program)) for node in self.cluster.nodes for program in programs}

    def log_size(self, pnn):
        try:
            return os.path.getsize(self.cluster.node(pnn).file("log", "log.ctdb"))
        except FileNotFoundError:
            return 0

    def log_since(self, pnn, size):
        try:
            with open(self.cluster.node(pnn).file("log", "log.ctdb"), encoding="utf-8", errors="replace") as f:
                f.seek(size)
                return f.read()
        except FileNotFoundError:
            return ""

    def finish(self):
        for agent in self.agents:
            agent.end()


class Holder:
    """Keeps one cluster for many tests, and replaces it when a test left it broken."""

    def __init__(self, request):
        debian = request.config.getoption("--debian-ctdb")
        self.factory = ClusterFactory(request.config, None if debian else request.getfixturevalue("bindir"))
        self.cluster = None

    def get(self):
        if self.cluster and any(node.waiting_for() for node in self.cluster.nodes):
            cluster, self.cluster = self.cluster, None
            self.factory.replace(cluster)
        if not self.cluster:
            self.cluster = self.factory(3, mode="netns", samba_on_nodes=True, extra_config=CALM)
        return self.cluster


@pytest.fixture(scope="session")
def samba_holder(request, need_root):
    need_programs("smbd", "smbclient", "smbstatus", "ip")
    holder = Holder(request)
    yield holder
    holder.factory.remove()


@pytest.fixture
def smb(samba_holder, request):
    """A SambaCluster in good health."""
    cluster = SambaCluster(samba_holder.get())
    yield cluster
    cluster.finish()
    if getattr(request.node, "failed", False):
        samba_holder.factory.show_logs()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture
def own_daemons(request):
    if request.config.getoption("--debian-ctdb"):
        pytest.skip("is about our own daemons")
