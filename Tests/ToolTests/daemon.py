"""A private daemon of the built tree, for tests that go through the command line."""
import os, shutil, subprocess, tempfile, time
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("HATCHERY_BIN", SOURCES / ".build/debug"))
HATCHERY = str(BINARIES / "hatchery")

CONFIGURATION = """
zygotes:
  - {name: exec, kind: exec, nursery: {min: 1, max: 4}}
  - {name: python, kind: python, interpreter: /usr/bin/python3, preload: [json], nursery: {min: 1, max: 4}}
profiles:
  default: {limits: {wall: {default: 20s}, memory: {default: 256M, max: 1G}, pids: {default: 64, max: 128}}}
"""


class Daemon:
    """Started on entry, ended on exit, with everything that it made."""

    def __init__(self, configuration=CONFIGURATION):
        self.configuration = configuration

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="hatchery-tool-")
        os.chmod(self.directory, 0o755)
        self.socket = self.directory + "/hatchery.sock"
        file = self.directory + "/hatchery.yaml"
        text = self.configuration + f'\nidle_exit: 3m\nsocket: {{path: {self.socket}, mode: "0666"}}\n'
        Path(file).write_text(text)
        reader, writer = os.pipe()
        with open(self.directory + "/log", "wb") as log:
            self.process = subprocess.Popen(
                [str(BINARIES / "hatcheryd"), "--config", file, "--ready-fd", str(writer)], pass_fds=[writer],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # Where the programs are is the tests' affair; the daemon would take the variable for one of its keys.
                env={name: value for name, value in os.environ.items() if name != "HATCHERY_BIN"})
        os.close(writer)
        with open(reader) as ready:
            answer = ready.read()
        if answer != "ready\n":
            self.__exit__()
            raise RuntimeError(f"hatcheryd: {answer}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def words(self, verb, *words):
        """The command line of a verb at this daemon."""
        return [HATCHERY, verb, "--socket", self.socket, *words]

    def run(self, verb, *words, **options):
        """Runs a verb to its end: a CompletedProcess with bytes."""
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 60, **options}
        return subprocess.run(self.words(verb, *words), **options)


def until(condition, seconds=30):
    """Waits for what must come; the time is only for things that went wrong."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not come")
        time.sleep(0.01)
    return value
