"""Samba on the nodes: Debian's own smbd, unmodified, with one shared directory."""

import os

from .errors import ClusterError

SMBD = "/usr/sbin/smbd"
SHARE_PATH = "/srv/share"

# No kernel or POSIX locks: the nodes share one kernel here, so these would hide what the cluster has to do. The oldest protocol is allowed because some of
# Samba's own tests speak no other. The registry is one of the databases: shares can be added by "net conf" on any node.
SMB_CONF = """[global]
{clustering}
\tnetbios name = CLUSTER
\tworkgroup = TEST
\tserver role = standalone server
\tsecurity = user
\tpassdb backend = tdbsam
\tmap to guest = bad user
\tguest account = root
\tprivate dir = {lib}/private
\tstate directory = {lib}
\tcache directory = {cache}
\tlock directory = {run}
\tpid directory = {run}
\tncalrpc dir = {run}/ncalrpc
\tlog file = {log}/log.%m
\tlog level = {log_level}
\tmax log size = 0
\tdisable netbios = yes
\tsmb ports = 445
\tserver min protocol = NT1
\tregistry shares = yes
\tload printers = no
\tprinting = bsd
\tprintcap name = /dev/null
\tdisable spoolss = yes
\tkernel oplocks = no
\tkernel share modes = no
\tposix locking = no
\toplocks = yes
\tsmb2 leases = yes

[share]
\tpath = {path}
\tread only = no
\tguest ok = yes
"""


CLUSTERING = "\tclustering = yes\n\tctdbd socket = /run/ctdb/ctdbd.socket"


def require():
    if not os.access(SMBD, os.X_OK):
        raise ClusterError("--samba needs Debian's Samba: sudo make deps")


def mounts(node_file, share):
    """Samba's own directories, one set for each node, and the directory that all nodes export."""
    return [{"source": node_file("samba-etc"), "target": "/etc/samba"},
            {"source": node_file("samba-lib"), "target": "/var/lib/samba"},
            {"source": node_file("samba-cache"), "target": "/var/cache/samba"},
            {"source": node_file("samba-log"), "target": "/var/log/samba"},
            {"tmpfs": "mode=755", "target": "/run/samba"},
            {"source": share, "target": SHARE_PATH}]


def listening(pid):
    """Whether somebody listens on the SMB port in the network namespace of that process."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as f:
                lines = f.readlines()[1:]
        except OSError:  # it ends at this moment
            return False
        # Local address as hexadecimal ADDRESS:PORT in the second column, state in the fourth; 0A is LISTEN.
        if any(fields[1].endswith(":01BD") and fields[3] == "0A" for fields in map(str.split, lines)):
            return True
    return False


def install_files(node_file, log_level=1):
    for name in ("samba-etc", "samba-lib/private", "samba-cache", "samba-log"):
        os.makedirs(node_file(name), exist_ok=True)
    os.chmod(node_file("samba-lib/private"), 0o700)
    with open(node_file("samba-etc/smb.conf"), "w", encoding="utf-8") as f:
        f.write(SMB_CONF.format(clustering=CLUSTERING, lib="/var/lib/samba", cache="/var/cache/samba", run="/run/samba", log="/var/log/samba",
                                path=SHARE_PATH, log_level=log_level))


def install_files_alone(base, path):
    """The same for a Samba without a cluster, all of it below one directory. The name of its smb.conf."""
    directories = {name: os.path.join(base, name) for name in ("lib", "cache", "run", "log")}
    for name in (*directories.values(), directories["lib"] + "/private", directories["run"] + "/ncalrpc"):
        os.makedirs(name, exist_ok=True)
    os.chmod(directories["lib"] + "/private", 0o700)
    name = os.path.join(base, "smb.conf")
    with open(name, "w", encoding="utf-8") as f:
        f.write(SMB_CONF.format(clustering="\tclustering = no", path=path, log_level=1, **directories))
    return name


def program(node_file):
    """For the keeper: smbd ends when its ctdbd goes away, and is started again."""
    return {"name": "smbd", "argv": [SMBD, "--foreground", "--no-process-group"], "log": node_file("log/smbd"),
            "wait_for": "/run/ctdb/ctdbd.socket", "restart": "always"}
