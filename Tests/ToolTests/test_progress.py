"""`--progress`: a line for somebody who looks, and nothing for anybody else."""
import os, re, subprocess, unittest

from daemon import Daemon, until
from test_terminal import Caller

BUSY = "import time\nheld = b'x' * (64 << 20)\nfor n in range(2): print('word', n, flush=True); time.sleep(1.2)\nprint('partial', end='', flush=True); time.sleep(1.2)"


class ProgressTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def test_a_terminal_shows_it_and_the_output_stays_whole(self):
        caller = Caller(self.daemon.words("run", "--progress", "--", "/usr/bin/python3", "-c", BUSY))
        self.addCleanup(caller.close)
        shown = b""

        def over():
            nonlocal shown
            try:
                shown += os.read(caller.terminal, 65536)
            except OSError:
                pass
            return caller.process.poll() is not None
        until(over)
        over()
        self.assertEqual(caller.ends(), 0)
        self.assertRegex(shown, rb"hatchery: \d+\.\d+s  memory [67]\d\.\dM  cpu \S+  1 process  output \d+")
        # What is left when the lines are taken away is what the program said: erased lines end in "back, and erase".
        left = re.sub(rb"hatchery: [^\r\n]*\r\x1b\[K", b"", shown)
        self.assertEqual(left, b"word 0\r\nword 1\r\npartial")

    def test_elsewhere_it_writes_nothing(self):
        for words in [["run", "--progress"], ["run", "--progress", "--json"]]:
            done = self.daemon.run(*words, "--", "/bin/sleep", "1.2")
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_not_together_with_a_terminal_of_the_programs(self):
        self.assertEqual(self.daemon.run("run", "--progress", "-t", "--", "/bin/true").returncode, 125)


if __name__ == "__main__":
    unittest.main()
