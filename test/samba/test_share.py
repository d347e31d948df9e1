"""Samba on three nodes behaves as one server."""

import os
import re

import smb2
from support import wait_until


def test_file_through_two_nodes(smb, tmp_path):
    data = os.urandom(300000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    smb.smbclient(0, f"put {source} across")
    smb.smbclient(1, f"get across {target}")
    assert target.read_bytes() == data


def test_smbstatus_shows_other_nodes(smb):
    agent = smb.agent(0)
    agent.call("open", name="seen")
    text = smb.smbstatus(2)
    sessions, _, rest = text.partition("Service ")
    assert re.search(r"^0:\d+ ", sessions, re.M), text
    assert re.search(r"^share +0:\d+ ", rest, re.M), text
    assert re.search(r"^0:\d+ .* seen\b", rest, re.M), text
    agent.end()
    wait_until(lambda: not re.search(r"^0:\d+ .* seen\b", smb.smbstatus(2), re.M), what="the file of a client that is gone to vanish")


def test_share_mode_is_cluster_wide(smb):
    first, second = smb.agent(0), smb.agent(1)
    file_id = first.call("open", name="mine", share=smb2.SHARE_NONE)
    assert second.call("create", name="mine")[0] == smb2.SHARING_VIOLATION
    first.call("close_file", file_id=file_id)
    assert second.call("create", name="mine")[0] == smb2.OK


def test_byte_range_lock_is_cluster_wide(smb):
    first, second = smb.agent(0), smb.agent(1)
    f0, f1 = first.call("open", name="ranges"), second.call("open", name="ranges")
    assert first.call("lock", file_id=f0, offset=0, length=100) == smb2.OK
    assert second.call("lock", file_id=f1, offset=50, length=100) == smb2.LOCK_NOT_GRANTED
    assert second.call("lock", file_id=f1, offset=100, length=100) == smb2.OK
    assert second.call("write", file_id=f1, offset=10, data=b"x") == smb2.FILE_LOCK_CONFLICT
    assert first.call("lock", file_id=f0, offset=0, length=100, flags=smb2.LOCK_UNLOCK) == smb2.OK
    assert second.call("lock", file_id=f1, offset=50, length=50) == smb2.OK
    assert second.call("write", file_id=f1, offset=60, data=b"x") == smb2.OK


def test_lock_that_waits_for_another_node(smb):
    first, second = smb.agent(0), smb.agent(1)
    f0, f1 = first.call("open", name="waits"), second.call("open", name="waits")
    assert first.call("lock", file_id=f0, offset=0, length=10) == smb2.OK
    second.start("lock", file_id=f1, offset=0, length=10, flags=smb2.LOCK_EXCLUSIVE)
    # The waiting lock is in place when the cluster's status shows that both have the file, and stays unanswered.
    assert first.call("write", file_id=f0, offset=0, data=b"held") == smb2.OK
    assert first.call("lock", file_id=f0, offset=0, length=10, flags=smb2.LOCK_UNLOCK) == smb2.OK
    assert second.finish() == smb2.OK
    assert first.call("lock", file_id=f0, offset=0, length=10) == smb2.LOCK_NOT_GRANTED


def test_oplock_is_broken_by_another_node(smb):
    first, second = smb.agent(0), smb.agent(1)
    status, _, granted = first.call("create", name="oplock", oplock=smb2.OPLOCK_BATCH)
    assert (status, granted) == (smb2.OK, smb2.OPLOCK_BATCH)
    second.start("create", name="oplock")
    body = first.call("wait_break", timeout=30)
    assert bytes.fromhex(body)[2] == smb2.OPLOCK_II
    first.call("acknowledge", body=body)
    assert second.finish()[0] == smb2.OK


def test_lease_is_broken_by_another_node(smb):
    first, second = smb.agent(0), smb.agent(1)
    everything = smb2.LEASE_READ | smb2.LEASE_HANDLE | smb2.LEASE_WRITE
    status, _, granted = first.call("create", name="lease", lease=[os.urandom(16).hex(), everything])
    assert (status, granted) == (smb2.OK, everything)
    second.start("create", name="lease")
    body = first.call("wait_break", timeout=30)
    assert bytes.fromhex(body)[28] == smb2.LEASE_READ | smb2.LEASE_HANDLE
    first.call("acknowledge", body=body)
    assert second.finish()[0] == smb2.OK


def test_client_that_vanishes_leaves_no_lock(smb):
    first, second = smb.agent(0), smb.agent(1)
    first.call("open", name="orphan", share=smb2.SHARE_NONE)
    assert second.call("create", name="orphan")[0] == smb2.SHARING_VIOLATION
    first.end()
    wait_until(lambda: second.call("create", name="orphan")[0] == smb2.OK, what="the open of a client that is gone to vanish")
