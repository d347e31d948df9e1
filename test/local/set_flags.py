#!/usr/bin/python3
"""set_flags.py SOCKET disable|enable|stop|continue: tells a node so by the classic control, as Samba's ctdb tool does."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from classic import Client  # noqa: E402

CONTROLS = {"disable": 157, "enable": 158, "stop": 101, "continue": 102}

with Client(sys.argv[1]) as client:
    client.good(CONTROLS[sys.argv[2]], b"")
