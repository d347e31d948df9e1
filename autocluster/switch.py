"""The network of a cluster in namespaces: a machine that holds the bridges and, for each node, the far ends of its cables.

Private network (between nodes): bridge "private", node N has 10.77.0.N+1 on eth0. Public network (to clients): bridge "public", node N has
10.78.0.N+1 on eth1, the client 10.78.0.254, etcd (if there is one) 10.78.0.253. If nodes have two addresses: bridge "second", node N has 10.79.0.N+1 on eth2. All of it is in namespaces of this cluster: no two clusters can meet, nor touch the machine."""

import json

from .errors import ClusterError
from .machine import Machine

PRIVATE, PUBLIC, SECOND = "10.77.0.{}", "10.78.0.{}", "10.79.0.{}"
# Name of the far end of a node's cable at the bridge, by the node's interface.
PORTS = {"eth0": "p", "eth1": "s", "eth2": "q"}
CLIENT_HOST = 254
SERVER_HOST = 253  # etcd


def private_address(pnn):
    return PRIVATE.format(pnn + 1)


def public_address(pnn):
    return PUBLIC.format(pnn + 1)


def server_address():
    return PUBLIC.format(SERVER_HOST)


def second_address(pnn):
    return SECOND.format(pnn + 1)


class Switch(Machine):
    """Bridges and cables."""

    def start(self, two_addresses=False):
        self.prepare({"namespaces": True, "hostname": "switch", "staging": self.directory + "/mnt", "mounts": [], "programs": []})
        self.ip("link set lo up", *self._new_bridge("private"), *self._new_bridge("public"),
                *(self._new_bridge("second") if two_addresses else []))
        self.release()

    @staticmethod
    def _new_bridge(name):
        return [f"link add {name} type bridge forward_delay 0", f"link set {name} addrgenmode none", f"link set {name} up"]

    def plug_node(self, pnn, machine, addresses):
        """New cables from the bridges to a node, and its addresses; addresses: on the private networks."""
        pid = machine.require().pid
        self.ip(*self._cable(f"p{pnn}", self._bridge("p", pnn), "eth0", pid, f"02:00:0a:4d:00:{pnn + 1:02x}"),
                *self._cable(f"s{pnn}", "public", "eth1", pid, f"02:00:0a:4e:00:{pnn + 1:02x}"))
        machine.ip("link set lo up", *self._address("eth0", addresses[0]), *self._address("eth1", public_address(pnn)))
        if len(addresses) > 1:
            self.ip(*self._cable(f"q{pnn}", self._bridge("q", pnn), "eth2", pid, f"02:00:0a:4f:00:{pnn + 1:02x}"))
            machine.ip(*self._address("eth2", addresses[1]))

    def set_cable(self, pnn, interface, plugged):
        """Pulls the cable of a node's interface at the switch, or puts it back."""
        if interface not in PORTS or (interface == "eth2" and not self._has_second()):
            names = ", ".join(name for name in PORTS if name != "eth2" or self._has_second())
            raise ClusterError(f"a node has no interface {interface} here; it has {names}")
        self.ip(f"link set {PORTS[interface]}{pnn} {'up' if plugged else 'down'}")

    def lose(self, pnn, percent):
        """So many of the packets from and to a node get lost on the private networks."""
        if not 0 <= percent <= 100:
            raise ClusterError(f"{percent} is no percentage of packets")
        ports = ", ".join(f'"{port}{pnn}"' for port in self._private_ports())
        chance = f"numgen random mod 10000 < {round(100 * percent)}"
        self.drop("bridge", f"lose{pnn}", "forward", [f"{side} {{ {ports} }} {chance}" for side in ("iifname", "oifname")] if percent else [])

    def _has_second(self):
        return self.state.load().get("two_addresses", False)

    def plug_client(self, machine):
        self.ip(*self._cable("client", "public", "eth1", machine.require().pid, f"02:00:0a:4e:00:{CLIENT_HOST:02x}"))
        machine.ip("link set lo up", *self._address("eth1", PUBLIC.format(CLIENT_HOST)))

    def plug_server(self, machine):
        self.ip(*self._cable("server", "public", "eth1", machine.require().pid, f"02:00:0a:4e:00:{SERVER_HOST:02x}"))
        machine.ip("link set lo up", *self._address("eth1", server_address()))

    def unplug_server(self):
        try:
            self.ip("link del server")
        except ClusterError:
            pass  # gone with its namespace

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
        self.ip(*[f"link set {port}{pnn} down" for port in self._ports()])

    def unplug_node(self, pnn):
        """Takes the cables of a node away; they may be gone already, with the node's namespace."""
        for port in self._ports():
            try:
                self.ip(f"link del {port}{pnn}")
            except ClusterError:
                pass

    def _ports(self):
        return [port for interface, port in PORTS.items() if interface != "eth2" or self._has_second()]

    def _private_ports(self):
        return [port for port in self._ports() if port != "s"]

    def partition(self, groups, running):
        """groups: lists of pnns. Each but the first gets private bridges of its own: whoever is in a group reaches it and nobody else.
        Nodes that are off are in their group when they come back."""
        self.heal(running)
        self.state.write("partition.json", json.dumps(groups) + "\n")
        for number in range(1, len(groups)):
            for port in self._private_ports():
                self.ip(*self._new_bridge(f"{port}part{number}"))
        self._connect(running)

    def heal(self, running):
        self.state.write("partition.json", "[]\n")
        self._connect(running)
        for number in range(1, 256):
            for port in self._private_ports():
                try:
                    self.ip(f"link del {port}part{number}")
                except ClusterError:
                    return

    def _connect(self, running):
        self.ip(*[f"link set {port}{pnn} master {self._bridge(port, pnn)}" for pnn in sorted(running) for port in self._private_ports()])

    def _bridge(self, port, pnn):
        """The bridge that a private port of a node belongs to now."""
        whole = {"p": "private", "q": "second"}[port]
        try:
            with open(self.state.file("partition.json"), encoding="utf-8") as f:
                groups = json.load(f)
        except FileNotFoundError:
            return whole
        number = next((i for i, group in enumerate(groups) if pnn in group), 0)
        return f"{port}part{number}" if number else whole
