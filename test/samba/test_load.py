"""Many clients on all nodes contend for the same files."""

import json
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
DAEMONS = ["ctdbd", "ctdb-transportd", "ctdb-clusterd", "ctdb-dbd", "ctdb-dbkeep"]


def run_load(smb, seconds, clients, files):
    hosts = [smb.cluster.public_address(node.pnn) for node in smb.cluster.nodes]
    done = smb.cluster.client(["/usr/bin/python3", os.path.join(HERE, "load.py"), str(seconds), str(clients), str(files), *hosts],
                              capture_output=True, text=True, timeout=seconds + 120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_20_clients_and_10_files(smb, request):
    ours = not request.config.getoption("--debian-ctdb")
    before = smb.pids(*DAEMONS) if ours else {}
    sizes = [smb.log_size(pnn) for pnn in range(3)]
    result = run_load(smb, 30, 20, 10)
    print(f"{result['operations']} operations, slowest {result['slowest']:.2f} s")
    assert not result["errors"], "\n".join(result["errors"])
    assert min(result["per_client"]) > 0
    if ours:
        assert smb.pids(*DAEMONS) == before
        stalls = [line for pnn in range(3) for line in smb.log_since(pnn, sizes[pnn]).splitlines() if "nothing else was served" in line]
        assert not stalls, "\n".join(stalls)
