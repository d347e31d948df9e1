"""Samba's own torture tests about locks, share modes, oplocks, leases and opens, against one node of a cluster, and against two nodes at a time. The same
tests run against a Samba without a cluster: each has to end there as it does here.

CTDB_TEST_LONG=1 adds those that take longer than a run of all tests allows."""

import os
import re
import subprocess
import time

import pytest
from alone import ADDRESS, Alone
from autocluster.samba import SHARE_PATH
from support import need_programs, output

# What runs at the same time, each on a share of its own: {name: tests}. Most of the time they wait.
ONE_NODE = {
    "lock": ["smb2.lock"],
    "sharemode": ["smb2.sharemode"],
    "oplock": ["smb2.oplock.exclusive1", "smb2.oplock.exclusive4", "smb2.oplock.batch1", "smb2.oplock.batch7"],
    # All of smb2.create but its benchmark.
    "create": ["smb2.create." + name for name in (
        "gentest", "blob", "open", "brlocked", "multi", "delete", "leading-slash", "impersonation", "aclfile", "acldir", "nulldacl", "mkdir-dup",
        "dir-alloc-size", "dosattr_tmp_dir", "quota-fake-file")],
    # All of smb2.lease, in parts of about the same length.
    "lease-timeout": ["smb2.lease.timeout"],
    "lease-oplock": ["smb2.lease.oplock"],
    "lease-break": ["smb2.lease.break", "smb2.lease.multibreak"],
    "lease-1": ["smb2.lease." + name for name in (
        "request", "break_twice", "nobreakself", "statopen", "statopen2", "statopen3", "statopen4", "upgrade", "upgrade2", "upgrade3", "breaking1",
        "breaking2", "breaking3", "v2_breaking3", "breaking6")],
    "lease-2": ["smb2.lease." + name for name in (
        "breaking4", "breaking5", "lock1", "complex1", "v2_request_parent", "v2_request", "v2_epoch1", "v2_epoch2", "v2_epoch3", "dynamic_share")],
    "lease-3": ["smb2.lease." + name for name in (
        "v2_complex1", "v2_complex2", "v2_rename", "unlink", "timeout-disconnect", "rename_wait", "duplicate_create", "duplicate_open", "v1_bug15148",
        "v2_bug15148")],
    "deny": ["smb2.deny", "base.denydos", "base.ntdeny1"],
    "deny1": ["base.deny1"],
    "deny2": ["base.deny2"],
    "deny3": ["base.deny3"],
}
# Those with two connections, one to each of two nodes.
TWO_NODES = {
    "deny2-across": ["base.deny2"],
    "deny3-across": ["base.deny3", "base.ntdeny2"],
    "lock-across": ["base.lock"],
    "oplock-across": ["raw.oplock." + name for name in (
        *(f"exclusive{n}" for n in range(1, 10)), "level_ii_1", *(f"batch{n}" for n in range(1, 27) if n != 22), "batch9a", "stream1", "doc1",
        "brl1", "brl2", "brl3", "brl4")],
    "oplock-timeout-across": ["raw.oplock.batch22"],
}
LONG_ONE_NODE = {name: [name] for name in ("smb2.lease", "smb2.create", "smb2.oplock", "smb2.durable-open", "smb2.durable-v2-open")}
LONG_TWO_NODES = {"raw.lock-across": ["raw.lock"], "base.unlink-across": ["base.unlink", "base.rename"]}
LONG = bool(os.environ.get("CTDB_TEST_LONG"))
# What fails, and does without a cluster, too, on the same machine with the same options: Samba with this configuration does not do it. (Access control lists
# and the like need modules and a file system that have them, alternate streams as well.)
FAILS_ALONE = {
    "create": {"gentest", "blob", "open", "aclfile", "acldir", "nulldacl"},
    "lease-1": {"request", "statopen3"},
    "lease-3": {"unlink"},
    "oplock-across": {"exclusive3", "batch11", "batch12", "batch19", "batch20", "stream1"},
}
# Where the failures are listed here; of the long ones only the difference counts.
LISTED = {**ONE_NODE, **TWO_NODES}
GROUPS = {**LISTED, **(LONG_ONE_NODE if LONG else {}), **(LONG_TWO_NODES if LONG else {})}
LIMIT = 1200 if LONG else 480


class Run:
    """Some tests against one server."""

    def __init__(self, cluster, group, addresses, base):
        share = group.replace(".", "-")
        servers = os.path.join(base, f"{share}-{addresses[0]}.servers")
        with open(servers, "w", encoding="ascii") as f:
            f.writelines(f"//{address}/{share}\n" for address in addresses)
        # After the nodes, here and of the test beside this one: all these clients at once are a load.
        argv, env = cluster.client_command(["nice", "-n", "5", "smbtorture", f"//{addresses[0]}/{share}", "-U%", f"--unclist={servers}",
                                            f"--basedir={base}", "--option=torture:progress=no", "--option=client min protocol=NT1", *GROUPS[group]])
        self.name = f"{' '.join(GROUPS[group])} against {' and '.join(sorted(set(addresses)))}"
        self.output = open(servers + ".output", "w+b")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)

    def finish(self, deadline):
        """{test: how it ended}, and what was said."""
        try:
            self.process.wait(max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.seek(0)
        text = self.output.read().decode(errors="replace")
        self.output.close()
        found = re.findall(r"^(success|failure|error|skip): (\S+)", text, re.MULTILINE)
        results = {name: how for how, name in found}
        if not results or self.process.returncode not in (0, 1):
            results["the program itself"] = f"status {self.process.returncode}"
        return results, f"{self.name}\n{text}"


class Torture:
    """Both servers, with a share for each group of tests."""

    def __init__(self, cluster, base):
        self.cluster, self.base = cluster, base
        self.alone = Alone(cluster)
        for group in GROUPS:
            share = group.replace(".", "-")
            for directory in (cluster.state.file("share", share), self.alone.directory(share)):
                os.mkdir(directory)
                os.chmod(directory, 0o777)
            self._add_share(lambda *words: output(cluster.node(0).run(["net", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)),
                            share, f"{SHARE_PATH}/{share}")
            self._add_share(self.alone.net, share, self.alone.directory(share))

    @staticmethod
    def _add_share(net, share, path):
        net("conf", "addshare", share, path, "writeable=y", "guest_ok=y")
        # Over the old protocol an open that is refused is tried again after a second, and there are thousands of them.
        net("conf", "setparm", share, "smbd:sharedelay", "10000")

    def run(self, groups):
        """{group: (results on the cluster, results alone, what was said)}"""
        deadline = time.monotonic() + LIMIT
        nodes = [self.cluster.public_address(node.pnn) for node in self.cluster.nodes]
        running = {}
        for number, group in enumerate(groups):
            two = group in TWO_NODES or group in LONG_TWO_NODES
            here = [nodes[0], nodes[1]] if two else [nodes[number % len(nodes)]]
            running[group] = [Run(self.cluster, group, addresses, self.base) for addresses in (here, [ADDRESS] * len(here))]
        found = {}
        for group, (here, there) in running.items():
            (ours, said), (others, said_there) = here.finish(deadline), there.finish(deadline)
            found[group] = (ours, others, f"{said}\n{said_there}")
        return found

    def end(self):
        self.alone.end()


@pytest.fixture(scope="module")
def torture(samba_holder, tmp_path_factory):
    need_programs("smbtorture", "net")
    torture = Torture(samba_holder.get(), str(tmp_path_factory.mktemp("torture")))
    torture.results = torture.run(list(GROUPS))
    yield torture
    torture.end()


def difference(group, ours, alone):
    """What is not as it should be, or None."""
    failed = {name for name, how in ours.items() if how not in ("success", "skip")}
    if ours != alone:
        return f"on the cluster {ours}, without {alone}"
    if group in LISTED and failed != FAILS_ALONE.get(group, set()):
        return f"{failed or 'nothing'} failed, with and without a cluster"
    return None if "success" in ours.values() else "nothing succeeded"


@pytest.mark.parametrize("group", GROUPS)
def test_torture(torture, group):
    ours, alone, said = torture.results[group]
    if difference(group, ours, alone):
        # All of them together keep a small machine busy, and some tests measure time: once more, and alone.
        print(f"{group}: {difference(group, ours, alone)}; once more\n{said}")
        ours, alone, said = torture.run([group])[group]
    print(said)
    assert not difference(group, ours, alone)
