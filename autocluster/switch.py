"""The network of a cluster in namespaces: a machine that holds the bridges and, for each node, the far ends of its cables.

Private network (between nodes): bridge "private", node N has 10.77.0.N+1 on eth0. Public network (to clients): bridge "public", node N has
10.78.0.N+1 on eth1, the client 10.78.0.254. All of it is in namespaces of this cluster: no two clusters can meet, nor touch the machine."""

import json

from .errors import ClusterError
from .machine import Machine

PRIVATE, PUBLIC = "10.77.0.{}", "10.78.0.{}"
CLIENT_HOST = 254


def private_address(pnn):
    return PRIVATE.format(pnn + 1)


def public_address(pnn):
    return PUBLIC.format(pnn + 1)


class Switch(Machine):
    """Bridges and cables."""

    def start(self):
        self.prepare({"namespaces": True, "hostname": "switch", "staging": self.directory + "/mnt", "mounts": [], "programs": []})
        self.ip("link set lo up", *self._new_bridge("private"), *self._new_bridge("public"))
        self.release()

    @staticmethod
    def _new_bridge(name):
        return [f"link add {name} type bridge forward_delay 0", f"link set {name} addrgenmode none", f"link set {name} up"]

    def plug_node(self, pnn, machine):
        """New cables from both bridges to a node, and its addresses."""
        pid = machine.require().pid
        self.ip(*self._cable(f"p{pnn}", self._private_bridge(pnn), "eth0", pid, f"02:00:0a:4d:00:{pnn + 1:02x}"),
                *self._cable(f"s{pnn}", "public", "eth1", pid, f"02:00:0a:4e:00:{pnn + 1:02x}"))
        machine.ip("link set lo up", *self._address("eth0", private_address(pnn)), *self._address("eth1", public_address(pnn)))

    def plug_client(self, machine):
        self.ip(*self._cable("client", "public", "eth1", machine.require().pid, f"02:00:0a:4e:00:{CLIENT_HOST:02x}"))
        machine.ip("link set lo up", *self._address("eth1", PUBLIC.format(CLIENT_HOST)))

    @staticmethod
    def _cable(port, bridge, far_name, far_pid, far_mac):
        # The hardware address stays over power cuts, as a real card's does: neighbours know it.
        return [f"link add {port} type veth peer name {far_name} address {far_mac} netns {far_pid}", f"link set {port} addrgenmode none",
                f"link set {port} master {bridge}", f"link set {port} up"]

    @staticmethod
    def _address(interface, address):
        return [f"link set {interface} addrgenmode none", f"address add {address}/16 dev {interface}", f"link set {interface} up"]

    def cut_node(self, pnn):
        """Cables go dead at the bridge: nothing that the node sends arrives any more."""
        self.ip(f"link set p{pnn} down", f"link set s{pnn} down")

    def unplug_node(self, pnn):
        """Takes the cables of a node away; they may be gone already, with the node's namespace."""
        for port in (f"p{pnn}", f"s{pnn}"):
            try:
                self.ip(f"link del {port}")
            except ClusterError:
                pass

    def partition(self, groups, running):
        """groups: lists of pnns. Each but the first gets a private bridge of its own: whoever is in a group reaches it and nobody else.
        Nodes that are off are in their group when they come back."""
        self.heal(running)
        self.state.write("partition.json", json.dumps(groups) + "\n")
        for number in range(1, len(groups)):
            self.ip(*self._new_bridge(f"part{number}"))
        self.ip(*[f"link set p{pnn} master {self._private_bridge(pnn)}" for pnn in sorted(running)])

    def heal(self, running):
        self.state.write("partition.json", "[]\n")
        self.ip(*[f"link set p{pnn} master private" for pnn in sorted(running)])
        for number in range(1, 256):
            try:
                self.ip(f"link del part{number}")
            except ClusterError:
                return

    def _private_bridge(self, pnn):
        try:
            with open(self.state.file("partition.json"), encoding="utf-8") as f:
                groups = json.load(f)
        except FileNotFoundError:
            return "private"
        number = next((i for i, group in enumerate(groups) if pnn in group), 0)
        return f"part{number}" if number else "private"
