"""An endpoint of a node that a test speaks itself: datagrams and packets between nodes."""

import fcntl
import os
import random
import socket
import struct

from support import PATIENCE

REQUEST, REPLY, NOTIFY, FLAG_BULK = 1, 2, 3, 1
TRANSPORT, GET_LINKS, SUBSCRIBE, LINK_CHANGED, GET_STATUS = 0x20C70002, 1, 2, 3, 4
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def xdr_string(text):
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw + bytes(-len(raw) % 4)


class Packet:
    """A packet between endpoints."""

    def __init__(self, data, fds):
        self.data, self.pos = data, 0
        _, self.version, self.kind = self.take("III")
        self.source = (self.string(), self.take("I")[0])
        self.destination = (self.string(), self.take("I")[0])
        self.interface, _, self.proc, self.ident, self.status, size, memfd = self.take("IIIQiII")
        if self.version >= 2:
            self.take("I")
        self.payload = data[self.pos:]
        if memfd:
            self.payload = os.pread(fds[0], size, 0)
        for fd in fds:
            os.close(fd)
        assert len(self.payload) == size

    def take(self, fmt):
        values = struct.unpack_from(">" + fmt, self.data, self.pos)
        self.pos += struct.calcsize(">" + fmt)
        return values

    def string(self):
        n = self.take("I")[0]
        raw = self.data[self.pos:self.pos + n]
        self.pos += n + -n % 4
        return raw.decode()


class Endpoint:
    """node: has pnn, and path(name) of a file in its run directory."""

    def __init__(self, node, name):
        self.node, self.name = node, name
        self.path = node.path(f"msg/{name}")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(self.path)
        self.ident = random.getrandbits(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        os.unlink(self.path)

    def send(self, kind, destination, interface, proc, payload=b"", ident=0, bulk=False):
        memfd = len(payload) > 65536
        data = struct.pack(">III", 0x43544E4D, 2 if bulk else 1, kind) + xdr_string(self.name) + struct.pack(">I", self.node.pnn)
        data += xdr_string(destination[0])
        data += struct.pack(">IIIIQiII", destination[1], interface, 1, proc, ident, 0, len(payload), memfd)
        data += struct.pack(">I", FLAG_BULK) if bulk else b""
        fds = []
        if memfd:
            fds = [os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)]
            view = memoryview(payload)
            while view:
                view = view[os.write(fds[0], view):]
            fcntl.fcntl(fds[0], fcntl.F_ADD_SEALS, SEALS)
        else:
            data += payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fds[0]))] if fds else []
        to = destination[0] if destination[1] == self.node.pnn else "transport"
        self.socket.sendmsg([data], rights, 0, self.node.path(f"msg/{to}"))
        for fd in fds:
            os.close(fd)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.socket, 70000, 4)
        return Packet(data, fds)

    def request(self, destination, interface, proc, payload=b"", bulk=False):
        self.ident += 1
        self.send(REQUEST, destination, interface, proc, payload, self.ident, bulk)
        return self.ident

    def call(self, destination, interface, proc, payload=b""):
        """The reply."""
        ident = self.request(destination, interface, proc, payload)
        while True:
            p = self.receive()
            if p.kind == REPLY and p.ident == ident:
                return p

    def answer(self, request, payload=b"", bulk=False):
        data = struct.pack(">III", 0x43544E4D, 2 if bulk else 1, REPLY) + xdr_string(self.name) + struct.pack(">I", self.node.pnn)
        data += xdr_string(request.source[0])
        data += struct.pack(">IIIIQiII", request.source[1], request.interface, 1, request.proc, request.ident, 0, len(payload), 0)
        data += struct.pack(">I", FLAG_BULK) if bulk else b""
        to = request.source[0] if request.source[1] == self.node.pnn else "transport"
        self.socket.sendto(data + payload, self.node.path(f"msg/{to}"))


def links(node):
    """{pnn: (up, how often it came up)} as the node's transport endpoint tells it."""
    with Endpoint(node, "asker") as e:
        p = e.call(("transport", node.pnn), TRANSPORT, GET_LINKS)
    assert p.status == 0
    p.data, p.pos = p.payload, 0
    found = {}
    for _ in range(p.take("I")[0]):
        pnn = p.take("I")[0]
        p.string()
        up, *_, ups = p.take("IQQQQQQ")
        found[pnn] = (bool(up), ups)
    return found
