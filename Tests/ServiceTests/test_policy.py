"""Who may ask, for what, and how much of it: a real daemon, and clients of several uids."""

import os
import re
import signal
import socket
import struct
import time
import unittest
from pathlib import Path

from daemon import PATIENCE, Daemon, wait_for

ALICE, BOB, EVE = 61001, 61002, 61003


def error_of(process):
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


class PolicyTests(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("clients of several uids need root")

    def daemon(self, configuration):
        daemon = Daemon("drain: 0s\n" + configuration)
        self.addCleanup(daemon.stop)
        return daemon.wait_ready()

    def background(self, daemon, *words, uid=None):
        process = daemon.start(*words, uid=uid)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        return process

    def refused(self, daemon, *words, uid=None):
        result = daemon.hatchery(*words, uid=uid, check=False)
        self.assertEqual(result.returncode, 125, result)
        return result.stderr

    def test_who_fits_no_rule_is_refused(self):
        daemon = self.daemon(f"rules: [{{name: staff, users: [{ALICE}]}}, {{name: group, groups: [{BOB}]}}]\n")
        self.assertEqual(daemon.hatchery("run", "/bin/echo", "in", uid=ALICE).stdout, "in\n")
        self.assertEqual(daemon.hatchery("run", "/bin/echo", "in", uid=BOB).stdout, "in\n")
        self.assertIn("no rule of the daemon's configuration admits this user",
                      self.refused(daemon, "run", "/bin/true", uid=EVE))
        self.assertIn("no rule", self.refused(daemon, "ps", uid=EVE))

    def test_zygotes_and_profiles_are_by_rule(self):
        daemon = self.daemon(
            "profiles: {default: {}, open: {network: loopback}}\n"
            f"rules: [{{name: few, users: [{ALICE}], profiles: [default]}}, {{name: rest}}]\n")
        self.assertIn('rule "few" does not allow profile "open"',
                      self.refused(daemon, "run", "--profile", "open", "/bin/true", uid=ALICE))
        daemon.hatchery("run", "--profile", "open", "/bin/true", uid=BOB)

    def test_a_users_running_sandboxes_are_limited_and_others_are_not_held_up(self):
        daemon = self.daemon("policy: {queue: {wait: 0s}}\nrules: [{name: all, running: 1}]\n")
        self.background(daemon, "run", "/bin/sleep", "100", uid=ALICE)
        wait_for(daemon.sandboxes, "a sandbox")
        message = self.refused(daemon, "run", "/bin/true", uid=ALICE)
        self.assertIn("this user has 1 sandboxes alive (rules.all.running)", message)
        self.assertRegex(message, r"ask again in [0-9.]+m?s")
        daemon.hatchery("run", "/bin/true", uid=BOB)

    def test_a_request_waits_for_its_turn_and_no_longer_than_allowed(self):
        daemon = self.daemon("policy: {queue: {wait: 1500ms}}\nrules: [{name: all, running: 1}]\n")
        first = self.background(daemon, "run", "/bin/sleep", "0.7", uid=ALICE)
        wait_for(daemon.sandboxes, "a sandbox")
        # It begins when the first is over.
        self.assertEqual(daemon.hatchery("run", "/bin/echo", "second", uid=ALICE).stdout, "second\n")
        self.assertEqual(error_of(first)[0], 0)
        self.background(daemon, "run", "/bin/sleep", "100", uid=ALICE)
        wait_for(daemon.sandboxes, "a sandbox")
        self.assertIn("; it waited 1.5", self.refused(daemon, "run", "/bin/true", uid=ALICE))

    def test_who_leaves_the_queue_is_forgotten(self):
        daemon = self.daemon("policy: {queue: {wait: 1h, total: 1}}\nrules: [{name: all, running: 1}]\n")
        first = self.background(daemon, "run", "/bin/sleep", "100", uid=ALICE)
        wait_for(daemon.sandboxes, "a sandbox")
        waiting = self.background(daemon, "run", "/bin/touch", "/tmp/x", uid=ALICE)
        wait_for(lambda: queue_depth(daemon) == 1, "one that waits")
        self.assertIn("1 requests wait already", self.refused(daemon, "run", "/bin/true", uid=ALICE))
        waiting.kill()
        waiting.communicate()
        third = self.background(daemon, "run", "/bin/echo", "third", uid=ALICE)
        wait_for(lambda: queue_depth(daemon) == 1, "the third in the queue")
        first.kill()
        first.communicate()
        self.assertEqual(third.communicate(timeout=PATIENCE)[0], "third\n")

    def test_the_rate_and_the_sum_of_memory_are_limited(self):
        daemon = self.daemon(
            "policy: {queue: {wait: 0s}}\n"
            f"rules: [{{name: slow, users: [{ALICE}], rate: 0.01, burst: 2}}, {{name: small, users: [{BOB}], memory: 600M}}]\n")
        for _ in range(2):
            daemon.hatchery("run", "/bin/true", uid=ALICE)
        message = self.refused(daemon, "run", "/bin/true", uid=ALICE)
        self.assertIn("spawns faster than allowed (rules.slow.rate)", message)
        # The next token is a hundred seconds away; advice has an end.
        self.assertIn("ask again in 61s", message)
        self.background(daemon, "run", "-m", "512M", "/bin/sleep", "100", uid=BOB)
        wait_for(daemon.sandboxes, "a sandbox")
        self.assertIn("(rules.small.memory)", self.refused(daemon, "run", "-m", "100M", "/bin/true", uid=BOB))
        daemon.hatchery("run", "-m", "80M", "/bin/true", uid=BOB)
        self.assertIn("memory is above what one user may have in sum",
                      self.refused(daemon, "run", "-m", "601M", "/bin/true", uid=BOB))

    def test_nothing_begins_where_memory_would_run_short(self):
        daemon = self.daemon("policy: {queue: {wait: 0s}, memory: {reserve: 1000000G}}\n")
        self.assertIn("the machine has too little memory left (policy.memory)", self.refused(daemon, "run", "/bin/true"))
        available = int(re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())[1]) // 1024
        strict = self.daemon(
            "policy: {queue: {wait: 0s}, memory: {reserve: 0, overcommit: false}}\n"
            "profiles: {default: {limits: {memory: {default: 512M, max: 1000000G}}}}\n")
        half = f"{available * 3 // 5}M"
        self.background(strict, "run", "-m", half, "/bin/sleep", "100")
        wait_for(strict.sandboxes, "a sandbox")
        self.assertIn("(policy.memory)", self.refused(strict, "run", "-m", half, "/bin/true"))
        strict.hatchery("run", "-m", "16M", "/bin/true")

    def test_users_take_turns(self):
        daemon = self.daemon(
            "policy: {running: 1, queue: {wait: 60s}}\nzygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]\n")
        holder = self.background(daemon, "run", "/bin/sleep", "100", uid=EVE)
        wait_for(daemon.sandboxes, "a sandbox")
        command = ("run", "--title", "turn", "/bin/sleep", "0.15")
        crowd = []
        for _ in range(6):
            crowd.append(self.background(daemon, *command, uid=ALICE))
        wait_for(lambda: queue_depth(daemon) == 6, "a crowd that waits")
        late = self.background(daemon, *command, uid=BOB)
        wait_for(lambda: queue_depth(daemon) == 7, "the late one")
        holder.kill()
        self.assertEqual(error_of(late)[0], 0)
        # He came last of seven, and at most two of the others were before him.
        self.assertLessEqual(sum(process.poll() is not None for process in crowd), 3)

    def test_connections_are_limited_and_the_refusal_says_so(self):
        daemon = self.daemon("policy: {connections: {per_user: 2}}\n")
        self.background(daemon, "run", "/bin/sleep", "100", uid=ALICE)
        self.background(daemon, "run", "/bin/sleep", "100", uid=ALICE)
        wait_for(lambda: len(daemon.sandboxes()) == 2, "two sandboxes")
        message = self.refused(daemon, "run", "/bin/true", uid=ALICE)
        self.assertIn("this user has 2 connections (policy.connections.per_user)", message)
        daemon.hatchery("run", "/bin/true", uid=BOB)

    def test_who_says_nothing_is_closed(self):
        daemon = self.daemon("policy: {connections: {greeting: 300ms, idle: 500ms}}\n")
        for greets, words in ((False, b"no greeting came in time"), (True, b"the connection was idle")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.settimeout(PATIENCE)
                client.connect(daemon.socket)
                if greets:
                    client.send(struct.pack("<IHHIIHH", 0x48435448, 1, 1, 7, 0, 0, 0))
                    self.assertEqual(client.recv(65536)[6:12], struct.pack("<HI", 101, 7))
                answer = client.recv(65536)
                self.assertEqual(answer[6:12], struct.pack("<HI", 104, 0))
                self.assertIn(words, answer)
                self.assertEqual(client.recv(65536), b"")
        # One that waits for its sandbox is not idle.
        self.assertEqual(daemon.hatchery("run", "/bin/sh", "-c", "sleep 1.2; echo done").stdout, "done\n")


def queue_depth(daemon):
    daemon.signal(signal.SIGUSR1)
    time.sleep(0.05)
    found = re.findall(r"(\d+) waiting\)", daemon.text())
    return int(found[-1]) if found else None


if __name__ == "__main__":
    unittest.main()
