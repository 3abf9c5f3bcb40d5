"""A daemon that runs out of descriptors: it does what it is asked or says why not, and afterwards nothing is left open.

Each test is a sweep: no descriptor free, then one, then two, until the request is served. So every place where one may be lacking
is passed once, in the same order every time.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from daemon import PATIENCE, Daemon, ROOT, wait_for

sys.path.append(str(ROOT / "Tests/soak"))
import descriptors

MOST = 64  # free descriptors with which everything must be served
PARKED = "zygotes: [{name: exec, kind: exec, nursery: {min: 1, max: 1}}]\n"
NONE_PARKED = "zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]\n"
THREE_ZYGOTES = """
zygotes:
  - {name: exec, kind: exec, nursery: {min: 0, max: 0}}
  - {name: second, kind: exec, nursery: {min: 0, max: 0}}
  - {name: python, kind: python, interpreter: /usr/bin/python3, preload: [json], nursery: {min: 1, max: 1}}
"""


class Starving(unittest.TestCase):
    def begin(self, configuration):
        self.daemon = Daemon(configuration)
        self.addCleanup(self.daemon.stop)
        self.daemon.wait_ready()
        self.pid = self.daemon.process.pid
        # Threads that close and make things start with the first request.
        self.daemon.hatchery("run", "--", "/bin/true")
        self.rest = wait_for(self.at_rest, "rest")

    def at_rest(self):
        before = self.now()
        time.sleep(0.3)
        return before if self.now() == before else None

    def now(self):
        return descriptors.kinds(self.pid), len(self.children()), len(self.zombies())

    def children(self):
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def zombies(self):
        found = []
        for child in self.children():
            with contextlib.suppress(OSError):  # Reaped in between.
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    found.append(child)
        return found

    def zygotes(self):
        # The status is 1 while one of them does not serve.
        return json.loads(self.daemon.hatchery("zygotes", "--json", check=False).stdout)

    @contextlib.contextmanager
    def only(self, free):
        """So many descriptors are free, as the kernel counts: by their numbers."""
        used = {int(number) for number in os.listdir(f"/proc/{self.pid}/fd")}
        limit, left = 0, free
        while left or limit in used:
            left -= limit not in used
            limit += 1
        usual = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, usual[1]))
        try:
            yield
        finally:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, usual)

    def ask(self, free, *words, stdin=b"", seconds=1):
        """The status and the output of a command that finds so many descriptors free, for some seconds at most, and whether it was
        over by then."""
        with self.only(free):
            process = subprocess.Popen(
                self.daemon.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
            try:
                output, error = process.communicate(stdin, timeout=seconds)
                in_time = True
            except subprocess.TimeoutExpired:
                in_time = False
        if not in_time:
            output, error = process.communicate(timeout=PATIENCE)
        return process.returncode, output.decode(), error.decode(), in_time

    def assert_rest(self, what):
        end = time.monotonic() + PATIENCE
        while self.now() != self.rest:
            if time.monotonic() > end:
                now, rest = self.now(), self.rest
                kinds = {kind: (rest[0][kind], now[0][kind]) for kind in rest[0] | now[0] if rest[0][kind] != now[0][kind]}
                self.fail("\n".join([
                    f"{what}: (at rest, now): {kinds}, children {rest[1:], now[1:]}", *descriptors.told(self.pid, kinds),
                    self.daemon.text()[-2000:]]))
            time.sleep(0.02)

    def sweep(self, *words, stdin=b"", expected=""):
        """Until the command is served while descriptors are short."""
        refusals = 0
        for free in range(MOST):
            # With none it is not even let in, and waits.
            status, output, error, in_time = self.ask(free, *words, stdin=stdin, seconds=PATIENCE if free else 1)
            what = f"{' '.join(words)} with {free} free: status {status}, {output!r}, {error!r}"
            if status == 0:
                self.assertEqual(output.replace("\r\n", "\n"), expected, what)
            else:
                self.assertEqual(status, 125, what)
                self.assertTrue(error.strip(), what)
                refusals += 1
            self.assert_rest(what)
            if status == 0 and in_time:
                self.assertGreater(refusals, 0, "the sweep met no shortage at all")
                return
        self.fail(f"{' '.join(words)}: not served with {MOST} free descriptors: {error}")


class RequestTests(Starving):
    """Each shape of a request makes descriptors of its own."""

    def every_shape(self):
        self.sweep("run", "--", "/bin/echo", "said", expected="said\n")
        self.sweep("run", "--stdin", "-", "--", "/usr/bin/wc", "-c", stdin=b"x" * 1000, expected="1000\n")
        self.sweep("run", "-t", "--", "/bin/echo", "said", expected="said\n")
        self.sweep("run", "-v", "/usr:/data", "--in", f"{__file__}:file", "--", "/bin/sh", "-c", "test -d /data/bin && wc -l <file",
                   expected=f"{Path(__file__).read_text().count(chr(10))}\n")

    def test_a_request_that_has_a_child_cloned_leaves_nothing_open(self):
        self.begin(NONE_PARKED)
        self.every_shape()

    def test_a_request_that_a_parked_child_serves_leaves_nothing_open(self):
        self.begin(PARKED)
        self.every_shape()


class ZygoteTests(Starving):
    def ready(self):
        zygotes = self.zygotes()
        return len(zygotes) == 3 and all(zygote["state"] == "ready" for zygote in zygotes)

    def test_a_reload_that_fails_leaves_nothing_open_and_no_process(self):
        self.begin(THREE_ZYGOTES)
        refusals = 0
        for free in range(1, MOST):
            status, _, error, _ = self.ask(free, "reload")
            what = f"reload with {free} free: status {status}, {error!r}"
            self.assertIn(status, (0, 125), what)
            wait_for(self.ready, what)
            self.assert_rest(what)
            if status == 0:
                break
            self.assertTrue(error.strip(), what)
            refusals += 1
        self.assertEqual(status, 0, what)
        self.assertGreater(refusals, 0)

    def test_a_zygote_that_ends_while_nothing_is_free_comes_back(self):
        for free in range(0, 14, 2):
            # A daemon for each: those that end again and again are given more and more time.
            self.begin(THREE_ZYGOTES)
            pids = [zygote["pid"] for zygote in self.zygotes()]
            with self.only(free):
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.5)
            what = f"zygotes killed with {free} free"
            try:
                wait_for(self.ready, what)
            except AssertionError as error:
                self.fail(f"{error}\n{self.zygotes()}\n{self.daemon.text()[-3000:]}")
            self.assert_rest(what)
            self.daemon.stop()


class ScraperTests(Starving):
    def test_a_scraper_that_finds_no_descriptor_waits_and_costs_nothing(self):
        folder = tempfile.mkdtemp(prefix="hatchery-scraper-", dir="/tmp")
        self.addCleanup(shutil.rmtree, folder)
        self.begin(f"metrics: {{listen: {folder}/metrics.sock}}\n" + NONE_PARKED)
        with socket.socket(socket.AF_UNIX) as scraper:
            with self.only(0):
                scraper.connect(f"{folder}/metrics.sock")
                scraper.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
                before = self.seconds_of_processor()
                time.sleep(1)
                self.assertLess(self.seconds_of_processor() - before, 0.3)
            scraper.settimeout(PATIENCE)
            self.assertIn(b"200", scraper.recv(100))
        self.assert_rest("a scrape")

    def seconds_of_processor(self):
        """utime and stime of proc_pid_stat(5)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    unittest.main()
