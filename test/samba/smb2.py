"""A small SMB 2.1 client over a plain socket: the requests that the tests need, with control over what a library would hide (oplocks, leases,
locks that wait, breaks). Anonymous sessions only. Formats: [MS-SMB2]."""

import os
import select
import socket
import struct
import time

HEADER = struct.Struct("<4sHHIHHIIQIIQ16s")
NEGOTIATE, SESSION_SETUP, TREE_CONNECT, CREATE, CLOSE, READ, WRITE, LOCK, OPLOCK_BREAK = 0, 1, 3, 5, 6, 8, 9, 10, 18

OK = 0
PENDING = 0x00000103
MORE_PROCESSING = 0xC0000016
SHARING_VIOLATION = 0xC0000043
FILE_LOCK_CONFLICT = 0xC0000054
LOCK_NOT_GRANTED = 0xC0000055

ACCESS_READ, ACCESS_WRITE, ACCESS_DELETE = 0x00120089, 0x00120116, 0x00010000
SHARE_NONE, SHARE_ALL = 0, 7
OPEN, OPEN_IF, OVERWRITE_IF = 1, 3, 5
DELETE_ON_CLOSE = 0x1000
OPLOCK_NONE, OPLOCK_II, OPLOCK_EXCLUSIVE, OPLOCK_BATCH, OPLOCK_LEASE = 0, 1, 8, 9, 0xFF
LEASE_READ, LEASE_HANDLE, LEASE_WRITE = 1, 2, 4
LOCK_SHARED, LOCK_EXCLUSIVE, LOCK_UNLOCK, LOCK_AT_ONCE = 1, 2, 4, 0x10

_NTLMSSP = b"NTLMSSP\0"
_NTLM_FLAGS = 0x00088201  # unicode, NTLM, always sign, extended session security
_NTLM_ANONYMOUS = 0x00000800


class Smb2Error(Exception):
    """A status that the caller did not expect."""

    def __init__(self, what, status):
        super().__init__(f"{what}: NT status 0x{status:08X}")
        self.status = status


class Connection:
    """One connection, session and tree. auto_ack: breaks are acknowledged while other answers are waited for."""

    def __init__(self, host, share="share", timeout=30, auto_ack=False):
        self.host, self.timeout, self.auto_ack = host, timeout, auto_ack
        self.message_id, self.session_id, self.tree_id = 0, 0, 0
        self.breaks, self.answers = [], {}
        self.buffer = b""
        self.socket = socket.create_connection((host, 445), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._negotiate()
        self._session_setup()
        path = f"\\\\{host}\\{share}".encode("utf-16-le")
        self.call("tree connect", TREE_CONNECT, struct.pack("<HHHH", 9, 0, 72, len(path)) + path)

    # Packets.

    def send(self, command, body):
        """Sends a request; its message id."""
        message_id = self.message_id
        self.message_id += 1
        header = HEADER.pack(b"\xfeSMB", 64, 1, 0, command, 64, 0, 0, message_id, 0xFEFF, self.tree_id, self.session_id, bytes(16))
        packet = header + body
        self.socket.settimeout(self.timeout)
        self.socket.sendall(struct.pack(">I", len(packet)) + packet)
        return message_id

    def _receive(self, deadline):
        """One packet: (command, status, message id, tree id, session id, body); TimeoutError."""
        while True:
            if len(self.buffer) >= 4:
                length = struct.unpack(">I", self.buffer[:4])[0]
                if len(self.buffer) >= 4 + length:
                    packet, self.buffer = self.buffer[4:4 + length], self.buffer[4 + length:]
                    fields = HEADER.unpack(packet[:64])
                    return fields[4], fields[3], fields[8], fields[10], fields[11], packet
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError(f"{self.host} gave no answer in time")
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"{self.host} closed the connection")
            self.buffer += data

    def _take(self, deadline):
        """Receives one packet and files it: a break, or the answer to a request."""
        command, status, message_id, tree_id, session_id, packet = self._receive(deadline)
        if command == OPLOCK_BREAK and message_id == 0xFFFFFFFFFFFFFFFF:
            self.breaks.append(packet[64:])
            if self.auto_ack:
                self.acknowledge(self.breaks.pop())
        elif status != PENDING:
            self.answers[message_id] = (status, tree_id, session_id, packet)

    def answer(self, message_id, timeout=None):
        """Waits for the final answer to a request: (status, packet)."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while message_id not in self.answers:
            self._take(deadline)
        status, tree_id, session_id, packet = self.answers.pop(message_id)
        self.session_id = self.session_id or session_id
        if packet[12:14] == struct.pack("<H", TREE_CONNECT):
            self.tree_id = tree_id
        return status, packet

    def call(self, what, command, body, expected=(OK,)):
        status, packet = self.answer(self.send(command, body))
        if status not in expected:
            raise Smb2Error(what, status)
        return status, packet

    # Session.

    def _negotiate(self):
        body = struct.pack("<HHHHI16sQH", 36, 1, 1, 0, 0, os.urandom(16), 0, 0x0210)
        self.call("negotiate", NEGOTIATE, body)

    def _session_setup(self):
        blob = _NTLMSSP + struct.pack("<II", 1, _NTLM_FLAGS) + bytes(16)
        self._session_step(blob, MORE_PROCESSING)
        fields = [(b"\0", 1), (b"", 0), (b"", 0), (b"", 0), (b"", 0), (b"", 0)]  # LM, NT, domain, user, workstation, session key
        offset, blob, payload = 64, _NTLMSSP + struct.pack("<I", 3), b""
        for data, length in fields:
            blob += struct.pack("<HHI", length, length, offset + len(payload))
            payload += data
        self._session_step(blob + struct.pack("<I", _NTLM_FLAGS | _NTLM_ANONYMOUS) + payload, OK)

    def _session_step(self, blob, expected):
        body = struct.pack("<HBBIIHHQ", 25, 0, 1, 0, 0, 88, len(blob), 0) + blob
        self.call("session setup", SESSION_SETUP, body, (expected,))

    # Files.

    def send_create(self, name, access=ACCESS_READ | ACCESS_WRITE, share=SHARE_ALL, disposition=OPEN_IF, oplock=OPLOCK_NONE, options=0,
                    lease=None):
        """lease: (key of 16 bytes, state); asks for a lease instead of an oplock."""
        raw = name.encode("utf-16-le")
        padding = bytes(-len(raw) % 8)
        context, offset = b"", 0
        if lease:
            oplock = OPLOCK_LEASE
            data = lease[0] + struct.pack("<IIQ", lease[1], 0, 0)
            context = struct.pack("<IHHHHI", 0, 16, 4, 0, 24, len(data)) + b"RqLs" + bytes(4) + data
            offset = 120 + len(raw + padding)
        body = struct.pack("<HBBIQQIIIIIHHII", 57, 0, oplock, 2, 0, 0, access, 0x80, share, disposition, options, 120, len(raw), offset,
                           len(context))
        return self.send(CREATE, body + raw + padding + context)

    def create_answer(self, message_id, timeout=None):
        """(status, file id or None, oplock or lease state that was granted)."""
        status, packet = self.answer(message_id, timeout)
        if status != OK:
            return status, None, 0
        granted = packet[66]
        if granted == OPLOCK_LEASE:
            at = packet.index(b"RqLs", 152) + 8 + 16
            granted = struct.unpack_from("<I", packet, at)[0]
        return status, packet[128:144], granted

    def create(self, name, **options):
        return self.create_answer(self.send_create(name, **options))

    def open(self, name, **options):
        """create() that has to succeed; the file id."""
        status, file_id, _ = self.create(name, **options)
        if status != OK:
            raise Smb2Error(f"open {name} on {self.host}", status)
        return file_id

    def close_file(self, file_id):
        self.call("close", CLOSE, struct.pack("<HHI16s", 24, 0, 0, file_id))

    def write(self, file_id, offset, data):
        """The status: a lock of somebody else may be in the way."""
        body = struct.pack("<HHIQ16sIIHHI", 49, 112, len(data), offset, file_id, 0, 0, 0, 0, 0) + data
        return self.answer(self.send(WRITE, body))[0]

    def read(self, file_id, offset, length):
        """(status, data)"""
        body = struct.pack("<HBBIQ16sIIIHHB", 49, 0x50, 0, length, offset, file_id, 0, 0, 0, 0, 0, 0)
        status, packet = self.answer(self.send(READ, body))
        if status != OK:
            return status, b""
        start, size = packet[66], struct.unpack_from("<I", packet, 68)[0]
        return status, packet[start:start + size]

    def send_lock(self, file_id, offset, length, flags):
        return self.send(LOCK, struct.pack("<HHI16sQQII", 48, 1, 0, file_id, offset, length, flags, 0))

    def lock(self, file_id, offset, length, flags=LOCK_EXCLUSIVE | LOCK_AT_ONCE):
        """The status."""
        return self.answer(self.send_lock(file_id, offset, length, flags))[0]

    # Breaks.

    def wait_break(self, timeout):
        """The body of the next break notification."""
        deadline = time.monotonic() + timeout
        while not self.breaks:
            self._take(deadline)
        return self.breaks.pop(0)

    def acknowledge(self, body):
        """Agrees to a break, down to what the server wants."""
        size = struct.unpack_from("<H", body)[0]
        if size == 24:
            level, file_id = body[2], body[8:24]
            self.answer(self.send(OPLOCK_BREAK, struct.pack("<HBBI16s", 24, level, 0, 0, file_id)))
        elif struct.unpack_from("<I", body, 4)[0] & 1:  # a lease break that has to be acknowledged
            key, state = body[8:24], struct.unpack_from("<I", body, 28)[0]
            self.answer(self.send(OPLOCK_BREAK, struct.pack("<HHI16sIQ", 36, 0, 0, key, state, 0)))

    def disconnect(self):
        self.socket.close()
