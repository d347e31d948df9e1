#!/usr/bin/python3
"""Tests of the simulator itself: same seed same run, planted bugs are found and can be repeated, wrong arguments are refused.

test_ctdb_sim.py PROGRAM"""

import os
import re
import shlex
import subprocess
import sys
import unittest

# Programs of another machine are run by another one; meson says by which.
PROGRAM = [*shlex.split(os.environ.get("MESON_EXE_WRAPPER", "")), sys.argv.pop(1)]
BUGS = re.findall(r"^ {24}([a-z-]+)  ", subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout, re.M)


def sim(*args):
    return subprocess.run([*PROGRAM, *args], capture_output=True, text=True, check=False)


class SameRun(unittest.TestCase):
    def test_trace_is_the_same(self):
        args = ["--seed", "77", "--nodes", "7", "--arbitration", "majority", "--trace"]
        first, second = sim(*args), sim(*args)
        self.assertEqual(first.returncode, 0, first.stdout[-500:])
        self.assertIn("power cut", sim("--seed", "77", "--nodes", "7", "--profile", "crash", "--trace").stdout)
        self.assertGreater(len(first.stdout.splitlines()), 200)
        self.assertEqual(first.stdout, second.stdout)

    def test_another_seed_is_another_run(self):
        self.assertNotEqual(sim("--seed", "77", "--nodes", "7", "--trace").stdout, sim("--seed", "78", "--nodes", "7", "--trace").stdout)

    def test_sum_does_not_depend_on_the_number_of_processes(self):
        args = ["--runs", "60", "--nodes", "3-9"]
        self.assertEqual(sim(*args, "--jobs", "1").stdout, sim(*args, "--jobs", "5").stdout)

    def test_more_steps_are_more_trouble(self):
        def troubles(steps):
            out = sim("--nodes", "5", "--runs", "3", "--steps", steps).stdout
            return sum(int(n) for n in re.findall(r"(\d+) [a-z-]+", re.search("disturbed by: (.*)", out).group(1)))

        self.assertGreater(troubles("20000"), 3 * troubles("2000"))


class Bugs(unittest.TestCase):
    def test_there_are_enough(self):
        self.assertGreaterEqual(len(BUGS), 6)

    def test_each_is_found_and_repeated(self):
        for bug in BUGS:
            with self.subTest(bug):
                found = sim("--nodes", "3-7", "--runs", "2000", "--plant", bug)
                self.assertEqual(found.returncode, 1, found.stdout + found.stderr)
                failure = re.match(r"run of seed \d+ FAILED (.*)\n", found.stdout).group(1)
                replay = re.search(r"replay: (.*)\n$", found.stdout).group(1).split()
                again = subprocess.run([*PROGRAM[:-1], *replay], capture_output=True, text=True, check=False)
                self.assertEqual(again.returncode, 1)
                self.assertIn("FAILED " + failure, again.stdout)


class Seeds(unittest.TestCase):
    """Runs that once failed."""

    def test_node_behind_those_that_are_left_out(self):
        args = ["--nodes", "8", "--seed", "51404", "--arbitration", "none", "--runs", "1"]
        self.assertEqual(sim(*args).returncode, 0)
        found = sim(*args, "--plant", "claim-mute")
        self.assertEqual(found.returncode, 1)
        self.assertIn("views still change", found.stdout)


class Arguments(unittest.TestCase):
    def refused(self, args, *texts):
        got = sim(*args)
        self.assertEqual(got.returncode, 2, got.stdout + got.stderr)
        self.assertEqual(got.stdout, "")
        for text in texts:
            self.assertIn(text, got.stderr)

    def test_help(self):
        got = sim("--help")
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        for option in ("--nodes", "--seed", "--runs", "--steps", "--arbitration", "--profile", "--trace", "--plant", "--jobs"):
            self.assertIn(option, got.stdout)

    def test_nodes(self):
        for value in ("0", "257", "x", "", "-3", "3-", "9-3", "3-300", "3.5", "0x10", " 3", "1234567890123456789012"):
            self.refused(["--nodes", value], "--nodes " + value, "from 1 to 256")

    def test_numbers(self):
        for option in ("--seed", "--runs", "--steps", "--jobs"):
            for value in ("x", "-1", "", "99999999999999999999999", "5x"):
                self.refused([option, value], option + " " + value, "a number from")
        self.refused(["--runs", "0"], "--runs 0")

    def test_names(self):
        self.refused(["--profile", "los"], '"los"', "loss", "clock-jump")
        self.refused(["--profile", "loss,"], '""')
        self.refused(["--profile", "loss,,crash"], '""')
        self.refused(["--arbitration", "most"], "--arbitration most", "majority")
        self.refused(["--plant", "nothing"], "--plant nothing", "--help")

    def test_others(self):
        self.refused(["--frobnicate"], "frobnicate", "--help")
        self.refused(["--nodes"], "nodes")
        self.refused(["100"], '"100"')
        self.refused(["--trace", "--runs", "2"], "--trace", "--runs 2")

    def test_profile_is_what_happens(self):
        out = sim("--profile", "pause,crash", "--runs", "10", "--nodes", "5").stdout
        self.assertRegex(out, r"disturbed by: \d+ pause, \d+ crash\n")
        self.assertNotIn("disturbed", sim("--profile", "nothing", "--runs", "10", "--nodes", "5").stdout)

    def test_sizes_at_the_ends(self):
        for nodes in ("1", "2", "256"):
            got = sim("--nodes", nodes, "--runs", "1", "--steps", "3000")
            self.assertEqual(got.returncode, 0, got.stdout)


if __name__ == "__main__":
    unittest.main()
