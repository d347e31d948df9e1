"""A process with a lock of a TDB: lock_holder.py PATH FLAGS chain KEY|transaction. Says "ready", holds it until its standard input ends."""

import ctypes
import ctypes.util
import os
import sys


class Data(ctypes.Structure):
    _fields_ = [("p", ctypes.c_char_p), ("n", ctypes.c_size_t)]


lib = ctypes.CDLL(ctypes.util.find_library("tdb") or "libtdb.so.1")
lib.tdb_open.restype = ctypes.c_void_p
lib.tdb_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint]
lib.tdb_chainlock.argtypes = [ctypes.c_void_p, Data]
lib.tdb_transaction_start.argtypes = [ctypes.c_void_p]

tdb = lib.tdb_open(sys.argv[1].encode(), 0, int(sys.argv[2], 0), os.O_RDWR, 0)
assert tdb, sys.argv[1]
if sys.argv[3] == "chain":
    key = sys.argv[4].encode()
    assert lib.tdb_chainlock(tdb, Data(key, len(key))) == 0
else:
    assert lib.tdb_transaction_start(tdb) == 0
print("ready", flush=True)
sys.stdin.read()
os._exit(0)  # the lock goes with the process
