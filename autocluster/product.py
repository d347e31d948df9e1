"""What runs on the nodes: this project's suite, or Debian's ctdb as a peer to compare with."""

import glob
import json
import os
import shutil
import subprocess

from .errors import ClusterError

SUITE = ["ctdbd", "ctdb-transportd", "ctdb-clusterd", "ctdb-dbd", "ctdb-dbkeep", "ctdb-db-worker", "ctdb"]


def default_bindir():
    """build/bin of the source tree that this file is in, else the directories of an installation."""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for path in (os.path.join(top, "build", "bin"), *os.environ.get("PATH", "").split(":"), "/usr/local/sbin", "/usr/sbin"):
        if os.access(os.path.join(path, "ctdbd"), os.X_OK):
            return path
    raise ClusterError("ctdbd is not found: run make, or give the directory of the programs by --bindir")


class Suite:
    """The daemons of this project: all in one directory (build/bin), or spread as an installation has them."""

    def __init__(self, bindir):
        self.bindir = os.path.abspath(bindir)
        self.programs = {name: self._find(name) for name in SUITE}

    def _find(self, name):
        for part in ("", "../bin", "../sbin", "../libexec/ctdb"):
            path = os.path.normpath(os.path.join(self.bindir, part, name))
            if os.access(path, os.X_OK):
                return path
        raise ClusterError(f"{self.bindir}/{name} is missing: run make, or give another directory by --bindir")

    def config(self, address, paths, arbitration):
        """arbitration: lines of [cluster]."""
        return ("[cluster]\n"
                f"\tnode address = {address}\n"
                f"{''.join(f'{chr(9)}{line}{chr(10)}' for line in arbitration)}"
                "[logging]\n"
                f"\tlocation = file:{paths.log}/log.ctdb\n"
                "\tlog level = INFO\n")

    def argv(self):
        return [self.programs["ctdbd"], "-F"]

    def env(self):
        libexec, tool = os.path.dirname(self.programs["ctdb-dbd"]), os.path.dirname(self.programs["ctdb"])
        return {"CTDB_LIBEXEC": libexec, "PATH": f"{tool}:{self.bindir}:/usr/sbin:/usr/bin:/sbin:/bin"}

    def mounts(self):
        return []

    def security_config(self, tls):
        return "" if tls else "[transport]\n\tsecurity = none\n"

    def install_files(self, etc, key):
        """Beside ctdb.conf and nodes: the key, if links are to be secured."""
        if key:
            with open(os.path.join(etc, "cluster.key"), "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
                f.write(key + "\n")

    def status_argv(self):
        return ["ctdb", "-o", "json", "cluster", "status"]

    def status(self, text, expected):
        """What a node says: (what it waits for or None, generation of its databases). expected: nodes that it has to see in good order."""
        try:
            status = json.loads(text)
        except ValueError:
            return "no status yet", None
        if not status.get("ready"):
            return status.get("verdict", "not ready"), None
        seen = {node["pnn"] for node in status.get("nodes", []) if not node["flags"]}
        missing = sorted(set(expected) - seen)
        if missing:
            return f"it does not see node {', '.join(map(str, missing))} as active", None
        return None, status.get("generation")


class DebianPeer:
    """Debian's ctdbd 4.17 from an unpacked package."""

    def __init__(self, root, namespaces):
        self.root, self.namespaces = os.path.abspath(root), namespaces
        if not os.access(os.path.join(self.root, "usr/sbin/ctdbd"), os.X_OK):
            raise ClusterError(f"{self.root}/usr/sbin/ctdbd is missing: unpack Debian's package there by dpkg -x ctdb_*.deb {self.root}")

    def config(self, address, paths, _arbitration):
        return ("[cluster]\n"
                f"\tnode address = {address}\n"
                "[logging]\n"
                f"\tlocation = file:{paths.log}/log.ctdb\n"
                "\tlog level = NOTICE\n"
                "[database]\n"
                f"\tvolatile database directory = {paths.var}/volatile\n"
                f"\tpersistent database directory = {paths.var}/persistent\n"
                f"\tstate database directory = {paths.var}/state\n"
                "[legacy]\n"
                "\trealtime scheduling = false\n")

    def argv(self):
        return [os.path.join(self.root, "usr/sbin/ctdbd"), "-i"]

    def env(self):
        """In namespaces the helpers are where the package has them; on loopback the daemon has to be told, and its test mode takes all
        paths from CTDB_BASE."""
        helpers = f"{self.root}/usr/libexec/ctdb"
        test_mode = {"CTDB_TEST_MODE": "1", "CTDB_LOCK_HELPER": f"{helpers}/ctdb_lock_helper", "CTDB_EVENTD": f"{helpers}/ctdb-eventd",
                     "CTDB_RECOVERY_HELPER": f"{helpers}/ctdb_recovery_helper", "CTDB_TAKEOVER_HELPER": f"{helpers}/ctdb_takeover_helper",
                     "CTDB_CLUSTER_MUTEX_HELPER": f"{helpers}/ctdb_mutex_fcntl_helper", "CTDB_EVENT_HELPER": f"{helpers}/ctdb-event"}
        libraries = sorted(glob.glob(f"{self.root}/usr/lib/*/samba"))
        return {**({} if self.namespaces else test_mode), "LD_LIBRARY_PATH": ":".join(libraries),
                "PATH": f"{self.root}/usr/bin:{self.root}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}

    def mounts(self):
        return [{"source": os.path.join(self.root, "usr/libexec/ctdb"), "target": "/usr/libexec/ctdb"}]

    def security_config(self, _tls):
        return ""

    def install_files(self, etc, _key):
        shutil.copytree(os.path.join(self.root, "etc/ctdb"), etc, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.script"))
        os.makedirs(os.path.join(etc, "events/legacy"), exist_ok=True)

    def status_argv(self):
        return ["ctdb", "-X", "status"]

    def status(self, text, expected):
        """-X prints |Node|IP|Disconnected|...|ThisNode| and one line for each node. The generation is left out: it is known to the
        peer's other forms only."""
        if "|Node|" not in text:
            return "no status yet", None
        flags = {int(line.split("|")[1]): set(line.split("|")[3:-2]) for line in text.splitlines()[1:] if line}
        missing = sorted(pnn for pnn in expected if flags.get(pnn) != {"0"})
        return (f"it does not see node {', '.join(map(str, missing))} as active" if missing else None), None


def make(bindir, debian, namespaces=True):
    return DebianPeer(debian, namespaces) if debian else Suite(bindir or default_bindir())


def run_status(node, product):
    """The status text that the tool prints on a node, or what it complains about."""
    try:
        done = node.run(product.status_argv(), capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False, "the ctdb command gave no answer within 10 s"
    return done.returncode == 0, done.stdout if done.returncode == 0 else (done.stderr or done.stdout).strip()
