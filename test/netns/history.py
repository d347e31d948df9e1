"""What clients did and saw while things broke (test/local/history.c), and whether a cluster that keeps its promises can have done that.

Promises. Replicated and persistent databases: an acknowledged transaction is there, once, whole; no other node shows older contents after it was acknowledged. Volatile
databases: each change was made to what the change before it had left. A change may be lost only if the node that made it was left out by the others afterwards, or lost
power: then it may have died with the only current copy. A node that was left out may show old contents until it has noticed; no other may."""

import collections
import re

ECANCELED = 125
LOST, STALE, BACK = "lost", "stale", "seen again"


class Op:
    """One operation of a client."""

    def __init__(self, token, pnn, connection, begin, kind, key):
        self.token, self.pnn, self.connection, self.begin, self.kind, self.key = token, pnn, connection, begin, kind, key
        self.found_at = self.found = self.end = self.status = self.seen = None

    @property
    def done(self):
        return self.status == 0

    @property
    def started(self):
        """May have changed something."""
        return self.found is not None and self.status != ECANCELED

    def __repr__(self):
        end = f"{self.end:.3f} {self.status} {self.seen}" if self.end else "?"
        return f"{self.token} {self.kind} {self.key} {self.begin:.3f} found {self.found} end {end}"


def parse(text, pnn, ops):
    """Lines of one client, added to ops. The last line may be cut off by the end of its node."""
    connection, current = None, None
    for line in text.split("\n")[:-1]:
        words = line.split()
        if words[0] == "C":
            connection = (pnn, words[1])
        elif words[0] == "B":
            current = Op(words[1], pnn, connection, float(words[2]), words[3], words[4])
            ops.append(current)
        elif words[0] == "S" and words[1] == current.token:
            current.found_at, current.found = float(words[2]), words[3]
        elif words[0] == "E" and words[1] == current.token:
            current.end, current.status, current.seen = float(words[2]), int(words[3]), words[4]


class Absences:
    """When a node may have lost what only it had, or not have noticed what the others did: times in which others had a view without it, or it had no power, or was
    stopped by the administrator."""

    def __init__(self, watch, nodes, off):
        self.off = off  # (pnn, begin, end)
        self.views = []  # (begin, end, members), as told on any node
        for pnn in range(nodes):
            states = watch.states(pnn)
            for state, after in zip(states, states[1:] + [None]):
                self.views.append((state[0], after[0] if after else 1e18, state[4]))

    def any(self, pnn, begin, end):
        return any(members and pnn not in members and first < end and last > begin for first, last, members in self.views) or \
            any(who == pnn and first < end + 1 and last > begin - 1 for who, first, last in self.off)


class VolatileJudge:
    """The operations of a volatile database."""

    def __init__(self, ops, final, absences):
        self.final, self.absences = final, absences
        self.problems, self.lost = [], set()
        self.keys = collections.defaultdict(list)
        for op in ops:
            self.keys[op.key].append(op)
        for key, of_key in self.keys.items():
            changes = sorted((op for op in of_key if op.kind in "WD" and op.started), key=lambda op: op.found_at)
            self._changes(key, changes)
            self._reads([op for op in of_key if op.kind in "RO" and op.done], changes)

    def _problem(self, what, *ops):
        self.problems.append(f"volatile: {what}: " + "; ".join(map(repr, ops)))

    def _lose(self, op, children, noticed):
        """op and what was made of it is gone: each of them has to have been made by a node that was left out since."""
        todo = [op]
        while todo:
            op = todo.pop()
            if op.token in self.lost:
                continue
            self.lost.add(op.token)
            todo += [child for child in children[op.token] if child is not noticed and child.found_at < noticed.found_at]
            if op.done and not self.absences.any(op.pnn, op.begin, noticed.end or noticed.found_at + 1):
                self._problem(LOST, op, noticed)

    def _lose_tip(self, op, by_token, left, noticed):
        """Nobody ever saw op: it is gone, with all that it was made of back to what is left."""
        if not self.absences.any(op.pnn, op.begin, (noticed.end or noticed.found_at + 1) if noticed else 1e17):
            self._problem(LOST, op, *([noticed] if noticed else []))
            return
        while op and op.token not in (left, *self.lost) and self.absences.any(op.pnn, op.begin, 1e17):
            self.lost.add(op.token)
            op = by_token.get(op.found)

    def _changes(self, key, changes):
        children, by_token = collections.defaultdict(list), {op.token: op for op in changes}
        for op in changes:
            if op.found == "-":
                continue
            before = by_token.get(op.found)
            if before is None or before.kind != "W":
                self._problem("a value that nobody wrote", op)
                continue
            # What was made of the same value before is gone, unless it never was.
            for other in children[op.found]:
                if other.done or children[other.token]:
                    self._lose(other, children, op)
            children[op.found].append(op)
        final = self.final.get(key, "-")
        for i, op in enumerate(changes):
            if op.kind != "W" or not op.done or children[op.token] or final == op.token or op.token in self.lost:
                continue
            later = next((other for other in changes[i + 1:] if other.done), None)
            self._lose_tip(op, by_token, later.found if later else final, later)
        self.children = children

    def _reads(self, reads, changes):
        by_token = {op.token: op for op in changes}
        order = {op.token: i for i, op in enumerate(changes)}
        last = {}
        for op in sorted(reads, key=lambda op: op.end):
            if op.seen == "-":
                self._read_nothing(op, changes)
                continue
            if op.seen not in by_token:
                self._problem("a value that nobody wrote is read", op)
                continue
            newer = [c for c in self.children[op.seen] if c.done and c.end < op.begin and c.token not in self.lost]
            if newer and not self.absences.any(op.pnn, newer[0].found_at, op.end):
                self._problem(STALE, op, newer[0])
            before = last.get(op.connection)
            if before and order[op.seen] < order[before.seen] and before.seen not in self.lost and op.begin > before.end and \
                    not self.absences.any(op.pnn, before.begin, op.end):
                self._problem("older than what the same connection saw", op, before)
            last[op.connection] = op

    def _read_nothing(self, op, changes):
        before = [c for c in changes if c.done and c.end < op.begin and c.token not in self.lost]
        if not before or before[-1].kind == "D" or self.absences.any(op.pnn, before[-1].found_at, op.end):
            return
        # A deletion that runs, or one that was found later than the last one but is not acknowledged.
        if not any(c.kind == "D" and c.found_at > before[-1].found_at and c.begin < op.end for c in changes):
            self._problem(STALE + ", nothing", op, before[-1])


class TransactionJudge:
    """The operations of a replicated or persistent database; final: (counters, tokens of all sets of each counter)."""

    def __init__(self, model, ops, counters, tokens, absences):
        self.model, self.absences, self.problems = model, absences, []
        keys = collections.defaultdict(list)
        for op in ops:
            keys[op.key].append(op)
        for key, of_key in keys.items():
            changes = [op for op in of_key if op.kind == "T"]
            self._changes(key, changes, counters.get(key, 0), tokens.get(key, []))
            self._reads([op for op in of_key if op.kind == "R" and op.done], [op for op in changes if op.done])

    def _problem(self, what, *ops):
        self.problems.append(f"{self.model}: {what}: " + "; ".join(map(repr, ops)))

    def _changes(self, key, changes, counter, there):
        by_token = {op.token: op for op in changes}
        for token, times in collections.Counter(there).items():
            op = by_token.get(token)
            if times > 1:
                self._problem(f"applied {times} times", op)
            if op is None or not op.started:
                self._problem(f"{token} is there and was never asked for, or refused", op)
        for op in changes:
            if op.done and op.token not in there:
                self._problem(LOST, op)
        if counter != len(there):
            self._problem(f"{key} is {counter}, and {len(there)} tokens are in its sets")
        for value, times in collections.Counter(op.found for op in changes if op.done).items():
            if times > 1:
                self._problem(f"{times} transactions made {key} {value}")

    def _reads(self, reads, changes):
        changes.sort(key=lambda op: op.end)
        last, i, newest = {}, 0, None
        for op in sorted(reads, key=lambda op: op.begin):
            while i < len(changes) and changes[i].end < op.begin:
                newest = changes[i] if newest is None or int(changes[i].found) > int(newest.found) else newest
                i += 1
            value = int(op.seen) if op.seen != "-" else 0
            if newest and value < int(newest.found) and not self.absences.any(op.pnn, newest.begin, op.end):
                self._problem(STALE, op, newest)
            before = last.get(op.connection)
            if before and value < before[0] and not self.absences.any(op.pnn, before[1].begin, op.end):
                self._problem("older than what the same connection saw", op, before[1])
            last[op.connection] = (value, op)


def parse_dump(text):
    """{key: value} of `ctdb db dump`."""
    return {match[1]: match[2] for match in re.finditer(r'^set "([^"]*)" "([^"]*)"$', text, re.MULTILINE)}


def counters_and_tokens(records):
    """Of a database of transactions, both by the counter's key."""
    counters = {key: int(value) for key, value in records.items() if re.fullmatch(r"c\d+", key)}
    tokens = collections.defaultdict(list)
    for key, value in records.items():
        match = re.fullmatch(r"s(\d+)\.\d+", key)
        if match:
            tokens[f"c{match[1]}"] += value.split()
    return counters, tokens
