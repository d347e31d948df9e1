"""The judge of history.py finds what it is there for, and accepts what the promises allow."""

import history


class Absent:
    """These nodes were left out all the time."""

    def __init__(self, *pnns):
        self.pnns = pnns

    def any(self, pnn, _begin, _end):
        return pnn in self.pnns


def operations(*lines):
    """Each: node, begin, kind, key, what it found, what it saw; acknowledged half a second later. Tokens: t1, t2 ..."""
    ops = []
    for i, line in enumerate(lines, 1):
        pnn, begin, kind, key, found, seen = line.split()
        text = f"C 0\nB t{i} {begin} {kind} {key}\n" + (f"S t{i} {begin} {found}\n" if found != "." else "") + f"E t{i} {float(begin) + 0.5} 0 {seen}\n"
        history.parse(text, int(pnn), ops)
    return ops


def volatile(final, absent, *lines):
    judge = history.VolatileJudge(operations(*lines), {"v": final} if final else {}, absent)
    return [problem.split(": ")[1] for problem in judge.problems], judge.lost


def test_nothing_wrong():
    assert volatile("t4", Absent(), "0 1 W v - -", "1 2 W v t1 t1", "2 3 D v t2 t2", "0 4 W v - -", "1 5 R v . t4") == ([], set())


def test_lost_change():
    """Two changes of one value; allowed if the node of the first was left out."""
    lines = ["0 1 W v - -", "1 2 W v t1 t1", "1 3 W v t2 t2", "0 4 W v t1 t1"]
    assert volatile("t4", Absent(), *lines)[0] == ["lost", "lost"]
    assert volatile("t4", Absent(1), *lines) == ([], {"t2", "t3"})


def test_lost_at_the_end():
    lines = ["0 1 W v - -", "1 2 W v t1 t1", "1 3 W v t2 t2", "0 4 R v . t1"]
    assert volatile("t1", Absent(), *lines)[0] == ["lost", "stale"]
    assert volatile("t1", Absent(1), *lines) == ([], {"t2", "t3"})


def test_deleted_value_comes_back():
    assert volatile("t3", Absent(), "0 1 W v - -", "1 2 D v t1 t1", "0 3 W v t1 t1")[0] == ["lost"]
    assert volatile("t1", Absent(), "0 1 W v - -", "1 2 D v t1 t1", "0 3 R v . t1")[0] == ["stale"]


def test_old_value_is_read():
    lines = ["0 1 W v - -", "1 2 W v t1 t1", "2 3 O v . t1"]
    assert volatile("t2", Absent(), *lines)[0] == ["stale"]
    assert volatile("t2", Absent(2), *lines)[0] == []
    assert volatile("t1", Absent(), "0 1 W v - -", "2 2 R v . -")[0] == ["stale, nothing"]


def transactions(counter, tokens, *lines):
    judge = history.TransactionJudge("persistent", operations(*lines), {"c0": counter}, {"c0": tokens.split()}, Absent())
    return [problem.split(": ")[1] for problem in judge.problems]


def test_transactions():
    lines = ["0 1 T c0 1 1", "1 2 T c0 2 2", "2 3 R c0 . 2"]
    assert transactions(2, "t1 t2", *lines) == []
    assert transactions(1, "t1", *lines) == ["lost"]
    assert transactions(3, "t1 t2 t2", *lines) == ["applied 2 times"]
    assert transactions(3, "t1 t2", *lines) == ["c0 is 3, and 2 tokens are in its sets"]
    assert transactions(2, "t1 t2", *lines[:2], "2 3 R c0 . 1") == ["stale"]
    assert transactions(2, "t1 t2", "0 1 T c0 1 1", "1 2 T c0 1 1") == ["2 transactions made c0 1"]
