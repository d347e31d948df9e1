"""docs/examples, built against an installation of the library by pkg-config alone, as users build theirs; run on clusters of both systems."""

import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from support import CAPTURE, PATIENCE, TOP, need_programs, output, wait_until

ROUNDS = 5


@pytest.fixture(scope="module")
def installed(request):
    """Environment of a build against the project, installed below a DESTDIR; removed afterwards."""
    need_programs("meson", "pkg-config", "gcc", "make")
    build = os.path.join(TOP, request.config.getoption("--build"))
    directory = tempfile.mkdtemp(prefix="ctdb-install-")
    try:
        output(subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", directory], check=False, **CAPTURE))
        found = glob.glob(f"{directory}/**/ctdbapi.pc", recursive=True)
        assert len(found) == 1, f"installed: {found}"
        libdir = os.path.dirname(os.path.dirname(found[0]))
        yield {**os.environ, "PKG_CONFIG_PATH": os.path.dirname(found[0]), "PKG_CONFIG_SYSROOT_DIR": directory, "LD_LIBRARY_PATH": libdir,
               "INSTALLED": directory, "CC": "gcc"}
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def examples(installed):
    """Directory of the built examples."""
    directory = os.path.join(installed["INSTALLED"], "examples")
    shutil.copytree(os.path.join(TOP, "docs", "examples"), directory)
    done = subprocess.run(["make", "-C", directory, "CFLAGS=-Wall -Wextra -Werror -Wno-unused-parameter"], env=installed, check=False, **CAPTURE)
    output(done)
    assert "-lctdbapi" in done.stdout, done.stdout
    return directory


def sockets(cluster):
    return [node.file("run", "ctdbd.socket") for node in cluster.nodes]


@pytest.mark.parametrize("system", ["new", "old"])
def test_counter(system, systems, installed, examples):
    """No number comes twice, whoever counts at the same time."""
    cluster = systems.get(system, 2)
    numbers = {"volatile": [], "persistent": []}
    for _ in range(ROUNDS):
        running = [subprocess.Popen([f"{examples}/counter", path], env=installed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                   for path in sockets(cluster)]
        for pnn, process in enumerate(running):
            out, err = process.communicate(timeout=4 * PATIENCE)
            assert process.returncode == 0, err
            found = re.fullmatch(rf"node {pnn}: volatile (\d+), persistent (\d+)\n", out)
            assert found, out
            numbers["volatile"].append(int(found.group(1)))
            numbers["persistent"].append(int(found.group(2)))
    for seen in numbers.values():
        assert sorted(seen) == list(range(1, 2 * ROUNDS + 1))


def test_counter_without_daemon(installed, examples):
    done = subprocess.run([f"{examples}/counter", "/nonexistent/socket"], env=installed, timeout=PATIENCE, check=False, **CAPTURE)
    assert done.returncode == 1 and "No such file" in done.stderr


@pytest.mark.parametrize("system", ["new", "old"])
def test_watch(system, systems, installed, examples, base):
    """Events come, messages from another node too; it ends in order."""
    cluster = systems.get(system, 2)
    own, other = sockets(cluster)
    seen = os.path.join(base, "seen")

    def text():
        with open(seen, encoding="utf-8") as f:
            return f.read()

    with open(seen, "w", encoding="utf-8") as out, \
            subprocess.Popen([f"{examples}/watch", own], env=installed, stdout=out, stderr=subprocess.STDOUT) as watch:
        try:
            for line in ("watching on node 0\n", "node 0: flags 0\n", "node 1: flags 0\n", " leads\n"):
                wait_until(lambda line=line: line in text(), what=lambda line=line: f"'{line.strip()}' in: {text()}")
            output(subprocess.run([f"{examples}/watch", other, "hello from node 1"], env=installed, timeout=PATIENCE, check=False, **CAPTURE))
            wait_until(lambda: "message: hello from node 1\n" in text(), what=text)
            watch.send_signal(signal.SIGINT)
            assert watch.wait(PATIENCE) == 0, text()
        finally:
            watch.kill()
