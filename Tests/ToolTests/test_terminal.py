"""`-t` at a real terminal: the caller's own is raw meanwhile, and always put back."""
import fcntl, os, signal, struct, subprocess, termios, unittest

from daemon import Daemon, until


class Caller:
    """Somebody at a terminal who has typed a command."""

    def __init__(self, words, rows=30, columns=90, **environment):
        self.terminal, self.line = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.line)
        os.set_blocking(self.terminal, False)
        self.output = b""

        def sit_down():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            words, stdin=self.line, stdout=self.line, stderr=self.line, preexec_fn=sit_down,
            env={"PATH": "/usr/bin:/bin", "TERM": "vt220", **environment})

    def resize(self, rows, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data):
        os.write(self.terminal, data)

    def sees(self, text):
        """Waits until `text` has been shown, and forgets everything up to it."""
        def look():
            try:
                self.output += os.read(self.terminal, 65536)
            except (BlockingIOError, OSError):
                pass
            return text in self.output
        try:
            until(look)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in {self.output!r}") from None
        self.output = self.output.partition(text)[2]

    def is_raw(self):
        return not termios.tcgetattr(self.line)[3] & termios.ICANON

    def ends(self):
        """Waits for the command, and for the terminal as it was."""
        status = self.process.wait(30)
        assert termios.tcgetattr(self.line) == self.before, "the terminal was not put back"
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.terminal)
        os.close(self.line)


class TerminalTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def call(self, verb, *words, **environment):
        caller = Caller(self.daemon.words(verb, *words), **environment)
        self.addCleanup(caller.close)
        return caller

    def test_a_shell_is_talked_to_as_at_any_terminal(self):
        for verb, flags in [("session", ["-t"]), ("run", ["-it"])]:
            with self.subTest(verb):
                caller = self.call(verb, *flags, "--", "/bin/sh", "-i")
                caller.sees(b"$ ")
                self.assertTrue(caller.is_raw())
                caller.type(b"tty; echo $TERM; stty size\r")
                caller.sees(b"/dev/pts/0\r\nvt220\r\n30 90\r\n")
                # Ctrl-C is for the program, not for us.
                # Said by the job itself, which is then what the terminal's signals go to.
                caller.type(b"sh -c 'echo up; exec sleep 1000'\r")
                caller.sees(b"\nup\r\n")
                caller.type(b"\x03")
                caller.sees(b"$ ")
                caller.resize(11, 22)
                os.kill(caller.process.pid, signal.SIGWINCH)
                caller.type(b"stty size\r")
                caller.sees(b"11 22\r\n")
                caller.type(b"exit 7\r")
                self.assertEqual(caller.ends(), 7)

    def test_python_is_typed_at_its_prompt(self):
        caller = self.call("python", "-it")
        caller.sees(b">>> ")
        caller.type(b"x = 6 * 7\rprint('is', x)\r")
        caller.sees(b"\nis 42")
        caller.type(b"\x04")
        self.assertEqual(caller.ends(), 0)

    def test_the_terminal_is_put_back_whatever_ends_the_command(self):
        for number in [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT]:
            with self.subTest(number.name):
                caller = self.call("session", "-t", "--", "/bin/sh", "-c", "echo ready; sleep 1000")
                caller.sees(b"ready")
                until(caller.is_raw)
                caller.process.send_signal(number)
                status = caller.ends()
                self.assertIn(status, [128 + number, -number])

    def test_a_second_signal_puts_it_back_too(self):
        caller = self.call("session", "-t", "--", "/bin/sh", "-c", "echo ready; sleep 1000")
        caller.sees(b"ready")
        until(caller.is_raw)
        self.daemon.process.send_signal(signal.SIGSTOP)  # nobody answers the orderly end
        try:
            for _ in range(2):
                caller.process.send_signal(signal.SIGTERM)
                until(lambda: pending(caller.process) == 0)
            self.assertEqual(caller.ends(), 128 + signal.SIGTERM)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)

    def test_a_failure_leaves_it_as_it_was_and_is_readable(self):
        caller = self.call("run", "-it", "--", "/no/such")
        caller.sees(b"ENOENT")
        self.assertEqual(caller.ends(), 127)

    def test_without_a_terminal_of_ours_the_program_has_one_all_the_same(self):
        result = self.daemon.run("run", "-it", "--", "/bin/sh", "-c", "tty; stty size; cat", input=b"from a pipe\n", stdin=None)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(b"/dev/pts/0\r\n24 80\r\n", result.stdout)
        self.assertEqual(result.stdout.count(b"from a pipe\r\n"), 2)  # the echo and cat's

    def test_the_end_of_our_input_is_seen_whatever_mode_the_terminal_was_in(self):
        # The prompt switches the mode after everything has been typed; two readers need two ends.
        python = self.daemon.run("python", "-i", "-t", "--time", "15", input=b"print(6 * 7)\n", stdin=None)
        self.assertEqual(python.returncode, 0, python)
        self.assertIn(b"42", python.stdout)
        twice = self.daemon.run("run", "-i", "-t", "--time", "15", "--", "/bin/sh", "-c", "cat; cat; echo over",
                                input=b"typed\n", stdin=None)
        self.assertEqual(twice.returncode, 0, twice)
        self.assertTrue(twice.stdout.endswith(b"over\r\n"), twice.stdout)

    def test_only_the_output_of_the_sandbox_is_left_when_it_cannot_type(self):
        # The program would see and press keys of the caller's shell, were its terminal the caller's.
        script = "import fcntl, termios\ntry: fcntl.ioctl(0, termios.TIOCSTI, b'x')\nexcept OSError as e: print('refused', e.errno)"
        caller = self.call("run", "-it", "--", "/usr/bin/python3", "-c", script)
        caller.sees(b"refused 1")
        self.assertEqual(caller.ends(), 0)


def pending(process):
    """Signals that have not reached a process yet; 0 when it is gone."""
    try:
        with open(f"/proc/{process.pid}/status") as file:
            fields = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        return int(fields["ShdPnd"], 16) & (1 << signal.SIGTERM - 1)
    except (OSError, KeyError):
        return 0


if __name__ == "__main__":
    unittest.main()
