"""examples/swift-lookup as somebody builds it who has the package alone: by itself, against the library product."""
import os, shutil, subprocess, unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


class SwiftExample(unittest.TestCase):
    def test_it_builds_by_itself_and_knows_what_it_is(self):
        found = subprocess.run([os.path.join(ROOT, "packaging/find-swift.sh")], capture_output=True, text=True)
        if found.returncode != 0:
            self.skipTest("no Swift toolchain")
        place = os.path.join(ROOT, ".build/swift-lookup")
        words = [found.stdout.strip(), "build", "--package-path", os.path.join(ROOT, "examples/swift-lookup"), "--scratch-path", place,
                 "--static-swift-stdlib"]
        built = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(built.returncode, 0, built.stdout[-4000:] + built.stderr[-4000:])
        done = subprocess.run([os.path.join(place, "debug/Lookup"), "100"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 125)
        self.assertIn("its handlers: factors, is-prime, largest, primes", done.stderr)
        # What the sandboxes do not have must not be needed.
        needed = subprocess.run(["ldd", os.path.join(place, "debug/Lookup")], capture_output=True, text=True).stdout
        self.assertNotIn("libswift", needed)
        self.assertNotIn("Foundation", needed)


if __name__ == "__main__":
    unittest.main()
