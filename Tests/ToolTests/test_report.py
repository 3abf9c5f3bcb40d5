"""The example does what its page says, on the shipped table and on one that it has never seen."""

import hashlib
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HEAD = "species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year"


class ReportTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_the_table_is_the_one_whose_source_is_named(self):
        digest = hashlib.sha256((EXAMPLES / "data/penguins.csv").read_bytes()).hexdigest()
        self.assertIn(digest, (EXAMPLES / "data/README.md").read_text(encoding="utf-8"))

    def test_the_penguins_give_groups_lines_and_a_plot(self):
        run = self.report(EXAMPLES / "data/penguins.csv")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("344 birds, 333 of them", run.stdout)
        self.assertRegex(run.stdout, r"Gentoo +Biscoe +male +61 ")
        self.assertIn("Plot: report.png", run.stdout)
        self.assertEqual((self.folder / "report.png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_an_exact_relation_of_unknown_birds_is_found(self):
        rows = [f"Emperor,Ross,80,20,{flipper},{50 * flipper - 100},male,2020" for flipper in (300, 310, 330)]
        table = self.folder / "penguins.csv"  # the default argument
        table.write_text("\n".join([HEAD, *rows, "King,Crozet,NA,NA,NA,NA,NA,2020"]))
        run = self.report()
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout, r"Emperor +3 +50\.00 +-100 +1\.000")

    def test_what_is_no_such_table_is_an_error_that_names_the_file(self):
        for text in ("", HEAD, "a,b\n1,2", HEAD + "\nEmperor,Ross,x,20,300,15000,male,2020"):
            with self.subTest(text):
                (self.folder / "penguins.csv").write_text(text)
                run = self.report()
                self.assertEqual(run.returncode, 1)
                self.assertTrue(run.stderr.startswith("report.py: penguins.csv: "), run.stderr)

    def report(self, *arguments):
        return subprocess.run(
            [sys.executable, EXAMPLES / "report.py", *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", check=False)


if __name__ == "__main__":
    unittest.main()
