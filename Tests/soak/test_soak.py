"""The soak for a while, and the soak with something left behind on purpose, which it must find.

SOAK_SECONDS says how long (300); an hour is SOAK_SECONDS=3600.
"""

import os
import subprocess
import sys
import unittest
from pathlib import Path

SOAK = str(Path(__file__).with_name("soak.py"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))


class SoakTests(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("the namespaces that make counting exact need root")

    def soak(self, seconds, *words):
        return subprocess.run([sys.executable, SOAK, "--seconds", str(seconds), *words], capture_output=True, text=True,
                              timeout=seconds + 900)

    def test_nothing_is_wrong_and_nothing_is_left(self):
        result = self.soak(SECONDS)
        print(result.stdout)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn(" 0 violations", result.stdout)

    def test_what_is_left_behind_is_found(self):
        for what in ("process", "descriptor", "mount", "file"):
            with self.subTest(what):
                result = self.soak(1, "--seed", "1", "--plant", what, "--patience", "3", "--quiet")
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn("left behind", result.stdout)
                if what == "descriptor":
                    self.assertRegex(result.stdout, r"'socket of hatchery.sock'\): \(1, 9\)", "told by what they are")
                    self.assertRegex(result.stdout, r"hatcheryd: descriptor [0-9]+: socket:\[[0-9]+\]")


if __name__ == "__main__":
    unittest.main()
