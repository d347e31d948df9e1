"""What clusterd tells the daemons of each node, without a gap: a thread and a program (test/local/watcher.c) for each node. All nodes are on one machine, so their
monotonic clocks are one. A node acts from the moment that it is told so until its lease ends or it is told otherwise: spans."""

import os
import subprocess
import threading
import time

NS = 1e-9


class Span:
    """A time in which a node may act, under one view. Seconds of the monotonic clock."""

    def __init__(self, pnn, begin, until, view, leader, members):
        self.pnn, self.begin, self.until, self.view, self.leader, self.members = pnn, begin, until, view, leader, members

    def __repr__(self):
        return f"node {self.pnn} under view {self.view[0]}.{self.view[1]} {sorted(self.members)} from {self.begin:.3f} to {self.until:.3f}"


class NodeWatch:
    """One node; goes on over power cuts."""

    def __init__(self, node, program, name, lock):
        self.node, self.program, self.name, self.lock = node, program, name, lock
        self.spans, self.states = [], []  # states: (time, view, leader, active, members)
        self.process, self.ending = None, False
        self.seen = (0, 0)  # newest view since the node was switched on
        self.rests = []  # (time of an extension, what was left of the lease)
        self.answers = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ending:
            try:
                self.process = self.node.popen([self.program, f"{self.node.paths.run}/msg", self.name, str(self.node.pnn)], stdin=subprocess.PIPE,
                                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
            except Exception:  # pylint: disable=broad-exception-caught  # the node is off
                time.sleep(0.05)
                continue
            self.seen = (0, 0)
            with self.process as process:
                for line in process.stdout:
                    with self.lock:
                        self._take(line.split())
            with self.lock:
                self._cut(time.monotonic())
            if not self.ending:
                time.sleep(0.02)

    def _cut(self, now):
        if self.spans and self.spans[-1].until > now:
            self.spans[-1].until = now

    def _take(self, words):
        if words[0] == "done":
            self.answers.append(int(words[1]))
            return
        now = int(words[1]) * NS
        if words[0] == "lease":
            self._extend(now, int(words[2]) * NS)
            return
        view, leader, active = (int(words[2]), int(words[3])), int(words[4]), words[5] == "1"
        if view < self.seen:
            return  # as the daemons do: a clusterd that was just started knows less
        self.seen = view
        members = frozenset(int(pnn) for pnn in words[7].split(",")) if words[7] != "-" else frozenset()
        self.states.append((now, view, leader, active, members))
        until = int(words[6]) * NS
        last = self.spans[-1] if self.spans else None
        if active and last and last.until >= now and (last.view, last.leader, last.members) == (view, leader, members):
            last.until = max(last.until, until)
            return
        self._cut(now)
        if active and until > now:
            self.spans.append(Span(self.node.pnn, now, until, view, leader, members))

    def _extend(self, now, until):
        if not self.states or not self.states[-1][3] or not self.spans:
            return
        last = self.spans[-1]
        self.rests.append((now, last.until - now))
        if last.until >= now:
            last.until = max(last.until, until)
        elif until > now:
            self.spans.append(Span(last.pnn, now, until, last.view, last.leader, last.members))

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        """End of its standard input ends the program; nsenter(1) does not hand on signals."""
        self.ending = True
        try:
            self.process.stdin.close()
        except (OSError, ValueError, AttributeError):
            pass
        self.thread.join(10)


class Watch:
    """All nodes of a cluster."""

    def __init__(self, cluster, builddir, name="watch"):
        program = os.path.join(os.path.abspath(builddir), "test", "local", "watcher")
        if not os.access(program, os.X_OK):
            raise FileNotFoundError(f"{program} is missing: run make first")
        self.lock = threading.Lock()
        self.cluster = cluster
        self.nodes = [NodeWatch(node, program, name, self.lock) for node in cluster.nodes]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        for node in self.nodes:
            node.end()

    def newest(self, pnn):
        """(time, view, leader, active, members) as the node was told last; None: nothing yet."""
        with self.lock:
            states = self.nodes[pnn].states
            return states[-1] if states else None

    def acts(self, pnn):
        """The span that the node is in now, or None."""
        with self.lock:
            spans = self.nodes[pnn].spans
            return spans[-1] if spans and spans[-1].until > time.monotonic() else None

    def spans(self, pnn, since=0.0):
        with self.lock:
            return [span for span in self.nodes[pnn].spans if span.until > since]

    def states(self, pnn, since=0.0):
        with self.lock:
            return [state for state in self.nodes[pnn].states if state[0] > since]

    def least_rest(self, pnn, since):
        """What was left of the node's lease when it was extended, at the worst; None: it never was."""
        with self.lock:
            return min((rest for at, rest in self.nodes[pnn].rests if at > since), default=None)

    def agreed(self, pnns):
        """True: all of these act under one view, and they are its members."""
        spans = [self.acts(pnn) for pnn in pnns]
        return all(spans) and len({span.view for span in spans}) == 1 and all(span.members == set(pnns) for span in spans)

    def leader(self):
        """Who leads, if all who act agree; else None."""
        leaders = {span.leader for span in map(self.acts, range(len(self.nodes))) if span}
        return leaders.pop() if len(leaders) == 1 else None

    def gaps(self, pnn, since, until=None):
        """Times in which the node did not act."""
        until = time.monotonic() if until is None else until
        found, last = [], since
        for span in self.spans(pnn, since):
            if span.begin > until:
                break
            if span.begin > last + 1e-6:  # less is rounding
                found.append((last, span.begin))
            last = max(last, span.until)
        if last < until - 1e-6:
            found.append((last, until))
        return found

    def two_sides(self, since=0.0):
        """Two nodes that acted at the same time, one of them under a view that leaves the other out and is newer than the other's. Both under views
        that have the other as a member, or an older one that does not have it yet, are one side."""
        spans = [span for pnn in range(len(self.nodes)) for span in self.spans(pnn, since)]
        spans.sort(key=lambda span: span.begin)
        found, open_spans = [], []
        for span in spans:
            open_spans = [other for other in open_spans if other.until > span.begin]
            for other in open_spans:
                if other.pnn == span.pnn:
                    continue
                newer, older = (span, other) if span.view > other.view else (other, span)
                if older.pnn not in newer.members:
                    found.append((newer, older))
            open_spans.append(span)
        return found
