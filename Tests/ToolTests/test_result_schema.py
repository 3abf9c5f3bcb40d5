"""Docs/Schemas/run-result.schema.json against real results: every verdict, both kinds of zygote, and results made wrong."""
import copy, json, os, signal, subprocess, tempfile, time, unittest

import jsonschema

from daemon import SOURCES, Daemon, until

with open(SOURCES / "Docs/Schemas/run-result.schema.json") as file:
    SCHEMA = json.load(file)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# `int $0x80` with no number worth anything: another architecture's entry, at which the policy kills.
DENIED = """import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""

RUNS = {  # verdict: options and code, where the run brings about its own end
    "exited": [([], "print('fine'); raise SystemExit(3)"), (["--out", "none:/nowhere/x"], "import os; os.write(1, b'\\xff')"),
               (["--output", "5"], "print('x' * 100)"), (["--stdin", "/etc/hostname"], "pass"), (["-t"], "print(1)")],
    "signaled": [([], "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), ([], "import os; os.abort()"),
                 ([], "import os; os.kill(os.getpid(), 34)"), ([], "import os; os.kill(os.getpid(), 64)")],
    "timed_out": [(["--time", "1"], "import time; print('so far', flush=True); time.sleep(100)")],
    "cpu_limit": [(["--cpu-time", "1"], "while True: pass")],
    "memory_limit": [(["--memory", "64M"], "import time\nkeep = []\nwhile True: keep.append(bytearray(1 << 20))")],
    "syscall_denied": [([], DENIED)],
    "stdin_stalled": [(["--stdin", "/usr/bin/python3", "--stdin-time", "1"], "import time; time.sleep(100)")],
    "setup_failed": [(["--memory", "900G"], "pass"), (["-w", "/nowhere"], "pass"), (["--zygote", "none"], "pass")],
}


class ResultSchemaTests(unittest.TestCase):
    seen = {}

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def words(self, zygote, options, code):
        if zygote == "python":
            return self.daemon.words("python", "--json", *options, "-c", code)
        return self.daemon.words("run", "--json", *options, "--", "/usr/bin/python3", "-c", code)

    def check(self, output, verdict):
        self.assertEqual(output.count(b"\n"), 1, "one object on one line")
        result = json.loads(output)
        self.assertEqual(result["verdict"], verdict, result)
        problems = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in VALIDATOR.iter_errors(result)]
        self.assertEqual(problems, [])
        return result

    def test_the_schema_is_one(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_results_of_runs_that_end_by_themselves_or_by_a_limit(self):
        for verdict, runs in RUNS.items():
            for options, code in runs:
                for zygote in ["run", "python"]:
                    if "--zygote" in options and zygote == "python":
                        continue
                    with self.subTest(verdict, zygote=zygote, code=code[:40]):
                        done = subprocess.run(
                            self.words(zygote, options, code), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
                        self.check(done.stdout, verdict)

    def test_a_missing_program_is_a_result_too(self):
        done = self.daemon.run("run", "--json", "--", "/no/such")
        self.assertEqual(done.returncode, 127)
        self.check(done.stdout, "setup_failed")

    def begin(self, daemon, zygote):
        with tempfile.TemporaryFile() as output:
            code = "import time; print('begun', flush=True); time.sleep(100)"
            process = subprocess.Popen(
                self.words(zygote, [], code) if daemon is self.daemon else daemon.words("run", "--json", "/bin/sleep", "100"),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL)
            until(lambda: daemon.run("ps").stdout.count(b"\n") > 1)
            yield process
            process.wait(30)
            output.seek(0)
            yield output.read()

    def test_cancelled_by_an_interrupt(self):
        for zygote in ["run", "python"]:
            with self.subTest(zygote):
                steps = self.begin(self.daemon, zygote)
                next(steps).send_signal(signal.SIGINT)
                self.check(next(steps), "cancelled")

    def test_lost_with_the_daemon(self):
        with Daemon() as daemon:
            steps = self.begin(daemon, "run")
            next(steps)
            daemon.process.send_signal(signal.SIGKILL)
            self.check(next(steps), "lost")

    def test_no_daemon_at_all(self):
        done = subprocess.run(
            [*self.daemon.words("run")[:2], "--socket", "/nowhere/sock", "--json", "/bin/true"], capture_output=True, timeout=30)
        self.check(done.stdout, "lost")
        self.assertEqual(done.returncode, 125)

    def test_a_result_made_wrong_is_told_apart(self):
        good = self.check(self.daemon.run("run", "--json", "--", "/bin/true").stdout, "exited")
        wrong = [("verdict", "ended"), ("exit_code", None), ("exit_code", 256), ("signal", 9), ("stdout", None), ("extra", 1),
                 ("stdin_written", 1), ("stdout_base64", "=x"), ("files", [{}]), ("stderr_truncated_bytes", -1)]
        for name, value in wrong:
            bad = copy.deepcopy(good)
            bad[name] = value
            self.assertFalse(VALIDATOR.is_valid(bad), (name, value))
        for name in good:
            bad = copy.deepcopy(good)
            del bad[name]
            self.assertFalse(VALIDATOR.is_valid(bad), name)
        for group in ["usage", "spawn", "evidence", "receipt"]:
            for name in good[group]:
                bad = copy.deepcopy(good)
                del bad[group][name]
                self.assertFalse(VALIDATOR.is_valid(bad), (group, name))

    def test_the_names_are_those_of_the_code(self):
        for path, place in [("Verdict.swift", SCHEMA["properties"]["verdict"]["enum"]), ("Layer.swift", SCHEMA["$defs"]["layer"]["enum"])]:
            text = (SOURCES / "Sources/HatcheryProtocol" / path).read_text()
            names = [line.split('"')[1] for line in text.splitlines() if line.strip().startswith("case .") and '"' in line]
            self.assertEqual(sorted(names), sorted(place))


if __name__ == "__main__":
    unittest.main()
