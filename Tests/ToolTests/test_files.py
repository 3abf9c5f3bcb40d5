"""`--in`, `--out` and `--plots` through the command line, with programs that leave what nobody expects."""
import json, os, shutil, stat, subprocess, tempfile, time, unittest
from pathlib import Path

from daemon import CONFIGURATION, HATCHERY, Daemon

NOBODY = 65534


class FilesTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.enterClassContext(cls.daemon)

    def setUp(self):
        self.place = Path(tempfile.mkdtemp(prefix="hatchery-files-"))
        self.addCleanup(shutil.rmtree, self.place)

    def out(self, code, *options, user=None, verb="run", program=("/usr/bin/python3", "-c")):
        """Runs Python code with options; the result as an object, and the exit status."""
        words = self.daemon.words(verb, "--json", *options, *(["--"] if verb == "run" else []), *program, code)
        prefix = []
        if user is not None:
            os.chown(self.place, user, user)
            prefix = ["/usr/bin/setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
        done = subprocess.run(prefix + words, cwd=self.place, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertTrue(done.stdout, done.stderr)
        return json.loads(done.stdout), done.returncode, done.stderr.decode()

    TREE = """if True:
        import os
        os.makedirs("t/a/b", mode=0o700)
        open("t/a/b/private", "w").write("mine"); os.chmod("t/a/b/private", 0o600); os.chmod("t/a", 0o700)
        with open("t/hole", "wb") as f: f.truncate(1 << 28); f.seek(1 << 27); f.write(b"middle")
        os.makedirs(b"t/odd"); open(b"t/odd/new\\nline", "w").write("1"); open(b"t/odd/\\xff\\x1b[31m", "w").write("2")
        open("t/run.sh", "w").write("#!/bin/sh"); os.chmod("t/run.sh", 0o755)
        """

    def test_a_directory_comes_out_whole_for_any_user_that_may_use_the_daemon(self):
        for user in [None] + ([NOBODY] if os.geteuid() == 0 else []):
            with self.subTest(user=user):
                result, status, errors = self.out(self.TREE, "--out", f"t:{self.place}/copy", user=user)
                self.assertEqual((result["exit_code"], status), (0, 0), errors + result["stderr"])
                copy = self.place / "copy"
                self.assertEqual((copy / "a/b/private").read_text(), "mine")
                self.assertEqual(sorted(os.listdir(os.fsencode(copy / "odd"))), [b"new\nline", b"\xff\x1b[31m"])
                hole = (copy / "hole").stat()
                self.assertEqual(hole.st_size, 1 << 28)
                self.assertLess(hole.st_blocks * 512, 1 << 20)
                with open(copy / "hole", "rb") as file:
                    file.seek(1 << 27)
                    self.assertEqual(file.read(6), b"middle")
                modes = {stat.S_IMODE(path.stat().st_mode) for path in copy.rglob("*") if path.is_file()}
                self.assertEqual(modes, {0o644})
                self.assertEqual(stat.S_IMODE((copy / "a").stat().st_mode), 0o755)
                self.assertEqual(len(result["files"]), 1)
                self.assertEqual(sorted(os.listdir(self.place)), ["copy"])
                shutil.rmtree(copy)

    def test_what_is_neither_file_nor_directory_is_left_out_and_told(self):
        result, status, errors = self.out("""if True:
            import os, socket
            os.mkdir("t"); open("t/file", "w").write("x")
            os.symlink("/etc/passwd", "t/out"); os.symlink("file", "t/in"); os.symlink("..", "t/up")
            os.mkfifo("t/fifo"); socket.socket(socket.AF_UNIX).bind("t/socket")
            os.symlink("x", "t/\\x1b[2Jevil")
            """, "--out", f"t:{self.place}/copy")
        self.assertEqual(result["exit_code"], 0, result["stderr"])
        self.assertEqual(os.listdir(self.place / "copy"), ["file"])
        told = {entry["path"]: entry["error"] for entry in result["files"][1:]}
        self.assertEqual(sorted(told), ["t/\\x1b[2Jevil", "t/fifo", "t/in", "t/out", "t/socket", "t/up"])
        self.assertIn("symbolic link", told["t/out"])
        self.assertIsNone(result["files"][0]["error"])
        self.assertEqual(status, 125)  # asked for, and not all of it came
        self.assertNotIn("\x1b", errors)

    def test_a_link_or_a_fifo_at_the_path_itself_is_refused(self):
        for make in ["os.symlink('/etc/passwd', 't')", "os.symlink('/tmp', 't')", "os.mkfifo('t')"]:
            with self.subTest(make):
                result, status, _ = self.out(f"import os; {make}", "--out", f"t:{self.place}/copy")
                self.assertEqual(status, 125)
                self.assertTrue(result["files"][0]["error"])
                self.assertEqual(os.listdir(self.place), [])

    def test_a_tree_beyond_the_limits_leaves_nothing(self):
        deep = "import os\nfor _ in range(40): os.mkdir('t'); os.chdir('t')"
        many = "import os\nos.mkdir('t')\nfor n in range(10050): open(f't/{n}', 'w')"
        large = "import os\nos.mkdir('t')\nwith open('t/f', 'w') as f: f.truncate(200 << 30)"
        for code in [deep, many, large]:
            with self.subTest(code):
                result, status, _ = self.out(code, "--out", f"t:{self.place}/copy", "--disk", "256M")
                if result["exit_code"] != 0:  # RLIMIT_FSIZE refused the large one already
                    self.assertIn("File too large", result["stderr"])
                    continue
                self.assertEqual(status, 125)
                self.assertIn("EFBIG", result["files"][0]["error"])
                self.assertEqual(os.listdir(self.place), [])

    def test_what_stands_at_the_destination_is_not_harmed(self):
        (self.place / "full").mkdir()
        (self.place / "full/mine").write_text("old")
        (self.place / "file").write_text("old")
        (self.place / "empty").mkdir()
        os.symlink("/tmp", self.place / "link")
        code = "import os; os.mkdir('t'); open('t/new', 'w')"
        for name, came in [("full", False), ("file", False), ("link", False), ("empty", True)]:
            with self.subTest(name):
                result, status, _ = self.out(code, "--out", f"t:{self.place}/{name}")
                self.assertEqual(result["files"][0]["error"] is None, came, result["files"])
        self.assertEqual((self.place / "full/mine").read_text(), "old")
        self.assertEqual((self.place / "file").read_text(), "old")
        self.assertEqual(os.listdir(self.place / "empty"), ["new"])
        self.assertEqual(sorted(os.listdir(self.place)), ["empty", "file", "full", "link"])

    def test_partial_work_comes_out_after_a_time_limit_too(self):
        code = "import os, time; os.mkdir('t'); open('t/part', 'w').write('x' * 9); print('made', flush=True); time.sleep(1000)"
        result, status, _ = self.out(code, "--out", f"t:{self.place}/copy", "--time", "3")
        self.assertEqual((result["verdict"], status, result["stdout"]), ("timed_out", 124, "made\n"))
        self.assertEqual((self.place / "copy/part").read_text(), "x" * 9)

    PLOT = "import matplotlib.pyplot as p\np.plot([1, 2]); p.figure(); p.figure(7); p.close(2)\n"

    def plots(self, code, *options):
        return self.out(code, "--plots", f"{self.place}/figures", *options, verb="python", program=("-c",))

    def test_figures_left_open_are_saved_however_the_script_ends(self):
        for end, status in [("", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1), ("import sys; sys.exit('no')", 1)]:
            with self.subTest(end):
                result, code, errors = self.plots(self.PLOT + end)
                self.assertEqual(code, status, errors + result["stderr"])
                self.assertEqual(sorted(os.listdir(self.place / "figures")), ["figure-1.png", "figure-7.png"])
                for file in result["files"]:
                    self.assertIsNone(file["error"])
                    self.assertTrue(Path(file["destination"]).read_bytes().startswith(b"\x89PNG"))
                shutil.rmtree(self.place / "figures")

    def test_a_script_that_draws_nothing_leaves_nothing_and_imports_nothing(self):
        result, status, _ = self.plots("import sys, atexit\natexit.register(lambda: print('matplotlib' in sys.modules))")
        self.assertEqual((result["stdout"], result["files"], status), ("False\n", [], 0))
        self.assertEqual(os.listdir(self.place), [])

    def test_only_figures_come_out_of_the_place_for_figures(self):
        result, status, _ = self.plots(self.PLOT + """if True:
            import os
            os.makedirs("/tmp/.hatchery-plots"); os.chdir("/tmp/.hatchery-plots")
            for name in [".bashrc", "figure-01.png", "figure-9.png.sh", "figure--1.png"]: open(name, "w")
            os.symlink("/etc/passwd", "figure-3.png")
            """)
        self.assertEqual(sorted(os.listdir(self.place / "figures")), ["figure-1.png", "figure-7.png"])
        self.assertEqual([bool(file["error"]) for file in result["files"]], [False, True, False])
        self.assertEqual(status, 125)

    def test_plots_are_pythons(self):
        done = self.daemon.run("run", "--plots", "x", "--", "/bin/true")
        self.assertEqual(done.returncode, 125)


if __name__ == "__main__":
    unittest.main()
