"""The line that closes test.sh says what the runners said."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COUNTER = Path(__file__).resolve().parents[2] / ".ci" / "count_tests.py"

XCTEST_NOTHING = "\t Executed 0 tests, with 0 failures (0 unexpected) in 0.0 (0.0) seconds\n"
SWIFT_MIXED = XCTEST_NOTHING + """\
➜ Suite D skipped: "no cgroup"
➜ Test skippedOne() skipped: "kernel lacks it"
✘ Test bad() recorded an issue at a.swift:3:20: Expectation failed: 1 == 2
➜ Test d1() skipped: "no cgroup"
✘ Test par(_:) with 3 test cases failed after 0.001 seconds with 1 issue.
printed without a newline✘ Test bad() failed after 0.001 seconds with 2 issues.
➜ Test cancelled() was cancelled after 0.001 seconds: "no landlock"
✔ Test "display name failed after 3 skipped" passed after 0.001 seconds.
━ Test known() passed after 0.002 seconds with 1 known issue.
✘ Suite S failed after 0.003 seconds with 1 issue.
✘ Test run with 9 tests in 3 suites failed after 0.003 seconds with 3 issues.
"""
SWIFT_GOOD = XCTEST_NOTHING + "✔ Test run with 1 test in 0 suites passed after 0.001 seconds.\n"
SWIFT_CRASHED = "◇ Test run started.\nerror: Exited with unexpected signal code 11\n"


def python_log(tests, verdict):
    return f"test_x ... ok\n\n------\nRan {tests} tests in 0.013s\n\n{verdict}\n"


class CountTests(unittest.TestCase):
    def test_swift_failures_skips_and_cancellations_are_told_apart(self):
        self.assert_closes("4 passed, 2 failed, 3 skipped", False, ("swift", 1, SWIFT_MIXED))

    def test_the_runners_are_added_up(self):
        python_run = ("python", 0, python_log(9, "OK (skipped=2)"))
        self.assert_closes("8 passed, 0 failed, 2 skipped", True, ("swift", 0, SWIFT_GOOD), python_run)

    def test_python_failures_errors_and_unexpected_successes_are_failures(self):
        verdict = "FAILED (failures=1, errors=2, skipped=1, expected failures=4, unexpected successes=1)"
        self.assert_closes("5 passed, 4 failed, 1 skipped", False, ("python", 1, python_log(10, verdict)))

    def test_a_run_that_broke_off_is_a_failure(self):
        self.assert_closes("0 passed, 1 failed, 0 skipped", False, ("swift", 1, SWIFT_CRASHED))
        self.assert_closes("1 passed, 1 failed, 0 skipped", False, ("swift", 0, SWIFT_GOOD), ("python", 0, "gone"))

    def test_a_bad_status_is_a_failure_though_no_test_is_named(self):
        self.assert_closes("2 passed, 1 failed, 0 skipped", False, ("python", 1, python_log(3, "OK")))

    def test_the_last_line_of_a_bed_of_probes_counts(self):
        log = "Probes: 300 passed, 0 failed, 9 skipped\n==> again\nProbes: 600 passed, {} failed, 18 skipped\n"
        self.assert_closes("600 passed, 0 failed, 18 skipped", True, ("probes", 0, log.format(0)))
        self.assert_closes("600 passed, 2 failed, 18 skipped", False, ("probes", 1, log.format(2)))
        self.assert_closes("0 passed, 1 failed, 0 skipped", False, ("probes", 1, "==> broke off\n"))

    def test_a_run_of_no_test_is_a_failure(self):
        self.assert_closes("0 passed, 1 failed, 0 skipped", False, ("python", 0, python_log(0, "OK")))
        self.assert_closes("0 passed, 1 failed, 0 skipped", False, ("python", 5, python_log(0, "NO TESTS RAN")))
        nothing = XCTEST_NOTHING + "✔ Test run with 0 tests in 0 suites passed after 0.001 seconds.\n"
        self.assert_closes("0 passed, 1 failed, 0 skipped", False, ("swift", 0, nothing))

    def test_a_run_of_skips_only_is_not_a_success(self):
        self.assert_closes("0 passed, 0 failed, 3 skipped", False, ("python", 0, python_log(3, "OK (skipped=3)")))

    def test_xctest_counts_too(self):
        log = SWIFT_GOOD.replace("Executed 0 tests, with 0", "Executed 5 tests, with 1 test skipped and 1")
        self.assert_closes("4 passed, 1 failed, 1 skipped", False, ("swift", 1, log))

    def test_a_bed_counts_as_its_tests_or_as_one_skip(self):
        run = ("swift", 0, SWIFT_GOOD)
        self.assert_closes("2 passed, 0 failed, 0 skipped", True, run, ("bed", 0, "booting\n" + SWIFT_GOOD))
        suites = SWIFT_GOOD + "Probes: 5 passed, 0 failed, 2 skipped\nProbes: 4 passed, 0 failed, 1 skipped\n"
        self.assert_closes("11 passed, 0 failed, 3 skipped", True, run, ("bed", 0, suites))
        self.assert_closes("1 passed, 0 failed, 1 skipped", True, run, ("bed", 77, "skipped: no emulator\n"))
        self.assert_closes("1 passed, 1 failed, 0 skipped", False, run, ("bed", 1, "booting\n"))

    def test_where_all_must_work_a_bed_that_cannot_is_a_failure(self):
        run = ("swift", 0, SWIFT_GOOD)
        self.assert_closes(
            "1 passed, 1 failed, 0 skipped", False, run, ("bed", 77, "skipped: no emulator\n"), must_work="1")

    def assert_closes(self, closing_line, succeeds, *runs, must_work="0"):
        with tempfile.TemporaryDirectory() as folder:
            arguments = []
            for number, (kind, status, text) in enumerate(runs):
                log = Path(folder, f"{number}.log")
                log.write_text(text, encoding="utf-8")
                arguments.append(f"{kind}:{status}:{log}")
            result = subprocess.run(
                [sys.executable, COUNTER, *arguments], capture_output=True, encoding="utf-8", check=False,
                env={**os.environ, "MUST_WORK": must_work})
        self.assertEqual(result.stdout.splitlines()[-1], closing_line, result.stderr)
        self.assertEqual(result.returncode == 0, succeeds)


if __name__ == "__main__":
    unittest.main()
