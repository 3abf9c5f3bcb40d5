"""Output without end, and waiting: what they cost the daemon and the client. Peaks of memory and numbers of calls, never times."""
import os, re, select, shutil, subprocess, tempfile, time, unittest

from daemon import Daemon, until

MIB = 1 << 20


def peak_of(pid):
    """Peak resident memory of a living process, in bytes (VmHWM, proc_pid_status(5))."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


class FloodTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def peaks(self, count, *words, output=subprocess.DEVNULL):
        """Runs `count` of one command at once: the peak of each, and their exit statuses."""
        running = [subprocess.Popen(self.daemon.words("run", *words), stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=subprocess.DEVNULL) for _ in range(count)]
        peaks, statuses = [], []
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peaks.append(usage.ru_maxrss * 1024)
            statuses.append(process.returncode)
        return peaks, statuses

    FLOOD = ["--time", "2", "--", "/bin/sh", "-c", "yes out & yes err >&2 & wait"]
    CAP = 4 * MIB

    def test_eight_that_print_without_end_stay_within_their_caps(self):
        quiet, _ = self.peaks(1, "--json", "--", "/bin/true")
        self.peaks(8, "--json", "--", "/bin/true")
        front = peak_of(self.daemon.process.pid)
        for words in [["--json", "--output", "4M"], ["--json", "--output", "4M", "--tail"], ["--output", "4M", "--tail"], []]:
            with self.subTest(words):
                peaks, statuses = self.peaks(8, *words, *self.FLOOD)
                self.assertEqual(set(statuses), {124})
                # Two streams; of each the kept bytes, twice that before a tail is trimmed, and the copies that make text
                # and JSON of them. A flood of two seconds is hundreds of times the cap.
                self.assertLess(max(peaks) - quiet[0], 12 * self.CAP + 8 * MIB)
        self.assertLess(peak_of(self.daemon.process.pid) - front, 8 * MIB, "no byte of a stream goes through the daemon")

    def test_without_a_cap_the_meter_sees_it(self):
        """The twin: with a cap as large as the flood, the same figure grows."""
        quiet, _ = self.peaks(1, "--json", "--", "/bin/true")
        program = ["--", "/usr/bin/head", "-c", "100M", "/dev/zero"]
        peaks, _ = self.peaks(1, "--json", "--output", "200M", "--time", "20", *program)
        self.assertGreater(peaks[0] - quiet[0], 12 * self.CAP + 8 * MIB)

    def test_a_reader_that_does_not_read_makes_the_program_wait_and_not_us_grow(self):
        quiet, _ = self.peaks(1, "--", "/bin/true")
        reader, writer = os.pipe()
        try:
            peaks = self.stuck(writer)
        finally:
            os.close(reader)
            os.close(writer)
        self.assertLess(max(peaks) - quiet[0], 4 * MIB)

    def stuck(self, writer):
        """A run whose reader is stuck does not end by itself: it is interrupted when it has come to rest."""
        process = subprocess.Popen(self.daemon.words("run", "--", "/usr/bin/yes"), stdin=subprocess.DEVNULL, stdout=writer,
                                   stderr=subprocess.DEVNULL)
        until(lambda: not select.select([], [writer], [], 0)[1])
        peaks = [peak_of(process.pid)]
        process.kill()
        process.wait(30)
        return peaks


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class WaitingTests(unittest.TestCase):
    """Nothing polls: waiting longer makes no more system calls."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def calls(self, words):
        with tempfile.NamedTemporaryFile("r") as trace:
            done = subprocess.run(["strace", "-f", "-qq", "-o", trace.name, *words], stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=60)
            if b"ptrace" in done.stderr:
                self.skipTest("strace may not trace here")
            return sum(1 for line in trace if re.match(r"\d+ +\w+\(", line))

    def test_the_client_makes_no_call_while_it_waits(self):
        for verb in [["run"], ["run", "--json"], ["session"]]:
            with self.subTest(verb):
                words = lambda seconds: self.daemon.words(*verb, "--", "/bin/sleep", seconds)
                self.calls(words("0.1"))
                short, long = self.calls(words("0.1")), self.calls(words("3"))
                self.assertLess(long - short, 15, f"{short} calls in a short run, {long} in a long one")

    def test_the_meter_sees_a_poller(self):
        loop = "import time\nfor _ in range(100): time.sleep(0.005)"
        self.assertGreater(self.calls(["/usr/bin/python3", "-c", loop]) - self.calls(["/usr/bin/python3", "-c", "pass"]), 90)

    def test_an_idle_daemon_sleeps(self):
        self.daemon.run("run", "--", "/bin/true")
        time.sleep(1)  # the nursery is full again
        with tempfile.NamedTemporaryFile("r") as trace:
            tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace.name, "-p", str(self.daemon.process.pid)],
                                      stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(3)
            tracer.terminate()
            if b"ptrace" in tracer.communicate()[1]:
                self.skipTest("strace may not trace here")
            lines = [line for line in trace if re.match(r"\d+ +\w+\(", line)]
        self.assertLess(len(lines), 10, "".join(lines[:20]))


if __name__ == "__main__":
    unittest.main()
