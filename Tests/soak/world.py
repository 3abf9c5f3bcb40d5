"""Where the soak happens: a pid, mount and network namespace of its own, so that every process, mount and descriptor in sight is
the daemon's or a client's, and counting them is exact."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("HATCHERY_BIN", ROOT / ".build/debug"))
HATCHERY, HATCHERYD = str(BINARIES / "hatchery"), str(BINARIES / "hatcheryd")
PARKED = 2
CONFIGURATION = """
socket: {{path: {folder}/hatchery.sock, mode: "0600"}}
drain: 0s
zygotes:
  - {{name: exec, kind: exec, nursery: {{min: {parked}, max: {parked}}}}}
  - {{name: python, kind: python, interpreter: /usr/bin/python3, preload: [json], nursery: {{min: {parked}, max: {parked}}}}}
profiles:
  default: {{limits: {{wall: {{default: 60s}}, memory: {{default: 256M}}, pids: {{default: 64}}}}}}
"""


def is_enclosed():
    return os.getpid() == 1


def become_init():
    """Goes on in a child, while this process, the first of its namespace, reaps what others leave to it. Its end ends all."""
    child = os.fork()
    while child:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def enclose(arguments):
    """Starts this program again in namespaces of its own; its exit status is ours."""
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", *arguments]
    os.execvp(command[0], command)


def processes():
    """{pid: (parent, name, state)} of everything in sight but this process and its init, zombies too."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (1, os.getpid()):
            continue
        try:
            text = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        found[int(entry)] = (int(rest[1]), name, rest[0])
    return found


def namespaces():
    found = set()
    for pid in processes():
        for kind in ("net", "mnt", "user", "pid", "ipc", "uts", "cgroup"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                pass
    return len(found)


def cgroup_mount():
    for line in Path("/proc/self/mounts").read_text().split("\n"):
        fields = line.split()
        if len(fields) > 3 and fields[2] == "cgroup2" and "rw" in fields[3].split(",") and os.access(fields[1], os.W_OK):
            return Path(fields[1])
    return None


class Daemon:
    """hatcheryd, killed and started again at will; what it has open is looked at from outside."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.socket = str(self.folder / "hatchery.sock")
        self.file = self.folder / "hatchery.yaml"
        text = CONFIGURATION.format(folder=folder, parked=PARKED)
        mount = cgroup_mount()
        self.cgroup = mount / f"soak-of-hatchery-{os.urandom(4).hex()}" if mount else None
        if self.cgroup:
            self.cgroup.mkdir()
            text += f"cgroup: {{path: {self.cgroup}}}\n"
        self.file.write_text(text)
        self.process = None
        self.start()

    def start(self):
        ready, answer = os.pipe()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [HATCHERYD, "--config", str(self.file), "--ready-fd", str(answer)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, pass_fds=[answer], env={"PATH": "/usr/bin:/bin"})
        os.close(answer)
        with os.fdopen(ready) as answers:
            text = answers.read()
        if text != "ready\n":
            raise RuntimeError(f"hatcheryd does not start: {text}\n{self.log()[-2000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        if self.cgroup:
            for folder in sorted(self.cgroup.rglob("*"), reverse=True):
                if folder.is_dir():
                    folder.rmdir()
            self.cgroup.rmdir()
        return status

    def ask(self, *words, timeout=30):
        return subprocess.run([HATCHERY, words[0], "--socket", self.socket, *words[1:]], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, cwd="/")

    def zygotes(self):
        return json.loads(self.ask("zygotes", "--json").stdout)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def cgroups(self):
        """Those with none below: how many groups the others lie in says nothing."""
        if not self.cgroup:
            return 0
        folders = [path for path in self.cgroup.rglob("*") if path.is_dir()]
        return len(set(folders) - {folder.parent for folder in folders})


def wait_for(question, patience):
    """The first true answer, or the last false one."""
    end = time.monotonic() + patience
    while True:
        answer = question()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(0.05)
