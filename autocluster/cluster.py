"""A virtual cluster: nodes, what connects them, and what can be done to them."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import zlib

from . import etcd as etcds
from . import product as products
from . import samba
from .errors import ClusterError
from .machine import TOKEN, Machine, wait_for
from .process import kill_all, parent, with_environment
from .state import State
from .switch import Switch, private_address, public_address, second_address

MAX_NODES = 64
# Second addresses on loopback: in the same /24, after the first ones.
SECOND_RANGE = 128
# A ctdbd that ended this often by itself since the node was switched on will not do better at the next time.
FAILURES_LIMIT = 5
PROGRAM_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "cont": signal.SIGCONT}


class Paths:
    """Where a node's files are, as its daemons see them."""

    def __init__(self, base, namespaces):
        if namespaces:
            self.etc, self.run, self.var, self.log = "/etc/ctdb", "/run/ctdb", "/var/lib/ctdb", "/var/log/ctdb"
        else:
            self.etc, self.run, self.var, self.log = base, f"{base}/run", f"{base}/var", f"{base}/log"


class Node(Machine):
    """One node of a cluster."""

    def __init__(self, cluster, pnn):
        super().__init__(cluster.state, f"node{pnn}", cluster.namespaces)
        self.cluster, self.pnn = cluster, pnn
        self.addresses = [private_address(pnn), second_address(pnn)] if cluster.namespaces else \
            [f"{cluster.config['range']}.{pnn + 1}", f"{cluster.config['range']}.{pnn + 1 + SECOND_RANGE}"]
        if not cluster.config.get("two_addresses"):
            self.addresses.pop()
        self.address = self.addresses[0]
        self.paths = Paths(self.directory, cluster.namespaces)

    def file(self, *parts):
        return os.path.join(self.directory, *parts)

    def env(self):
        """What makes a program find this node."""
        env = {**self.cluster.product.env(), "AUTOCLUSTER_LOGS": self.paths.log, **self.cluster.config.get("env", {}).get(str(self.pnn), {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):  # a report goes to a file of the node
            if name in os.environ:
                env[name] = f"{os.environ[name]}:log_path={self.paths.log}/sanitizer"
        if not self.namespaces:
            env.update({"CTDB_BASE": self.directory, TOKEN: self.directory})
        return env

    def command(self, argv):
        """A command and environment that run argv on the node, whoever calls."""
        self.require()
        return (self.enter_argv() if self.namespaces else []) + list(argv), {**os.environ, **self.env()}

    def popen(self, argv, **options):
        argv, env = self.command(argv)
        # Not subprocess's search: the node's PATH counts.
        if not self.namespaces:
            argv[0] = shutil.which(argv[0], path=env["PATH"]) or argv[0]
        return subprocess.Popen(argv, env=env, **options)

    def run(self, argv, **options):
        """As subprocess.run, on the node."""
        argv, env = self.command(argv)
        if not self.namespaces:
            argv[0] = shutil.which(argv[0], path=env["PATH"]) or argv[0]
        return subprocess.run(argv, env=env, **options)  # pylint: disable=subprocess-run-check

    def install(self):
        """The node's files, before its first start."""
        etc = self.file("etc") if self.namespaces else self.directory
        for path in (etc, self.file("log"), self.file("var"), self.file("mnt")):
            os.makedirs(path, exist_ok=True)
        self.cluster.product.install_files(etc, self.cluster.key)
        config = self.cluster.product.config(self.address, self.paths, self.cluster.arbitration_config())
        config += self.cluster.product.security_config(self.cluster.config.get("tls", True))
        config += self.cluster.config.get("extra_config", "")
        with open(os.path.join(etc, "ctdb.conf"), "w", encoding="utf-8") as f:
            f.write(config)
        with open(os.path.join(etc, "nodes"), "w", encoding="utf-8") as f:
            f.writelines(",".join(node.addresses) + "\n" for node in self.cluster.nodes)
        if self.cluster.config["samba"]:
            samba.install_files(self.file)

    def _empty_what_a_boot_empties(self):
        """As a boot leaves a machine: run directory and volatile databases are empty, the rest is as it was. (In namespaces both are
        in memory and vanished with the machine.)"""
        for name in ("persistent", "state", "volatile"):
            os.makedirs(self.file("var", name), exist_ok=True)
        if not self.namespaces:
            for path in (self.file("run"), self.file("var", "volatile")):
                shutil.rmtree(path, ignore_errors=True)
                os.mkdir(path)

    def _mounts(self):
        mounts = [{"source": self.file("etc"), "target": "/etc/ctdb"}, {"source": self.file("var"), "target": "/var/lib/ctdb"},
                  {"source": self.file("log"), "target": "/var/log/ctdb"}, {"tmpfs": "mode=755", "target": "/run/ctdb"},
                  {"tmpfs": "mode=755", "target": "/var/lib/ctdb/volatile"}]
        if self.cluster.config["samba"]:
            mounts += samba.mounts(self.file, self.state.file("share"))
        return mounts + self.cluster.product.mounts()

    def _programs(self):
        programs = [{"name": "ctdbd", "argv": self.cluster.product.argv(), "env": self.env(), "log": self.file("log", "ctdbd"),
                     "restart": "failure"}]
        if self.cluster.config["samba"]:
            programs.append(samba.program(self.file))
        return programs

    def start(self):
        """Power on."""
        if self.process:
            raise ClusterError(f"{self.name} is on already")
        self._empty_what_a_boot_empties()
        spec = {"namespaces": self.namespaces, "hostname": self.name, "staging": self.file("mnt"), "programs": self._programs(),
                "mounts": self._mounts() if self.namespaces else []}
        self.prepare(spec)
        if self.namespaces:
            self.cluster.switch.plug_node(self.pnn, self, self.addresses)
        self.release()

    def power_off(self):
        """Like pulling the power cord: no packet leaves the node any more, nothing of it goes on."""
        self.require()
        if self.namespaces:
            self.cluster.switch.cut_node(self.pnn)
            self.destroy()
            self.cluster.switch.unplug_node(self.pnn)
        else:
            # Loopback can not be cut: frozen processes are as silent as dead ones, and their kernel sends no farewell.
            self.state.forget_machine(self.name)
            self._freeze()

    def pause(self):
        """Everything on the node stands still, as a virtual machine that its host does not run; packets go on to arrive. What was run from outside
        (exec) goes on."""
        for process in self._own_processes():
            process.signal(signal.SIGSTOP)

    def resume(self):
        for process in self._own_processes():
            process.signal(signal.SIGCONT)

    def _own_processes(self):
        """Those that descend from the keeper, without itself."""
        family, found = {self.require().pid}, {p.pid: p for p in self.processes()}
        while True:
            children = {pid for pid in found if pid not in family and parent(pid) in family}
            if not children:
                return [found[pid] for pid in sorted(family) if pid in found and pid != self.require().pid]
            family |= children

    def deaf(self, pnns):
        """Nothing from these nodes arrives here; they still hear this one."""
        addresses = [address for pnn in pnns for address in self.cluster.node(pnn).addresses]
        self.drop("inet", "deaf", "input", [f"ip saddr {{ {', '.join(addresses)} }}"] if addresses else [])

    def _freeze(self):
        frozen = set()
        end = time.monotonic() + 30
        while True:
            new = [p for p in with_environment(TOKEN, self.directory) if (p.pid, p.start) not in frozen]
            if not new:
                return
            if time.monotonic() > end:
                raise ClusterError(f"{self.name} starts processes faster than they can be frozen")
            for process in new:
                process.signal(signal.SIGSTOP)
                frozen.add((process.pid, process.start))

    def power_on(self):
        if self.process:
            raise ClusterError(f"{self.name} is on already")
        self.destroy()
        self.start()

    def shutdown(self):
        """Orderly end; what does not stop in time is an error, and is killed all the same."""
        if not self.stop():
            raise ClusterError(f"{self.name} did not stop in order; its logs end with:\n{self.log_tail()}")
        if self.namespaces:
            self.cluster.switch.unplug_node(self.pnn)

    def failures(self):
        """How often ctdbd ended with a failure since the node was switched on, or since it was killed: that shows that it had started."""
        with open(self.file("log", "keeper"), encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(" is up\n")[2].rpartition("ctdbd killed by signal")[2].count("ctdbd exited with status")

    def status(self, expected=()):
        """(What it waits for before it serves or None, generation of its databases). expected: nodes that it has to see as active."""
        if not self.process:
            return "it is off", None
        ok, text = products.run_status(self, self.cluster.product)
        reason, generation = self.cluster.product.status(text, {self.pnn, *expected}) if ok else (text, None)
        process = self.process
        if reason is None and self.cluster.config["samba"] and process and not samba.listening(process.pid):
            reason = "smbd does not listen yet"
        return reason, generation

    def waiting_for(self):
        """None if the node serves, else what is missing."""
        return self.status()[0]


class Cluster:
    """One cluster. Cluster.new() plans one, Cluster.open() finds an existing one."""

    def __init__(self, state, config):
        self.state, self.config = state, config
        self.namespaces = config["mode"] == "netns"
        self.product = products.make(config["bindir"], config["debian"], self.namespaces)
        self.nodes = [Node(self, pnn) for pnn in range(config["nodes"])]
        self.switch = Switch(state, "switch", True)
        self.outside = Machine(state, "client", True)
        self.etcd = etcds.Etcd(self)
        self.key = secrets.token_hex(32) if config.get("tls", True) else None  # of a new cluster; nodes keep theirs

    @classmethod
    def new(cls, name, nodes=3, mode=None, samba_on_nodes=False, arbitration="majority", bindir=None, debian=None, extra_config="",
            tls=True, two_addresses=False, env=None, lock=None):
        """env: {pnn: {name: value}}, added to the environment of what runs on that node. lock: what cluster lock is, {file} in it the lock file's path."""
        mode = mode or ("netns" if os.getuid() == 0 else "loopback")
        if not 1 <= nodes <= MAX_NODES:
            raise ClusterError(f"a cluster can have 1 to {MAX_NODES} nodes, not {nodes}")
        if mode == "netns" and os.getuid() != 0:
            raise ClusterError("network namespaces need root: run this by sudo, or use --loopback")
        if samba_on_nodes:
            samba.require()
        if arbitration == "etcd":
            etcds.require()
        if mode == "loopback" and samba_on_nodes:
            raise ClusterError("--samba needs network namespaces (root); it does not work with --loopback")
        config = {"mode": mode, "nodes": nodes, "samba": samba_on_nodes, "arbitration": arbitration, "range": "",
                  "bindir": os.path.abspath(bindir) if bindir else None, "debian": os.path.abspath(debian) if debian else None,
                  "extra_config": extra_config, "tls": tls, "two_addresses": two_addresses, "lock": lock,
                  "env": {str(pnn): added for pnn, added in (env or {}).items()}}
        return cls(State(name), config)

    @classmethod
    def open(cls, name):
        state = State(name)
        return cls(state, state.load())

    @property
    def name(self):
        return self.state.name

    def node(self, pnn):
        if not 0 <= pnn < len(self.nodes):
            raise ClusterError(f"cluster {self.name} has nodes 0 to {len(self.nodes) - 1}, not {pnn}")
        return self.nodes[pnn]

    def running(self):
        return {node.pnn for node in self.nodes if node.process}

    def next_node(self):
        """What add_node() will make: its addresses are known before."""
        if len(self.nodes) == MAX_NODES:
            raise ClusterError(f"a cluster can have {MAX_NODES} nodes at most")
        return Node(self, len(self.nodes))

    def nodes_text(self):
        """The nodes file of the first node that is on."""
        for node in self.nodes:
            if node.process:
                with open(node.file("etc", "nodes") if self.namespaces else node.file("nodes"), encoding="utf-8") as f:
                    return f.read()
        raise ClusterError(f"no node of cluster {self.name} is on")

    def add_node(self, text=None):
        """One more node, switched on; text: its nodes file, otherwise that of the others, which have to have it on their list (ctdb node add)."""
        with self.state.lock():
            node = self.next_node()
            if self.config.get("tls", True):
                self.key = self._key_of(self.nodes[0])
            node.install()
            with open(node.file("etc", "nodes") if self.namespaces else node.file("nodes"), "w", encoding="utf-8") as f:
                f.write(text or self.nodes_text())
            self.nodes.append(node)
            self.config["nodes"] = len(self.nodes)
            self.state.write("cluster.json", json.dumps(self.config, indent=1) + "\n")
            node.start()
        return node

    def _key_of(self, node):
        with open(node.file("etc", "cluster.key") if self.namespaces else node.file("cluster.key"), encoding="ascii") as f:
            return f.read().split()[0]

    @property
    def lock_file(self):
        return self.state.file("share", "ctdb.lock")

    def arbitration_config(self):
        arbitration = self.config["arbitration"]
        lock = (self.config.get("lock") or "{file}").format(file=self.lock_file)
        return [f"arbitration = {arbitration}", *([f"cluster lock = {lock}"] if arbitration == "lock" else []),
                *([f"etcd endpoints = {self.etcd.endpoint}"] if arbitration == "etcd" else [])]

    # Life and end.

    def up(self, say=lambda text: None, timeout=60):
        """Makes the cluster and waits until it serves. Whatever goes wrong, or interrupts: nothing is left."""
        with self.state.lock():
            self.state.create(self.config)
            try:
                self._make(say)
                self.wait_ready(timeout, say=say)
            except BaseException:
                _undisturbed(lambda: remove(self.state))
                raise

    def _make(self, say):
        os.mkdir(self.state.file("share"))
        os.chmod(self.state.file("share"), 0o777)
        if self.namespaces:
            self.switch.start(self.config.get("two_addresses", False))
            self.outside.prepare({"namespaces": True, "hostname": "client", "staging": self.outside.directory + "/mnt", "mounts": [],
                                  "programs": []})
            self.switch.plug_client(self.outside)
            self.outside.release()
            second = "and 10.79.0.0/16 " if self.config.get("two_addresses") else ""
            say(f"networks: private 10.77.0.0/16 {second}between the nodes, public 10.78.0.0/16 to the client")
        else:
            self._reserve_range()
            say(f"addresses {self.nodes[0].address} to {self.nodes[-1].address}")
        if self.config["arbitration"] == "etcd":
            self.etcd.start()
            say(f"etcd serves at {self.etcd.endpoint}")
        for node in self.nodes:
            node.install()
            node.start()
            say(f"node {node.pnn} is on, address {node.address}")

    def _reserve_range(self):
        """A /24 of 127/8 that nobody uses; the listening socket of a process of ours marks it while the cluster exists."""
        start = zlib.crc32(f"{self.name} {os.getuid()}".encode())
        for attempt in range(200):
            second, third = divmod((start + attempt * 7919) % (200 * 250), 250)
            chosen = f"127.{second + 20}.{third + 1}"
            holder = Machine(self.state, "range", False)
            with socket.socket() as s:
                try:
                    s.bind((f"{chosen}.255", 4379))
                    s.listen(1)
                except OSError:
                    continue
                s.set_inheritable(True)
                holder.prepare({"namespaces": False, "hostname": "range", "programs": []}, keep=[s.fileno()])
                holder.release()
            self.config["range"] = chosen
            self.state.write("cluster.json", json.dumps(self.config, indent=1) + "\n")
            self.nodes = [Node(self, pnn) for pnn in range(self.config["nodes"])]
            return
        raise ClusterError("no free range of loopback addresses was found; 'autocluster list' shows the clusters that use them")

    def wait_ready(self, timeout=60, nodes=None, say=lambda text: None):
        """Until every running node (or those given) serves, sees the others as active, and all have the same generation."""
        waiting = sorted(self.running() if nodes is None else nodes)
        # Debian's does not start before the event daemon of a killed one has ended.
        limit = 4 * FAILURES_LIMIT if self.config.get("debian") else FAILURES_LIMIT
        last = [None, ""]

        def all_serve():
            generations = set()
            for pnn in waiting:
                reason, generation = self.node(pnn).status(waiting)
                if reason is not None:
                    last[:] = [self.node(pnn), reason]
                    if not self.node(pnn).process or self.node(pnn).failures() >= limit:
                        raise ClusterError(f"node {pnn} does not start: {reason}\nIts logs end with:\n{self.node(pnn).log_tail()}")
                    return False
                generations.add(generation)
            last[:] = [self.node(waiting[0]), f"the nodes have different generations: {generations}"]
            return len(generations) <= 1

        wait_for(all_serve, timeout, lambda: (f"{last[0].name.replace('node', 'node ')} does not serve after {timeout:.0f} s: {last[1]}\n"
                                              f"Its logs end with:\n{last[0].log_tail()}"))
        say(f"all nodes serve: {len(waiting)} of {len(self.nodes)}")

    def down(self):
        """Removes everything. Works on half-made clusters too."""
        down(self.name)

    # Faults.

    def fault(self, pnn, what):
        """what: kill:PROGRAM, stop:PROGRAM, cont:PROGRAM, unplug:INTERFACE, plug:INTERFACE, deaf:PNN,..., lose:PERCENT, hear, pause, resume, power-off,
        power-on, shutdown."""
        node = self.node(pnn)
        verb, _, program = what.partition(":")
        simple = {"power-off": node.power_off, "power-on": node.power_on, "shutdown": node.shutdown, "pause": node.pause, "resume": node.resume,
                  "hear": lambda: self._impair(node, "deaf", "") or self._impair(node, "lose", "0")}
        if what in simple:
            with self.state.lock():
                simple[what]()
        elif verb in PROGRAM_SIGNALS and program:
            node.require()
            node.signal_program(program, PROGRAM_SIGNALS[verb])
        elif verb in ("unplug", "plug") and program:
            self._require_namespaces(verb)
            node.require()
            with self.state.lock():
                self.switch.set_cable(pnn, program, verb == "plug")
        elif verb in ("deaf", "lose") and program:
            with self.state.lock():
                self._impair(node, verb, program)
        else:
            raise ClusterError(f"'{what}' is no fault: use kill:DAEMON, stop:DAEMON, cont:DAEMON, unplug:INTERFACE, plug:INTERFACE, deaf:NODE,..., "
                               "lose:PERCENT, hear, pause, resume, power-off, power-on or shutdown")

    def _impair(self, node, verb, argument):
        """Packets that get lost on the private networks."""
        self._require_namespaces(verb)
        node.require()
        try:
            if verb == "deaf":
                node.deaf([int(pnn) for pnn in argument.split(",") if pnn])
            else:
                self.switch.lose(node.pnn, float(argument))
        except ValueError:
            raise ClusterError(f"{verb}:{argument} is no fault: write node numbers (deaf:0,1), or a percentage of packets (lose:5)") from None

    def partition(self, groups):
        """groups: lists of pnns; nodes of different groups can not reach each other on the private network."""
        self._require_namespaces("partition")
        named = sorted(pnn for group in groups for pnn in group)
        for pnn in named:
            self.node(pnn)
        if named != list(range(len(self.nodes))):
            raise ClusterError(f"name each of the nodes 0 to {len(self.nodes) - 1} once, groups divided by '/': for example 0,1/2")
        with self.state.lock():
            self.switch.partition(groups, self.running())

    def heal(self):
        self._require_namespaces("heal")
        with self.state.lock():
            self.switch.heal(self.running())

    def _require_namespaces(self, what):
        if not self.namespaces:
            raise ClusterError(f"{what} needs network namespaces: all nodes of the loopback cluster {self.name} share one network. "
                               "Make the cluster as root by 'autocluster up --netns'")

    # Programs.

    def client_command(self, argv):
        """A command and environment that run argv on the client: outside of the cluster, on the public network."""
        if not self.namespaces:
            return list(argv), {**os.environ}
        return self.outside.enter_argv() + list(argv), {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def client(self, argv, **options):
        """As subprocess.run, on the client."""
        argv, env = self.client_command(argv)
        return subprocess.run(argv, env=env, **options)  # pylint: disable=subprocess-run-check

    def public_address(self, pnn):
        self._require_namespaces("a public network")
        return public_address(pnn)


def remove(state):
    """Ends and removes what there is, nodes first. Each step works whatever was done before."""
    names = state.machines()
    for name in sorted(names, key=lambda n: (n in ("switch", "range"), n)):
        Machine(state, name, False).destroy()
    # Frozen nodes, and what was started in the moment of an interruption.
    if state.exists():
        for entry in os.listdir(state.path):
            directory = state.file(entry)
            if kill_all(lambda directory=directory: with_environment(TOKEN, directory)):
                raise ClusterError(f"processes of {entry} in cluster {state.name} do not end")
    state.remove()


def down(name):
    """Removes a cluster; also one that is half made, or does not exist."""
    state = State(name)
    with state.lock(interrupt=True):
        existed = state.exists()
        _undisturbed(lambda: remove(state))
    return existed


def _undisturbed(action):
    """Runs to the end, whatever signal comes."""
    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            previous[number] = signal.signal(number, signal.SIG_IGN)
        except ValueError:  # not the main thread: signals do not interrupt it
            pass
    try:
        action()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
