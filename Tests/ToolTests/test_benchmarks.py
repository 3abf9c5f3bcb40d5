"""The benchmarks' program, on a daemon of the tests: what it prints has the shape that Docs/Performance.md shows. No figure is looked at."""
import os, re, subprocess, unittest

from daemon import SOURCES, Daemon

PROGRAM = SOURCES / "Benchmarks/.build/debug/hatchery-benchmarks"
CONFIGURATION = """
zygotes:
  - {name: exec, kind: exec, nursery: {min: 8, max: 8}}
  - {name: exec-miss, kind: exec, nursery: {min: 0, max: 0}}
profiles:
  default: {}
"""


@unittest.skipUnless(PROGRAM.exists(), "the benchmarks are not built: `swift build --package-path Benchmarks`")
class BenchmarkTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIGURATION)
        cls.enterClassContext(cls.daemon)

    def measured(self, *words):
        done = subprocess.run([str(PROGRAM), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_lives_are_counted_and_hits_among_them(self):
        text = self.measured("lives", "--socket", self.daemon.socket, "--zygote", "exec-miss", "--seconds", "1")
        self.assertRegex(text, r"^\d+ lives/s, 0 hits of [1-9]\d*; p50: hand-off \d+ us \(p90 \d+\)")

    def test_spawns_beside_hundreds_of_live_children(self):
        text = self.measured("live", "--socket", self.daemon.socket, "--quick")
        rows = re.findall(r"^(\d+) live: request -> pid in hand +100 ", text, re.M)
        self.assertEqual(rows, ["10", "300"])
        self.assertRegex(text, r"300 <= 1\.25 times that at 10: \d+\.\d+ (met|MISSED)")
        # All of them end with the benchmark.
        listing = self.daemon.run("ps", "--json").stdout.decode().strip()
        self.assertEqual(listing, "[]")


if __name__ == "__main__":
    unittest.main()
