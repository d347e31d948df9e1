"""Private directories of a node, without touching the machine's own: mounts in the node's mount namespace."""

import os

from . import kernel


def _farm(parent, staging, new_entries):
    """Covers a directory by a tmpfs that shows the same entries as symbolic links, and has new_entries as empty directories. What was
    there before stays reachable below its entry .host."""
    os.makedirs(staging, exist_ok=True)
    kernel.mount("tmpfs", staging, "tmpfs", 0, "mode=755")
    host = os.path.join(staging, ".host")
    os.mkdir(host)
    kernel.mount(parent, host, None, kernel.MS_BIND | kernel.MS_REC)
    for entry in os.scandir(host):
        target = os.readlink(entry.path) if entry.is_symlink() else os.path.join(".host", entry.name)
        if entry.name not in new_entries:
            os.symlink(target, os.path.join(staging, entry.name))
    for entry in new_entries:
        os.mkdir(os.path.join(staging, entry))
    kernel.mount(staging, parent, None, kernel.MS_MOVE)


def make_private(staging, mounts):
    """mounts: list of {"target", "source"} (bind) or {"target", "tmpfs": options}. Targets that the machine does not have appear in the
    node only. staging: a scratch directory."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    missing = {}
    for mount in mounts:
        parent, entry = os.path.split(mount["target"])
        if os.path.isdir(parent) and not os.path.isdir(mount["target"]):
            missing.setdefault(parent, []).append(entry)
    for number, (parent, entries) in enumerate(sorted(missing.items())):
        _farm(parent, os.path.join(staging, f"farm{number}"), entries)
    for mount in mounts:
        os.makedirs(mount["target"], exist_ok=True)
        if "source" in mount:
            kernel.mount(mount["source"], mount["target"], None, kernel.MS_BIND)
        else:
            kernel.mount("tmpfs", mount["target"], "tmpfs", 0, mount["tmpfs"])
    kernel.mount("proc", "/proc", "proc")
    kernel.mount("sysfs", "/sys", "sysfs")
