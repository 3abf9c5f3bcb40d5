"""Bad input through the command line: the exit status of the contract, an error that says what, where and how to mend it, and
nothing left behind."""
import json, os, shutil, subprocess, tempfile, unittest
from pathlib import Path

from daemon import HATCHERY, Daemon, until

TRUE = ["--", "/bin/true"]
# name: (exit status, what the message must contain, verb and words). {place} is a directory of the test.
BAD = {
    # Impossible limits.
    "no time at all": (125, ["time", "0"], ["run", "--time", "0", *TRUE]),
    "a negative time": (125, ["-1"], ["run", "--time=-1", *TRUE]),
    "time in words": (125, ["soon"], ["run", "--time", "soon", *TRUE]),
    "more time than the profile allows": (125, ["time", "maximum", "at most"], ["run", "--time", "9999h", *TRUE]),
    "more memory than the profile allows": (125, ["memory", "maximum", "at most"], ["run", "-m", "900G", *TRUE]),
    "no memory": (125, ["memory", "0"], ["run", "--memory", "0", *TRUE]),
    "memory without a number": (125, ["X"], ["run", "--memory", "1X", *TRUE]),
    "memory beyond all numbers": (125, ["99999999999999999999"], ["run", "--memory", "99999999999999999999G", *TRUE]),
    "too many processes": (125, ["pids", "maximum", "at most"], ["run", "--pids", "100000", *TRUE]),
    "a size below zero": (125, ["'-1' is not a size"], ["run", "--memory", "-1", *TRUE]),
    "a count below zero": (125, ["'-1' is not a whole number"], ["run", "--pids", "-1", *TRUE]),
    "a count with a unit": (125, ["'1K' is not a whole number"], ["run", "--pids", "1K", *TRUE]),
    "more output than the profile allows": (125, ["output: 2G", "at most 1G"], ["run", "--output", "2G", *TRUE]),
    "more descriptors than the profile allows": (125, ["files: 999999", "at most 65536"], ["run", "--files", "999999", *TRUE]),
    "no processors": (125, ["0"], ["run", "--cpus", "0", *TRUE]),
    "a file system larger than the disk": (125, ["--tmpfs", "--disk"], ["run", "--tmpfs", "/x:2G", "--disk", "1G", *TRUE]),
    "a file system of no size": (125, ["/x:0", "no room"], ["run", "--tmpfs", "/x:0", *TRUE]),
    # Flags.
    "a requirement that came out empty": (125, ["'' is not a layer"], ["run", "--require", "", *TRUE]),
    "a requirement with a gap": (125, ["'' is not a layer"], ["run", "--require", "seccomp,,pidns", *TRUE]),
    "a relative working directory": (125, ["'there' is not an absolute path"], ["run", "-w", "there", *TRUE]),
    "a program for a zygote of another kind": (125, ["kind python", "kind exec"], ["session", "--zygote", "python", "cat"]),
    "a call for a zygote of another kind": (125, ["kind exec", "no call"], ["call", "--zygote", "exec", "math:sqrt", "4"]),
    "an unknown flag": (125, ["--tiem"], ["run", "--tiem", "3", *TRUE]),
    "an unknown verb": (125, ["fly"], ["fly"]),
    "no program": (125, ["which program"], ["run"]),
    "an empty program": (125, ["empty"], ["run", "--", ""]),
    "nothing to run in Python": (125, ["-c CODE"], ["python"]),
    "an unknown layer": (125, ["nonsense", "seccomp"], ["run", "--require", "nonsense", *TRUE]),
    "an unknown network": (125, ["wifi", "loopback"], ["run", "--net", "wifi", *TRUE]),
    "an unknown profile": (125, ["nobody", "default"], ["run", "--profile", "nobody", *TRUE]),
    "an unknown zygote": (125, ["ghost", "exec"], ["run", "--zygote", "ghost", *TRUE]),
    "a variable without a name": (125, ["=x"], ["run", "-e", "=x", *TRUE]),
    "a control character in the title": (125, ["control"], ["run", "--title", "a\x1bb", *TRUE]),
    # Files and mounts.
    "a missing stdin": (125, ["ENOENT", "{place}/none"], ["run", "--stdin", "{place}/none", *TRUE]),
    "a directory as stdin": (125, ["EISDIR", "{place}"], ["run", "--stdin", "{place}", *TRUE]),
    "a file in below /proc": (125, ["/proc", "/tmp"], ["run", "--in", "/etc/hosts:/proc/x", *TRUE]),
    "a name of a variable with a space": (125, ["'export A'"], ["run", "-e", "export A=1", *TRUE]),
    "a missing file in": (125, ["ENOENT", "{place}/none"], ["run", "--in", "{place}/none", *TRUE]),
    "a directory as file in": (125, ["regular file"], ["run", "--in", "{place}", *TRUE]),
    "a missing mount": (125, ["ENOENT", "{place}/none"], ["run", "-v", "{place}/none:/x", *TRUE]),
    "a mount over /proc": (125, ["/proc", "/data"], ["run", "-v", "{place}:/proc/x", *TRUE]),
    "a mount that goes up": (125, [".."], ["run", "-v", "{place}:/a/../b", *TRUE]),
    "a mount without a place": (125, ["SRC:DST"], ["run", "-v", "{place}", *TRUE]),
    "a missing environment file": (125, ["ENOENT"], ["run", "--env-file", "{place}/none", *TRUE]),
    "a missing root": (125, ["ENOENT", "{place}/none"], ["run", "--rootfs", "{place}/none", *TRUE]),
    "a file as root": (125, ["ENOTDIR"], ["run", "--rootfs", "/etc/passwd", *TRUE]),
    "a root without the program": (127, ["ENOENT", "/bin/true"], ["run", "--rootfs", "{place}", *TRUE]),
    "a missing working directory": (125, ["working directory", "ENOENT", "-w"], ["run", "-w", "/nowhere", *TRUE]),
    "a file out that leads up": (125, [".."], ["run", "--out", "../../etc/passwd:{place}/x", *TRUE]),
    "a file out that is not there": (125, ["ENOENT"], ["run", "--out", "none:{place}/x", *TRUE]),
    "a place for a file out that is not there": (125, ["ENOENT"], ["run", "--out", "f:{place}/no/x", "--", "/usr/bin/touch", "f"]),
    # Scripts of others.
    "a base directory that is not there": (125, ["base directory", "ENOENT", "{place}/none"], ["script", "--base", "{place}/none", "s.py"]),
    "a script that is not there": (127, ["s.py", "base directory"], ["script", "--base", "{place}", "s.py"]),
    "arguments from a file that is not there": (125, ["@{place}/none", "ENOENT"], ["script", "s.py", "--args-json", "@{place}/none"]),
    # Programs.
    "a missing program": (127, ["/no/such", "ENOENT"], ["run", "--", "/no/such"]),
    "a missing name": (127, ["nonesuch"], ["run", "--", "nonesuch"]),
    "a file that may not be executed": (126, ["EACCES", "mode"], ["run", "--", "/etc/hosts"]),
    "a directory": (126, ["EACCES"], ["run", "--", "/usr"]),
    "a missing script": (127, ["{place}/none.py"], ["python", "{place}/none.py"]),
    "a directory as script": (126, ["EISDIR"], ["python", "{place}"]),
    "a missing module": (1, [], ["python", "-m", "no_such_module"]),
    "a function of no module": (1, [], ["python", "-f", "no_such_module:f"]),
    "arguments that are not JSON": (125, ["--json-args"], ["python", "-f", "json:dumps", "--json-args", "nope"]),
    # The daemon.
    "no daemon": (125, ["hatcheryd"], ["run", "--socket", "/nowhere/hatchery.sock", *TRUE]),
    "something else than a daemon": (125, ["{place}"], ["run", "--socket", "{place}", *TRUE]),
    "a sandbox that is not there": (125, ["0123"], ["kill", "0123"]),
}


class BadInputTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def setUp(self):
        self.place = tempfile.mkdtemp(prefix="hatchery-bad-")
        os.chmod(self.place, 0o755)
        self.addCleanup(shutil.rmtree, self.place)

    def attempt(self, words, **options):
        words = [word.replace("{place}", self.place) for word in words]
        if "--socket" not in words and words[0] != "fly":
            words[1:1] = ["--socket", self.daemon.socket]
        return subprocess.run([HATCHERY, *words], cwd=self.place, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, **options)

    def children(self):
        pid = self.daemon.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return len(file.read().split())

    def test_a_line_of_an_environment_file_that_is_none_is_named_and_not_shown(self):
        file = Path(self.place, "variables")
        for line in ["two words", "export NAME=s3cret", "=s3cret"]:
            with self.subTest(line):
                file.write_text(f"# one\nA=1\n{line}\n")
                done = self.attempt(["run", "--env-file", str(file), *TRUE])
                self.assertEqual(done.returncode, 125)
                self.assertIn(f"line 3 of {file}", done.stderr)
                self.assertNotIn("s3cret", done.stderr)
        file.write_text("# one\n\nA=b c\r\nHATCHERY_NO_SUCH_VARIABLE\n")
        self.assertEqual(self.attempt(["run", "--env-file", str(file), "/usr/bin/env"]).stdout, "A=b c\n")

    def test_each_is_refused_by_the_contract(self):
        for name, (status, parts, words) in BAD.items():
            with self.subTest(name):
                done = self.attempt(words)
                self.assertEqual(done.returncode, status, done.stderr)
                for part in parts:
                    self.assertIn(part.replace("{place}", self.place), done.stderr)
                self.assertTrue(done.stderr.strip(), "it says nothing")
                # What of our own is refused is told with its mend, in a line of its own or as the usage.
                if status >= 125 and "hatchery: out:" not in done.stderr:
                    self.assertTrue("\n  " in done.stderr or "--help" in done.stderr, done.stderr)
                self.assertEqual(done.stdout, "")
        self.assertEqual(os.listdir(self.place), [])
        self.assertEqual(json.loads(self.daemon.run("ps", "--json").stdout), [])
        # exec, python, and one parked child of each: nothing else is alive.
        until(lambda: self.children() == 4)

    def test_what_cannot_be_written_is_no_success(self):
        for words in (["ps"], ["ps", "--json"], ["zygotes"], ["run", "--json", *TRUE], ["run", "--tail", "--output", "9", "--", "/bin/echo", "x"],
                      ["run", "--", "/bin/echo", "x"], ["doctor"]):
            with self.subTest(words):
                words = self.daemon.words(words[0], *words[1:])
                with open("/dev/full", "wb") as full:
                    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
                self.assertEqual(done.returncode, 125)
                self.assertIn("ENOSPC", done.stderr)
                # A reader that has gone is no error, and as silent as everywhere.
                reader, writer = os.pipe()
                os.close(reader)
                done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
                os.close(writer)
                self.assertEqual((done.returncode, done.stderr), (141, ""))

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody who may not read")
    def test_what_the_caller_may_not_read_is_not_read(self):
        os.chmod(self.place, 0o700)
        secret = Path(self.place, "secret")
        secret.write_text("s")
        nobody = ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        for words in [["--in", str(secret)], ["--stdin", str(secret)], ["-v", f"{self.place}:/x"], ["--rootfs", self.place],
                      ["--env-file", str(secret)]]:
            with self.subTest(words[0]):
                # The mount point itself can be named; what is in it cannot be entered by its owner's leave.
                words = [f"{self.place}/inner:/x" if word == f"{self.place}:/x" else word for word in words]
                words = [f"{self.place}/inner" if word == self.place else word for word in words]
                done = subprocess.run([*nobody, *self.daemon.words("run", *words, *TRUE)], cwd="/", stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 125, done.stderr)
                self.assertIn("EACCES", done.stderr)


if __name__ == "__main__":
    unittest.main()
