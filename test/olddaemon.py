"""Debian's ctdbd: unpacked from its package into a cache, never installed."""

import fcntl
import glob
import os
import shutil
import subprocess

import pytest
from support import PATIENCE, TOP, need_programs


class Unavailable(Exception):
    """Why there is no Debian ctdb."""


def _download(cache):
    """apt-get writes the package into its working directory. It needs no root for that. In the cache is only what has come as a whole."""
    part = os.path.join(cache, "part")
    shutil.rmtree(part, ignore_errors=True)
    os.mkdir(part)
    done = subprocess.run(["apt-get", "-o", "Acquire::Retries=5", "download", "ctdb"], cwd=part, capture_output=True, text=True, timeout=120,
                          check=False, stdin=subprocess.DEVNULL)
    packages = glob.glob(os.path.join(part, "ctdb_*.deb"))
    if done.returncode != 0 or not packages:
        why = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"Debian's ctdb package can not be downloaded: {why[-1]}")
    for package in packages:
        os.rename(package, os.path.join(cache, os.path.basename(package)))
    shutil.rmtree(part)


def debian_ctdb(cache):
    """The directory of the unpacked package in the cache, downloaded if it is not there."""
    root = os.path.join(cache, "root")
    if os.access(os.path.join(root, "usr/sbin/ctdbd"), os.X_OK):
        return root
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test files may come here at the same time
        if not os.access(os.path.join(root, "usr/sbin/ctdbd"), os.X_OK):
            _unpack(cache, root)
    return root


def _unpack(cache, root):
    if not glob.glob(os.path.join(cache, "ctdb_*.deb")):
        try:
            _download(cache)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"Debian's ctdb package can not be downloaded: {error}") from error
    package = sorted(glob.glob(os.path.join(cache, "ctdb_*.deb")))[-1]
    shutil.rmtree(root + ".new", ignore_errors=True)
    subprocess.run(["dpkg", "-x", package, root + ".new"], check=True)
    shutil.rmtree(root, ignore_errors=True)
    os.rename(root + ".new", root)


def find_debian_root(config):
    """Where Debian's ctdb is unpacked; skips and says why if there is none. config: pytest's."""
    given = config.getoption("--debian-ctdb")
    if given:
        return os.path.abspath(given)
    need_programs("dpkg", "apt-get")
    try:
        root = debian_ctdb(os.path.join(TOP, config.getoption("--build"), "debian-ctdb"))
    except Unavailable as unavailable:
        pytest.skip(str(unavailable))
    libraries = ":".join(glob.glob(f"{root}/usr/lib/*/samba"))
    done = subprocess.run([f"{root}/usr/sbin/ctdbd", "--version"], capture_output=True, text=True, check=False, timeout=PATIENCE,
                          env={**os.environ, "LD_LIBRARY_PATH": libraries})
    if "shared libraries" in done.stderr:
        pytest.skip(f"Debian's ctdbd does not start here, is samba-libs installed? {done.stderr.strip()}")
    return root
