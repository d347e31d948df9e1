"""A client of the classic socket that speaks in raw packets, as Samba's processes do."""

import select
import socket
import struct
import time

MAGIC, VERSION = 0x43544442, 1
REQ_CALL, REPLY_CALL, REPLY_ERROR, REQ_MESSAGE, REQ_CONTROL, REPLY_CONTROL = 0, 1, 4, 5, 7, 8
CURRENT, ALL, ACTIVE, CONNECTED = 0xF0000001, 0xF0000002, 0xF0000003, 0xF0000004
NULL, FETCH, FETCH_WITH_HEADER = 0xFF000001, 0xFF000002, 0xFF000003
NOREPLY = 1
SEQNUM_KEY = b"__db_sequence_number__\0"
HEADER = struct.Struct("=QIIIi")  # of a record: rsn, dmaster, reserved, flags, padding


class Closed(Exception):
    """The daemon has closed the connection."""


class Client:
    """One connection. Replies that come while another is awaited are kept."""

    def __init__(self, path, patience=30):
        self.patience = patience
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.buffer = b""
        self.kept = []
        self.reqid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, operation, dest, body, reqid=0):
        """One packet, without padding."""
        head = struct.pack("=8I", 32 + len(body), MAGIC, VERSION, 0, operation, dest, 0, reqid)
        self.socket.sendall(head + body)

    def packet(self, patience=None):
        """The next packet: (operation, reqid, bytes behind the header). None: nothing came in time."""
        end = time.monotonic() + (self.patience if patience is None else patience)
        while len(self.buffer) < 4 or len(self.buffer) < struct.unpack_from("=I", self.buffer)[0]:
            ready, _, _ = select.select([self.socket], [], [], max(0, end - time.monotonic()))
            if not ready:
                assert patience is not None, f"no packet within {self.patience} s"
                return None
            data = self.socket.recv(1 << 20)
            if not data:
                raise Closed
            self.buffer += data
        length, magic, version, _, operation, _, _, reqid = struct.unpack_from("=8I", self.buffer)
        assert (magic, version, length % 8) == (MAGIC, VERSION, 0)
        packet, self.buffer = self.buffer[32:length], self.buffer[length:]
        return operation, reqid, packet

    def wait(self, wanted):
        """The first packet, kept or to come, for which wanted(operation, reqid, body) is true."""
        for i, packet in enumerate(self.kept):
            if wanted(*packet):
                return self.kept.pop(i)
        while True:
            packet = self.packet()
            if wanted(*packet):
                return packet
            self.kept.append(packet)

    # ---- controls ----

    def ask(self, opcode, data=b"", dest=CURRENT, flags=0, srvid=0):
        """Sends a control; its request number."""
        self.reqid += 1
        self.send(REQ_CONTROL, dest, struct.pack("=IIQIII", opcode, 0, srvid, 0, flags, len(data)) + data, self.reqid)
        return self.reqid

    def answer(self, reqid):
        """(status, data, error text) of a control."""
        _, _, body = self.wait(lambda op, r, _: (op, r) == (REPLY_CONTROL, reqid))
        status, datalen, errorlen = struct.unpack_from("=iII", body)
        return status, body[12 : 12 + datalen], body[12 + datalen : 12 + datalen + errorlen].decode()

    def control(self, opcode, data=b"", dest=CURRENT, srvid=0):
        return self.answer(self.ask(opcode, data, dest, 0, srvid))

    def good(self, opcode, data=b"", dest=CURRENT, srvid=0):
        """The data of a control that has to succeed."""
        status, data, error = self.control(opcode, data, dest, srvid)
        assert status == 0, (opcode, status, error)
        return data

    def register(self, srvid):
        self.good(23, srvid=srvid)

    def attach(self, name, opcode=18):
        """The id of a database."""
        return struct.unpack("=I", self.good(opcode, name.encode() + b"\0"))[0]

    # ---- messages ----

    def message(self, dest, srvid, data):
        self.send(REQ_MESSAGE, dest, struct.pack("=QI", srvid, len(data)) + data)

    def next_message(self, srvid=None):
        """(srvid, data) of the next message."""
        _, _, body = self.wait(lambda op, _, b: op == REQ_MESSAGE and srvid in (None, struct.unpack_from("=Q", b)[0]))
        number, length = struct.unpack_from("=QI", body)
        return number, body[12 : 12 + length]

    # ---- records ----

    def call_send(self, db, key, callid=NULL, flags=1):
        self.reqid += 1
        self.send(REQ_CALL, 0, struct.pack("=6I", flags, db, callid, 0, len(key), 0) + key, self.reqid)
        return self.reqid

    def call_answer(self, reqid):
        """(operation, status, data)"""
        op, _, body = self.wait(lambda op, r, _: op in (REPLY_CALL, REPLY_ERROR) and r == reqid)
        status, length = struct.unpack_from("=iI", body)
        return op, status, body[8 : 8 + length]

    def call(self, db, key, callid=NULL, flags=1):
        """The data of a call that has to succeed."""
        op, status, data = self.call_answer(self.call_send(db, key, callid, flags))
        assert (op, status) == (REPLY_CALL, 0)
        return data

    def traverse(self, db, with_empty=False):
        """All records: a list of (key, record header as tuple, data)."""
        srvid = 0xBE00000000000000 | id(self) & 0xFFFFFFFF
        self.register(srvid)
        self.good(131, struct.pack("=IIQ?7x", db, 99, srvid, with_empty))
        records = []
        while True:
            _, data = self.next_message(srvid)
            length, reqid, keylen, datalen = struct.unpack_from("=4I", data)
            assert (length, reqid) == (len(data), 99) and length == 16 + keylen + datalen
            if keylen == datalen == 0:
                self.good(24, srvid=srvid)
                return records
            key, value = data[16 : 16 + keylen], data[16 + keylen :]
            records.append((key, HEADER.unpack_from(value)[:2], value[24:]))

    def commit_buffer(self, db, records, seqnum, pnn=0, rsn=1):
        """The payload of TRANS3_COMMIT: records is a list of (key, data)."""
        head = HEADER.pack(rsn, pnn, 0, 0, 0)
        seq_head = HEADER.pack(seqnum, pnn, 0, 0, 0)
        parts = [_rec_data(key, head + data) for key, data in records]
        parts.append(_rec_data(SEQNUM_KEY, seq_head + struct.pack("=Q", seqnum)))
        return struct.pack("=II", db, len(parts)) + b"".join(parts)

    def seqnum(self, db, dest=CURRENT):
        return struct.unpack("=Q", self.good(120, struct.pack("=II", db, 0), dest))[0]


def without_vacuuming(cluster):
    """Empty records stay, for tests that look at them. A dbd that is started again has forgotten it."""
    name = b"VacuumInterval\0"
    for node in cluster.nodes:
        with Client(node.file("run", "ctdbd.socket")) as c:
            c.good(48, struct.pack("=II", 0, len(name)) + name)


def _rec_data(key, data):
    return struct.pack("=4I", 16 + len(key) + len(data), 0, len(key), len(data)) + key + data
