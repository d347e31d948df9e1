#!/usr/bin/python3 -IS
"""Stands in for a daemon of the suite: notes in STUB_DIR/trace what happens to it; STUB_DIR/NAME says how to behave.

Behaviours: exit STATUS TEXT (before ready); mute (never ready); stubborn (ignores SIGTERM); slow-stop SECONDS;
stop-without FILE (stops when the file has gone);
die SECONDS (after it was ready); loud TEXT (on standard error, then as usual)."""

import os
import select
import signal
import sys
import time

NAME = os.path.basename(sys.argv[0])
DIRECTORY = os.environ["STUB_DIR"]


def trace(what):
    fd = os.open(f"{DIRECTORY}/trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{NAME}\t{what}\t{os.getpid()}\n".encode())
    os.close(fd)


def behaviour():
    try:
        with open(f"{DIRECTORY}/{NAME}", encoding="utf-8") as f:
            return f.read().split(maxsplit=1) or [""]
    except FileNotFoundError:
        return [""]


def option(name):
    return int(sys.argv[sys.argv.index(name) + 1])


def main():
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: trace("term"))
    signal.signal(signal.SIGHUP, lambda *_: trace("hup"))
    how = behaviour()
    trace("start")
    trace("args " + " ".join(sys.argv[1:]))
    trace("fds " + " ".join(sorted(os.listdir("/proc/self/fd"), key=int)))
    if how[0] == "exit":
        status, text = how[1].split(maxsplit=1)
        print("something before\n" + text.strip(), file=sys.stderr)
        sys.exit(int(status))
    if how[0] == "loud":
        print(how[1].strip(), file=sys.stderr, flush=True)
    if how[0] != "mute":
        trace("ready")
        os.write(option("--ready-fd"), b"R")
    run(how)


def run(how):
    control = option("--control-fd")
    deadline = time.monotonic() + float(how[1]) if how[0] == "die" else None
    while True:
        timeout = None if deadline is None else max(0, deadline - time.monotonic())
        ready, _, _ = select.select([control, wake_read], [], [], timeout)
        if not ready:
            trace("die")
            sys.exit(7)
        if control in ready:
            trace("orphaned")
            break
        if os.read(wake_read, 1)[0] == signal.SIGTERM and how[0] != "stubborn":
            break
    if how[0] == "slow-stop":
        time.sleep(float(how[1]))
    while how[0] == "stop-without" and os.path.exists(how[1].strip()):
        time.sleep(0.02)
    trace("end")


wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
main()
