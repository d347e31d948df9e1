"""A stand-in for a daemon on its client socket: it says what a test wants it to say, also wrongly. One thread, one connection after the other."""

import os
import shutil
import socket
import struct
import tempfile
import threading

MAGIC = 0x43544442
REQ_CALL, REPLY_CALL, REQ_MESSAGE, REQ_CONTROL, REPLY_CONTROL = 0, 1, 5, 7, 8
GETDBPATH, GETVNNMAP, GET_DBMAP, GET_RECMODE, REGISTER_SRVID, GET_DBNAME, GET_PNN = 4, 5, 9, 15, 23, 25, 35
UPTIME, GET_NODEMAP, GET_DB_SEQNUM, DB_GET_HEALTH, GET_IFACES, GET_RUNSTATE, DB_OPEN_FLAGS = 69, 91, 120, 122, 124, 138, 149
LEADER = 0xF101000000000000
DISCONNECTED, UNHEALTHY, DISABLED, BANNED, DELETED, STOPPED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOREPLY = 1


def packet(operation, reqid, body):
    return struct.pack("=8I", 32 + len(body), MAGIC, 1, 1, operation, 0, 0, reqid) + body


def reply_control(reqid, status, data=b"", error=b""):
    return packet(REPLY_CONTROL, reqid, struct.pack("=iII", status, len(data), len(error)) + data + error)


def message(srvid, data):
    return packet(REQ_MESSAGE, 0, struct.pack("=QI", srvid, len(data)) + data)


class FakeDaemon:
    """What it answers are its attributes. override: function (opcode, reqid, data) -> bytes to send, or None for the usual answer."""

    def __init__(self):
        self.pnn = 1
        self.nodes = [(0, "10.0.0.1"), (0, "10.0.0.2"), (0, "10.0.0.3")]
        self.generation, self.vnnmap = 362178228, [0, 1, 2]
        self.recmode, self.runstate, self.leader = 0, 5, 2
        self.uptime = (1_000_000, 900_000, 990_000, 990_002)
        self.ifaces = {}
        self.dbs = []  # (id, flags, name, health, seqnum)
        self.override = None
        self.deliver = []  # (srvid, data): sent when that srvid is registered
        self.seen = []  # (operation, what, payload) of what came
        self.dir = tempfile.mkdtemp(prefix="ctfake", dir="/tmp")
        self.path = os.path.join(self.dir, "socket")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.listener.close()
        shutil.rmtree(self.dir)

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    while self._serve(connection):
                        pass
                except OSError:
                    pass

    @staticmethod
    def _read(connection, length):
        data = b""
        while len(data) < length:
            more = connection.recv(length - len(data))
            if not more:
                return None
            data += more
        return data

    def _serve(self, connection):
        header = self._read(connection, 32)
        if header is None:
            return False
        length, _, _, _, operation, destnode, _, reqid = struct.unpack("=8I", header)
        body = self._read(connection, length - 32)
        if operation == REQ_MESSAGE:
            srvid, n = struct.unpack("=QI", body[:12])
            self.seen.append((operation, (destnode, srvid), body[12:12 + n]))
            return True
        if operation != REQ_CONTROL:
            self.seen.append((operation, None, body))
            return True
        opcode, _, srvid, _, flags, n = struct.unpack("=IIQIII", body[:28])
        data = body[28:28 + n]
        self.seen.append((operation, opcode, data))
        if flags & NOREPLY:
            return True
        answer = self.override(opcode, reqid, data) if self.override else None
        if answer is None:
            answer = reply_control(reqid, *self._answer(opcode, data))
            if opcode == REGISTER_SRVID:
                answer += b"".join(message(*m) for m in self.deliver if m[0] == srvid)
                if srvid == LEADER and self.leader is not None:
                    answer += message(LEADER, struct.pack("=I", self.leader))
        connection.sendall(answer)
        return True

    def _answer(self, opcode, data):
        """(status, data)"""
        number = struct.unpack("=I", data[:4])[0] if len(data) >= 4 else None
        db = next((d for d in self.dbs if d[0] == number), None)
        if opcode == GET_PNN:
            return (self.pnn,)
        if opcode == GET_RECMODE:
            return (self.recmode,)
        if opcode == GET_RUNSTATE:
            return 0, struct.pack("=I", self.runstate)
        if opcode == GETVNNMAP:
            return 0, struct.pack(f"=II{len(self.vnnmap)}I", self.generation, len(self.vnnmap), *self.vnnmap)
        if opcode == UPTIME:
            return 0, b"".join(struct.pack("=qq", t, 0) for t in self.uptime)
        if opcode == GET_NODEMAP:
            return 0, self._nodemap()
        if opcode == GET_IFACES:
            return 0, struct.pack("=I", len(self.ifaces)) + b"".join(struct.pack("=18sHI", n.encode(), up, 0) for n, up in self.ifaces.items())
        if opcode == REGISTER_SRVID:
            return (0,)
        if opcode == GET_DBMAP:
            return 0, struct.pack("=I", len(self.dbs)) + b"".join(struct.pack("=IB3x", d[0], d[1]) for d in self.dbs)
        if db is None:
            return (-1,)
        if opcode == GET_DBNAME:
            return 0, db[2] + b"\0"
        if opcode == GETDBPATH:
            return 0, b"/var/lib/ctdb/" + db[2] + b".1\0"
        if opcode == DB_GET_HEALTH:
            return 0, db[3] + b"\0" if db[3] else b""
        if opcode == GET_DB_SEQNUM:
            return 0, struct.pack("=Q", db[4])
        if opcode == DB_OPEN_FLAGS:
            return 0, struct.pack("=i", 0x1C41)
        return (-1,)

    def _nodemap(self):
        out = struct.pack("=I", len(self.nodes))
        for pnn, (flags, address) in enumerate(self.nodes):
            if ":" in address:
                addr = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address), 0)
            else:
                addr = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 4379) + socket.inet_aton(address) + b"\xaa" * 20
            out += struct.pack("=II", pnn, flags) + addr
        return out
