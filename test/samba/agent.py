"""Runs in the client's namespace: one SMB connection, commanded by lines of JSON: {"do": METHOD, "args": {...}}. Bytes travel as hexadecimal
strings: file ids, data, lease keys. Each line gets one answer: {"ok": VALUE} or {"error": TEXT, "status": NT_STATUS}."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import smb2  # noqa: E402


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value


def arguments(args):
    args = dict(args)
    for name in ("file_id", "data", "body"):
        if name in args:
            args[name] = bytes.fromhex(args[name])
    if "lease" in args:
        args["lease"] = (bytes.fromhex(args["lease"][0]), args["lease"][1])
    return args


def main():
    connection = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "connect":
                connection = smb2.Connection(**command["args"])
                answer = {"ok": None}
            else:
                answer = {"ok": plain(getattr(connection, command["do"])(**arguments(command["args"])))}
        except smb2.Smb2Error as e:
            answer = {"error": str(e), "status": e.status}
        except OSError as e:
            answer = {"error": f"{type(e).__name__}: {e}", "status": None}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
