"""Runs in the client's namespace: many clients open, write, read and close the same few files through all nodes.

Usage: load.py SECONDS CLIENTS FILES HOST...   Prints a line of JSON: operations, errors (texts), slowest (seconds of the slowest operation)."""

import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import smb2  # noqa: E402


class Client(threading.Thread):
    """One client on one node."""

    def __init__(self, number, host, files, end):
        super().__init__(daemon=True)
        self.number, self.host, self.files, self.end = number, host, files, end
        self.random = random.Random(number)
        self.operations, self.slowest, self.errors = 0, 0.0, []

    def run(self):
        try:
            connection = smb2.Connection(self.host, auto_ack=True)
            while time.monotonic() < self.end:
                begin = time.monotonic()
                self.one(connection)
                self.operations += 1
                self.slowest = max(self.slowest, time.monotonic() - begin)
            connection.disconnect()
        except (OSError, smb2.Smb2Error) as e:
            self.errors.append(f"client {self.number} on {self.host} after {self.operations} operations: {type(e).__name__}: {e}")

    def one(self, connection):
        number = self.random.randrange(self.files)
        oplock = self.random.choice([smb2.OPLOCK_NONE, smb2.OPLOCK_NONE, smb2.OPLOCK_BATCH])
        file_id = connection.open(f"load{number}", oplock=oplock)
        block = self.number * 16
        data = f"{self.number:5} {self.operations:9}\n".encode()
        status = connection.write(file_id, block, data)
        if status != smb2.OK:
            raise smb2.Smb2Error("write", status)
        status, found = connection.read(file_id, block, 16)
        if status != smb2.OK:
            raise smb2.Smb2Error("read", status)
        if found != data[:16]:
            self.errors.append(f"client {self.number} wrote {data!r} and read {found!r}")
        connection.close_file(file_id)


def main():
    seconds, clients, files = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    hosts = sys.argv[4:]
    end = time.monotonic() + seconds
    threads = [Client(n, hosts[n % len(hosts)], files, end) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 60)
    errors = [e for t in threads for e in t.errors] + [f"client {t.number} on {t.host} hangs" for t in threads if t.is_alive()]
    print(json.dumps({"operations": sum(t.operations for t in threads), "per_client": [t.operations for t in threads], "errors": errors,
                      "slowest": max(t.slowest for t in threads)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
