"""A real etcd (Debian's) of a cluster: one server, a machine of its own. In namespaces it is on the public network, so a partition of the private
one leaves it in reach of all nodes; on loopback it has an address of the cluster's range."""

import os
import signal
import subprocess

from .errors import ClusterError
from .machine import Machine, wait_for
from .switch import SERVER_HOST, server_address

ETCD, ETCDCTL = "/usr/bin/etcd", "/usr/bin/etcdctl"
PORT = 2379


def require():
    for program in (ETCD, ETCDCTL):
        if not os.access(program, os.X_OK):
            raise ClusterError(f"--etcd needs {program}, Debian's etcd: sudo make deps")


class Etcd(Machine):
    """The server."""

    def __init__(self, cluster):
        super().__init__(cluster.state, "etcd", cluster.namespaces)
        self.cluster = cluster

    @property
    def address(self):
        return server_address() if self.namespaces else f"{self.cluster.config['range']}.{SERVER_HOST}"

    @property
    def endpoint(self):
        return f"{self.address}:{PORT}"

    def start(self):
        """Starts it, with the data that it has, and waits until it answers."""
        url, peer = f"http://{self.endpoint}", f"http://{self.address}:{PORT + 1}"
        os.makedirs(self.directory + "/data", mode=0o700, exist_ok=True)
        argv = [ETCD, "--name", "etcd", "--data-dir", self.directory + "/data", "--listen-client-urls", url, "--advertise-client-urls", url,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"etcd={peer}"]
        self.prepare({"namespaces": self.namespaces, "hostname": "etcd", "staging": self.directory + "/mnt", "mounts": [],
                      "programs": [{"name": "etcd", "argv": argv, "log": self.directory + "/log/etcd", "restart": "always"}]})
        if self.namespaces:
            self.cluster.switch.plug_server(self)
        self.release()
        wait_for(self.healthy, 30, lambda: f"etcd does not answer; its log ends with:\n{self.log_tail()}")

    def off(self):
        """Power cut; start() switches it on again."""
        self.destroy()
        if self.namespaces:
            self.cluster.switch.unplug_server()

    def pause(self):
        self.signal_program("etcd", signal.SIGSTOP)

    def resume(self):
        self.signal_program("etcd", signal.SIGCONT)

    def ctl(self, *words, timeout=10):
        """etcdctl on its machine: the finished command."""
        argv = [ETCDCTL, "--endpoints", f"http://{self.endpoint}", *words]
        return subprocess.run((self.enter_argv() if self.namespaces else []) + argv, env={**os.environ, "ETCDCTL_API": "3"}, timeout=timeout,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    def healthy(self):
        try:
            return self.ctl("endpoint", "health").returncode == 0
        except subprocess.TimeoutExpired:
            return False
