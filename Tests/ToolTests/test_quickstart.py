"""quickstart.sh, with stand-ins for the binaries: what it starts, reuses, hands on and refuses."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The name of the file is the name of the process, as with the real one.
DAEMON = """#!/bin/bash
[ ! -e "$STUB/dies" ] || { echo "no namespaces here"; exit 1; }
echo started >>"$STUB/starts"
trap 'rm -f "$STUB/up"; exit 0' TERM
touch "$STUB/up"
while sleep 0.05; do :; done
"""
CLIENT = """#!/bin/bash
[ -e "$STUB/up" ] || exit 125
[ "$1" = zygotes ] && exit 0
case " $* " in *" --json "*) ;; *) exit 0 ;; esac
printf '%s\\n' "$@" >"$STUB/arguments"
cat "$STUB/result.json"
exit "$(cat "$STUB/status")"
"""
RESULT = {
    "verdict": "exited", "exit_code": 0, "signal": None, "signal_name": None,
    "stdout": "hello\n", "stderr": "", "stdout_truncated_bytes": 0, "stderr_truncated_bytes": 0,
    "usage": {"wall_seconds": 0.5, "cpu_seconds": 0.25, "peak_memory_bytes": 3 * 1024 * 1024, "peak_pids": 1},
    "evidence": {"limit": None, "observed": None, "violations": []},
    "spawn": {"zygote": "python", "generation": 1, "nursery_hit": True, "spawn_seconds": 0.00021, "pid": 7, "id": "x"},
    "receipt": {"active": ["userns", "pidns"], "missing": [{"layer": "landlock", "why": "the kernel has none"}]},
    "files": [],
}


class QuickstartTests(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="quickstart-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.project, self.stub = self.folder / "project", self.folder / "stub"
        self.runtime, self.work = self.folder / "runtime", self.folder / "work"
        for folder in (self.project / "Sources", self.project / "packaging", self.stub, self.runtime, self.work):
            folder.mkdir(parents=True)
        shutil.copy(ROOT / "quickstart.sh", self.project)
        shutil.copytree(ROOT / "examples", self.project / "examples")
        self.write(self.project / "Package.swift", "")
        self.write(self.project / "packaging/install-missing.sh", "#!/bin/sh\n")
        self.write(self.project / "packaging/find-swift.sh", "#!/bin/sh\necho 'how to get Swift' >&2\nexit 1\n")
        self.binaries = self.project / ".build/release"
        for name, text in {"hatchery": CLIENT, "hatcheryd": DAEMON, "hatchery-zygote": "",
                           "libhatchery-python.so": "", ".quickstart-built": ""}.items():
            self.write(self.binaries / name, text)
        self.set_result()
        self.addCleanup(self.quickstart, "--stop")

    def test_a_second_call_reuses_the_daemon(self):
        first, again = self.quickstart(), self.quickstart()
        self.assertEqual((first.returncode, again.returncode), (0, 0), first.stderr)
        self.assertIn("Daemon: running", again.stdout)
        self.assertEqual(self.starts(), 1)

    def test_new_binaries_get_a_new_daemon(self):
        self.quickstart()
        os.utime(self.binaries / ".quickstart-built")
        self.quickstart()
        self.assertEqual(self.starts(), 2)

    def test_stop_ends_the_daemon_and_may_be_repeated(self):
        self.quickstart()
        self.assertTrue((self.stub / "up").exists())
        self.assertEqual(self.quickstart("--stop").returncode, 0)
        self.assertFalse((self.stub / "up").exists())
        self.assertEqual(self.quickstart("--stop").returncode, 0)

    def test_the_default_run_reads_the_penguins_and_brings_out_the_plot(self):
        (self.work / "report.png").write_text("of an earlier run")
        run = self.quickstart()
        self.assertEqual(run.returncode, 0, run.stderr)
        arguments = self.arguments()
        self.assertIn(str(self.project / "examples/data/penguins.csv"), arguments)
        self.assertIn(f"report.png:{self.work}/report.png", arguments)
        self.assertEqual(arguments[-1], str(self.project / "examples/report.py"))
        self.assertIn("report.png: No such file or directory", run.stdout)  # the earlier one is not shown as this run's

    def test_the_result_is_printed_for_people(self):
        printed = self.quickstart().stdout
        for part in ("hello\n", "exited, exit code 0", "0.21 ms, parked ahead of time", "2 active: userns pidns",
                     "landlock: the kernel has none", "3 MiB"):
            self.assertIn(part, printed)

    def test_a_script_of_ones_own_gets_its_arguments_unchanged_and_no_files(self):
        self.write(self.work / "my own.py", "")
        self.quickstart("my own.py", "--time", "a b", "", options="--memory 1G")
        arguments = self.arguments()
        self.assertEqual(arguments[-4:], ["my own.py", "--time", "a b", ""])
        self.assertEqual(arguments[arguments.index("--memory") + 1], "1G")
        self.assertNotIn("--out", arguments)

    def test_the_exit_status_is_the_scripts(self):
        self.set_result(status=3, exit_code=3, stderr="Traceback\n")
        run = self.quickstart()
        self.assertEqual(run.returncode, 3)
        self.assertIn("Traceback", run.stdout)

    def test_no_result_is_never_a_success(self):
        self.write(self.stub / "result.json", "")
        self.assertEqual(self.quickstart().returncode, 125)

    def test_a_daemon_that_dies_at_its_start_is_reported_with_its_log(self):
        self.write(self.stub / "dies", "")
        run = self.quickstart()
        self.assertEqual(run.returncode, 125)
        self.assertIn("no namespaces here", run.stderr)

    def test_edited_sources_are_built_again_and_a_missing_toolchain_says_how_to_get_it(self):
        self.write(self.project / "Sources/new.swift", "")
        run = self.quickstart(path=self.tools_without_docker())
        self.assertEqual(run.returncode, 125)
        self.assertIn("how to get Swift", run.stderr)

    def test_a_state_directory_behind_a_link_is_refused(self):
        (self.runtime / "hatchery-quickstart").symlink_to(self.work)
        run = self.quickstart()
        self.assertEqual(run.returncode, 125)
        self.assertIn("not a directory of this user", run.stderr)
        self.assertEqual(list(self.work.iterdir()), [])

    def test_state_is_private(self):
        self.quickstart()
        self.assertEqual((self.runtime / "hatchery-quickstart").stat().st_mode & 0o777, 0o700)

    def quickstart(self, *arguments, options="", path=None):
        environment = {
            "PATH": path or "/usr/bin:/bin", "STUB": str(self.stub), "XDG_RUNTIME_DIR": str(self.runtime),
            "QUICKSTART_OPTIONS": options, "HOME": str(self.folder)}
        return subprocess.run(
            [self.project / "quickstart.sh", *arguments], cwd=self.work, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", timeout=60, check=False)

    def tools_without_docker(self):
        folder = self.folder / "tools"
        folder.mkdir()
        for name in ("bash", "sh", "dirname", "find", "mkdir", "touch", "cat"):
            (folder / name).symlink_to(shutil.which(name))
        return str(folder)

    def set_result(self, status=0, **changes):
        self.write(self.stub / "result.json", json.dumps({**RESULT, **changes}))
        self.write(self.stub / "status", str(status))

    def arguments(self):
        return (self.stub / "arguments").read_text().split("\n")[:-1]

    def starts(self):
        return len((self.stub / "starts").read_text().splitlines())

    def write(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


if __name__ == "__main__":
    unittest.main()
