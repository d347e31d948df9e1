"""What the tests of faults judge by, itself: two sides and gaps are found, and nothing else is taken for them."""

import threading
import time

from watch import NodeWatch, Watch


class Told(NodeWatch):
    """Lines instead of a program."""

    def __init__(self, pnn, lines):  # pylint: disable=super-init-not-called
        self.node = type("Node", (), {"pnn": pnn})()
        self.spans, self.states, self.answers, self.rests, self.seen = [], [], [], [], (0, 0)
        for line in lines:
            self._take(line.split())


def watch(*lines):
    """Lines of each node, times in seconds before now."""
    w = Watch.__new__(Watch)
    w.lock = threading.Lock()
    w.nodes = [Told(pnn, of_node) for pnn, of_node in enumerate(lines)]
    return w


NOW = time.monotonic()


def ns(seconds):
    return int((NOW - 100 + seconds) * 1e9)


def state(at, view, leader, until, members):
    """until 0: not active."""
    return f"state {ns(at)} {view} 1 {leader} {int(until > 0)} {ns(until) if until else 0} {members}"


def lease(at, until):
    return f"lease {ns(at)} {ns(until)}"


def test_one_view_is_one_side():
    w = watch([state(1, 1, 0, 3, "0,1"), lease(2, 5)], [state(1, 1, 0, 4, "0,1"), lease(3, 6)])
    assert not w.two_sides()
    assert w.gaps(0, NOW - 98, NOW - 96) == []
    assert round(w.least_rest(0, NOW - 100), 3) == 1


def test_left_out_while_it_acts():
    w = watch([state(1, 2, 0, 9, "0")], [state(1, 1, 1, 4, "0,1")])
    [(newer, older)] = w.two_sides()
    assert (newer.pnn, older.pnn) == (0, 1)


def test_left_out_after_its_lease():
    w = watch([state(5, 2, 0, 9, "0")], [state(1, 1, 1, 4, "0,1")])
    assert not w.two_sides()
    # an extension that comes late is none; a state under an old view neither
    w = watch([state(5, 2, 0, 9, "0")], [state(1, 1, 1, 4, "0,1"), lease(6, 4)])
    assert not w.two_sides()


def test_left_out_and_extended():
    w = watch([state(5, 2, 0, 9, "0")], [state(1, 1, 1, 4, "0,1"), lease(3.9, 5.5)])
    assert len(w.two_sides()) == 1


def test_who_comes_in_is_no_other_side():
    w = watch([state(1, 1, 0, 9, "0,1"), state(5, 2, 0, 9, "0,1,2")], [state(1, 1, 0, 9, "0,1")], [state(5, 2, 0, 9, "0,1,2")])
    assert not w.two_sides()


def test_gaps():
    w = watch([state(1, 1, 0, 3, "0"), lease(2, 4), state(6, 2, 0, 8, "0"), state(7, 2, 0, 0, "0")])
    assert [(round(b - NOW + 100, 3), round(e - NOW + 100, 3)) for b, e in w.gaps(0, NOW - 99, NOW - 90)] == [(4, 6), (7, 10)]


def test_daemon_that_knows_less_is_not_believed():
    w = watch([state(1, 5, 0, 9, "0,1"), state(2, 3, 1, 9, "1")])
    assert w.newest(0)[1] == (5, 1) and not w.gaps(0, NOW - 99, NOW - 92)
