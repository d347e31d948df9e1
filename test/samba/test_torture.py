"""Samba's own torture tests, those that need no more than one share with guest access: locks, share modes and oplocks on one node of a cluster."""

import subprocess

import pytest
from support import need_programs

# The rest of smb2.oplock needs alternate data streams, a packet filter on the server or 30 seconds for a single test.
TESTS = ["smb2.lock", "smb2.sharemode", "smb2.oplock.exclusive1", "smb2.oplock.exclusive4", "smb2.oplock.batch1", "smb2.oplock.batch7"]


@pytest.mark.parametrize("name", TESTS)
def test_torture(smb, name):
    need_programs("smbtorture")
    done = smb.cluster.client(["smbtorture", f"//{smb.cluster.public_address(1)}/share", "-U%", "--option=torture:progress=no", name],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=240, check=False)
    results = [line for line in done.stdout.splitlines() if line.startswith(("success:", "failure:", "error:"))]
    assert results, done.stdout
    assert done.returncode == 0 and all(line.startswith("success:") for line in results), done.stdout
