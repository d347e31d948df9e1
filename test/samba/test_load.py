"""Many clients on all nodes contend for the same files."""

import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
DAEMONS = ["ctdbd", "ctdb-transportd", "ctdb-clusterd", "ctdb-dbd", "ctdb-dbkeep"]


def run_load(smb, seconds, clients, files):
    hosts = [smb.cluster.public_address(node.pnn) for node in smb.cluster.nodes]
    done = smb.cluster.client(["/usr/bin/python3", os.path.join(HERE, "load.py"), str(seconds), str(clients), str(files), *hosts],
                              capture_output=True, text=True, timeout=seconds + 120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stolen():
    """ms in all that the machine's own host did not let its CPUs run."""
    with open("/proc/stat", encoding="ascii") as f:
        return int(f.readline().split()[8]) * 1000 // os.sysconf("SC_CLK_TCK")


def waited(pids):
    """{key: ms in all that these processes waited for a CPU, ready to run}; where the kernel does not count that, what the host took."""
    found = {}
    for key, of_program in pids.items():
        found[key] = stolen()
        for pid in of_program:
            try:
                with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
                    found[key] += int(f.read().split()[1]) // 1000000
            except FileNotFoundError:
                pass
    return found


def stalled(smb, sizes):
    """{(pnn, program): (ms in all of the handlers that ran too long, their lines)}"""
    found = {}
    for pnn in range(3):
        for line in smb.log_since(pnn, sizes[pnn]).splitlines():
            match = re.search(r" (ctdb\S*?)\[\d+\] .* ran for (\d+) ms: nothing else was served", line)
            assert match or "nothing else was served" not in line, line
            if match:
                ms, lines = found.get((pnn, match.group(1)), (0, []))
                found[pnn, match.group(1)] = (ms + int(match.group(2)), [*lines, line])
    return found


def test_20_clients_and_10_files(smb, request):
    ours = not request.config.getoption("--debian-ctdb")
    before = smb.pids(*DAEMONS) if ours else {}
    begin = waited(before)
    sizes = [smb.log_size(pnn) for pnn in range(3)]
    result = run_load(smb, 30, 20, 10)
    print(f"{result['operations']} operations, slowest {result['slowest']:.2f} s")
    assert not result["errors"], "\n".join(result["errors"])
    assert min(result["per_client"]) > 0
    if ours:
        assert smb.pids(*DAEMONS) == before
        # Nothing in the daemons takes long or blocks; that a busy machine lets them wait is not their fault.
        end = waited(before)
        for key, (ms, lines) in stalled(smb, sizes).items():
            assert ms <= end[key] - begin[key], f"waited {end[key] - begin[key]} ms for a CPU, but:\n" + "\n".join(lines)
