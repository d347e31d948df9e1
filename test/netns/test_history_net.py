"""Clients of all nodes work in databases of all models while nodes lose power, stand still, lose each other, and daemons are killed: history.py judges what they saw.

CTDB_HISTORY_SECONDS: how long (default 40). CTDB_HISTORY_SEED: a seed makes the same plan again; otherwise a new one, which is printed. CTDB_HISTORY_ONLY: faults
of these kinds alone (lose,partition). CTDB_HISTORY_DIR: an empty directory; what the clients and the nodes wrote stays there."""

import os
import random
import shutil
import subprocess
import time

import history
import pytest
from autocluster.errors import ClusterError
from support import CAPTURE, PATIENCE, TOP, need_programs, output, wait_until
from watch import Watch

SECONDS = int(os.environ.get("CTDB_HISTORY_SECONDS", "40"))
SEED = int(os.environ.get("CTDB_HISTORY_SEED", "0")) or random.SystemRandom().randint(1, 999999)
NODES, KEYS = 3, 4
FAULTS = os.environ.get("CTDB_HISTORY_ONLY", "kill,kill,freeze,pause,partition,partition,power,lose,deaf,stop").split(",")
MODELS = ["volatile", "replicated", "persistent"]
DAEMONS = ["ctdb-dbd", "ctdb-transportd", "ctdb-clusterd", "ctdb-dbkeep", "ctdbd"]
DEAD = 2
CONFIG = f"[cluster]\n\tdead interval = {DEAD}s\n"


def make_plan(seed):
    """Without end: pause before it, what, arguments, how long it lasts, daemon that is killed meanwhile or None."""
    chance = random.Random(seed)
    while True:
        what = chance.choice(FAULTS)
        pnn, other = chance.sample(range(NODES), 2)
        daemon = chance.choice(DAEMONS)
        groups = chance.choice([[[n for n in range(NODES) if n != pnn], [pnn]], [[0], [1], [2]]])
        arguments = {"kill": (pnn, daemon), "freeze": (pnn, daemon), "partition": (groups,), "deaf": (pnn, other)}.get(what, (pnn,))
        meanwhile = (other, chance.choice(DAEMONS)) if chance.random() < 0.3 else None
        yield chance.uniform(0.3, 3), what, arguments, chance.choice([0.2, 1, DEAD, 2 * DEAD]), meanwhile


class Clients:
    """One for each node and model, started again when its node had lost power."""

    def __init__(self, cluster, program, directory):
        self.cluster, self.program, self.directory = cluster, program, directory
        self.until = 0
        self.running, self.count = {}, 0

    def keep(self):
        """Starts those that are not running and should be."""
        left = self.until - time.monotonic()
        for pnn in range(NODES):
            for model in MODELS:
                client = self.running.get((pnn, model))
                if left > 1 and (client is None or client.poll() is not None) and self.cluster.node(pnn).process:
                    self._start(pnn, model, left)

    def _start(self, pnn, model, left):
        self.count += 1
        name = f"{pnn}.{self.count}"
        path = os.path.join(self.directory, f"{model}.{pnn}.{self.count}")
        try:
            with open(path, "wb") as out, open(f"{path}.errors", "wb") as err:
                self.running[pnn, model] = self.cluster.node(pnn).popen([self.program, f"h-{model}.tdb", model, str(KEYS), f"{left:.1f}", name],
                                                                       stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except ClusterError:
            pass  # it lost power at this moment

    def rest(self, seconds):
        """Time passes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.keep()
            time.sleep(0.05)

    def finish(self):
        for client in self.running.values():
            client.wait(max(0, self.until - time.monotonic()) + 4 * PATIENCE)

    def ops(self, model):
        found = []
        for name in sorted(os.listdir(self.directory)):
            if name.startswith(model) and not name.endswith(".errors"):
                with open(os.path.join(self.directory, name), encoding="ascii") as f:
                    history.parse(f.read(), int(name.split(".")[1]), found)
        return found


class Story:
    """A cluster, its clients, and what happens to them."""

    def __init__(self, cluster, build, directory):
        self.cluster = cluster
        self.watch = Watch(cluster, os.path.join(TOP, build))
        self.clients = Clients(cluster, os.path.join(TOP, build, "test", "local", "history"), directory)
        self.off, self.vacuums = [], []

    def say(self, text):
        print(f"{time.monotonic():.3f} {text}", flush=True)

    def fault(self, pnn, what):
        self.say(f"node {pnn}: {what}")
        begin, dbds = time.monotonic(), self.cluster.node(pnn).find_program("ctdb-dbd")
        try:
            self.cluster.fault(pnn, what)
        except ClusterError as e:  # a daemon that is just being started again
            self.say(str(e))
        if what == "kill:ctdbd":  # dbkeep ends with it, and the volatile files with dbkeep: as if the power had gone
            wait_until(lambda: not any(p.alive() for p in dbds), what="the end of the databases' daemon")
            self.off.append((pnn, begin, time.monotonic()))

    def ctdb(self, pnn, *words):
        """Does not wait for it: vacuuming, among what else happens."""
        try:
            self.vacuums.append(self.cluster.node(pnn).popen(["ctdb", "-t", "10", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                               stderr=subprocess.DEVNULL))
        except ClusterError:
            return None
        return self.vacuums[-1]

    def step(self, pause, what, arguments, lasts, meanwhile):
        self.clients.rest(pause)
        begin, end = getattr(self, f"make_{what}")(*arguments)
        begin()
        if meanwhile and meanwhile[0] in self.cluster.running():
            self.clients.rest(lasts / 2)
            self.fault(meanwhile[0], f"kill:{meanwhile[1]}")
        self.clients.rest(lasts)
        end()
        self.whole()
        self.ctdb(arguments[0] if isinstance(arguments[0], int) else 0, "db", "vacuum", "h-volatile.tdb")

    def whole(self):
        """Until all serve; clients work meanwhile."""
        def ready():
            self.clients.rest(0.05)
            return not any(node.waiting_for() for node in self.cluster.nodes)
        wait_until(ready, 4 * PATIENCE, lambda: f"nodes to serve: {[node.waiting_for() for node in self.cluster.nodes]}")

    # Faults: (begin, end)

    def make_kill(self, pnn, daemon):
        return lambda: self.fault(pnn, f"kill:{daemon}"), lambda: None

    def make_freeze(self, pnn, daemon):
        """A daemon stands still."""
        found = []

        def begin():
            self.say(f"node {pnn}: {daemon} stands still")
            found.extend(self.cluster.node(pnn).find_program(daemon))
            self._signal(found, 19)
        return begin, lambda: self._signal(found, 18)

    @staticmethod
    def _signal(processes, number):
        for process in processes:
            process.signal(number)

    def make_pause(self, pnn):
        return lambda: self.fault(pnn, "pause"), lambda: self.fault(pnn, "resume")

    def make_partition(self, groups):
        def begin():
            self.say(f"partition {groups}")
            self.cluster.partition(groups)
        return begin, self._heal

    def _heal(self):
        self.say("heal")
        self.cluster.heal()

    def _off(self, pnn, begin, end):
        """A time in which a node is off, or stopped, by our doing."""
        times = []

        def first():
            times.append(time.monotonic())
            begin()

        def last():
            end()
            self.off.append((pnn, times[0], time.monotonic()))
        return first, last

    def make_power(self, pnn):
        return self._off(pnn, lambda: self.fault(pnn, "power-off"), lambda: self.fault(pnn, "power-on"))

    def make_lose(self, pnn):
        return lambda: self.fault(pnn, "lose:30"), lambda: self.fault(pnn, "hear")

    def make_deaf(self, pnn, other):
        return lambda: self.fault(pnn, f"deaf:{other}"), lambda: self.fault(pnn, "hear")

    def make_stop(self, pnn):
        """By the administrator."""
        asked = []

        def begin():
            self.say(f"node {pnn}: stop")
            asked.append(self.ctdb(pnn, "node", "stop", str(pnn)))
        return self._off(pnn, begin, lambda: self._let_in(pnn, asked[0]))

    def _let_in(self, pnn, asked):
        """When the command that stops it has ended: it would stop the node afterwards."""
        def over():
            self.clients.rest(0.05)
            return asked is None or asked.poll() is not None
        wait_until(over, 2 * PATIENCE, what=f"the command to stop node {pnn} to end")

        def tried():
            self.clients.rest(0.05)
            return self.cluster.node(pnn).run(["ctdb", "-t", "10", "node", "continue", str(pnn)], **CAPTURE, check=False).returncode == 0
        wait_until(tried, what=f"node {pnn} to be let in again")

    # The end.

    def records(self, pnn, model):
        def dumped():
            done = self.cluster.node(pnn).run(["ctdb", "db", "dump", f"h-{model}.tdb"], timeout=4 * PATIENCE, check=False, **CAPTURE)
            return [done.stdout] if done.returncode == 0 else None  # a recovery that came late ends it
        return history.parse_dump(wait_until(dumped, what="a dump")[0])

    def finish(self):
        self.clients.finish()
        for process in self.vacuums:
            process.wait(4 * PATIENCE)
        self.cluster.wait_ready(4 * PATIENCE)
        if "CTDB_HISTORY_DIR" in os.environ:
            for node in self.cluster.nodes:
                shutil.copy(node.file("log", "log.ctdb"), os.path.join(self.clients.directory, f"log.{node.pnn}"))

    def problems(self):
        absences = history.Absences(self.watch, NODES, self.off)
        ops = {model: self.clients.ops(model) for model in MODELS}
        final = {key: value.split(" ")[0] for key, value in self.records(0, "volatile").items()}
        judge = history.VolatileJudge(ops["volatile"], final, absences)
        found = list(judge.problems)
        self.say(f"volatile: {len(ops['volatile'])} operations, {sum(op.done for op in ops['volatile'])} done, {len(judge.lost)} lost with nodes that were left out")
        for model in MODELS[1:]:
            all_records = [self.records(pnn, model) for pnn in range(NODES)]
            found += [] if all_records[1:] == all_records[:-1] else [f"{model}: nodes differ"]
            found += history.TransactionJudge(model, ops[model], *history.counters_and_tokens(all_records[0]), absences).problems
            self.say(f"{model}: {len(ops[model])} operations, {sum(op.done for op in ops[model])} done")
        found += [f"two sides were active: {newer}, {older}" for newer, older in self.watch.two_sides()]
        assert all(any(op.done for op in of_model) for of_model in ops.values())
        return found


@pytest.mark.slow
def test_history(cluster_factory, need_root, request, base):
    need_programs("ip", "nft")
    print(f"seed {SEED}: CTDB_HISTORY_SEED={SEED} CTDB_HISTORY_SECONDS={SECONDS} makes the same plan")
    cluster = cluster_factory(NODES, mode="netns", extra_config=CONFIG)
    story = Story(cluster, request.config.getoption("--build"), os.environ.get("CTDB_HISTORY_DIR", base))
    with story.watch:
        story.clients.until = time.monotonic() + SECONDS
        for step in make_plan(SEED):
            if time.monotonic() > story.clients.until - 3:
                break
            story.step(*step)
        story.finish()
        found = story.problems()
        assert not found, f"seed {SEED}: {len(found)} violations:\n" + "\n".join(found[:30])
        assert output(cluster.node(0).run(["ctdb", "db", "check"], timeout=4 * PATIENCE, check=False, **CAPTURE)).startswith("OK")
