"""A hatcheryd of the tests, as an operator would run it: its configuration, its socket, its log, and an end in any case."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("HATCHERY_BIN", ROOT / ".build/debug"))
HATCHERYD = str(BINARIES / "hatcheryd")
HATCHERY = str(BINARIES / "hatchery")
PATIENCE = 60  # seconds: for what must come, on a machine that has other things to do


def wait_for(question, what, patience=PATIENCE):
    """The first true answer."""
    end = time.monotonic() + patience
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {patience} s")
        time.sleep(0.02)


def as_user(uid):
    return ["/usr/bin/setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]


class NotifySocket:
    """What a service manager hears: the datagrams that came to NOTIFY_SOCKET."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.messages = []  # (sender's pid, lines)

    def receive(self, patience):
        self.socket.settimeout(patience)
        data, ancillary, _, _ = self.socket.recvmsg(65536, 1024)
        pid = next(int.from_bytes(value[:4], "little") for level, kind, value in ancillary
                   if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS)
        self.messages.append((pid, data.decode().split("\n")))
        return self.messages[-1][1]

    def wait(self, line):
        """Reads until a message has a line that begins so; returns the message."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lines = self.receive(end - time.monotonic())
            if any(text.startswith(line) for text in lines):
                return lines
        raise AssertionError(f"the manager never heard {line}")

    def close(self):
        self.socket.close()


class Daemon:
    def __init__(self, configuration="", arguments=(), environment=None, wrapper=(), socket_path=None, inherits=(),
                 uid=None):
        """`uid`: of the ordinary user that it runs as and that asks it."""
        self.uid = uid
        self.folder = Path(tempfile.mkdtemp(prefix="hatchery-service-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.socket = socket_path or str(self.folder / "hatchery.sock")
        self.configuration = self.folder / "hatchery.yaml"
        self.configuration.write_text(
            f"socket: {{path: {self.socket}, mode: \"0666\"}}\nidle_exit: 3m\n" + configuration)
        self.log = self.folder / "log"
        if uid:
            os.chown(self.folder, uid, uid)
            wrapper = [*wrapper, *as_user(uid)]
        command = [*wrapper, HATCHERYD, "--config", str(self.configuration), "--log-level", "debug", *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=inherits,
                env={"PATH": "/usr/bin:/bin", **(environment or {})})

    def wait_ready(self):
        wait_for(lambda: self.answers() or self.process.poll() is not None, "the daemon's start")
        if self.process.poll() is not None:
            raise AssertionError("hatcheryd ended:\n" + self.text())
        return self

    def answers(self):
        return self.hatchery("zygotes", check=False).returncode == 0

    def text(self):
        return self.log.read_text(errors="replace")

    def command(self, *words, uid=None):
        uid = uid or self.uid
        before = as_user(uid) if uid else []
        return [*before, HATCHERY, words[0], "--socket", self.socket, *words[1:]]

    def hatchery(self, *words, uid=None, check=True, environment=None):
        return subprocess.run(
            self.command(*words, uid=uid), capture_output=True, text=True, check=check, timeout=PATIENCE,
            env={"PATH": "/usr/bin:/bin", **(environment or {})}, cwd="/")

    def start(self, *words, uid=None):
        return subprocess.Popen(
            self.command(*words, uid=uid), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd="/")

    def sandboxes(self):
        return json.loads(self.hatchery("ps", "--json").stdout)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(timeout=PATIENCE)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
