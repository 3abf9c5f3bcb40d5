"""hatcheryd under a service manager: sockets taken over, notifications, watchdog, drain, and the units themselves."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from daemon import HATCHERYD, PATIENCE, ROOT, Daemon, NotifySocket, wait_for

# A start that takes long enough to be looked at.
SLOW = """
zygotes:
  - {name: exec, kind: exec, nursery: {min: 1, max: 1}}
  - {name: slow, kind: python, interpreter: /usr/bin/python3, warmup: "import time; time.sleep(2.5)", nursery: {min: 0, max: 0}}
"""


class ManagerTests(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hatchery-manager-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)

    def manager(self, address=None):
        manager = NotifySocket(address or str(self.folder / "notify"))
        self.addCleanup(manager.close)
        return manager

    def daemon(self, *arguments, **options):
        daemon = Daemon(*arguments, **options)
        self.addCleanup(daemon.stop)
        return daemon


class NotificationTests(ManagerTests):
    def test_ready_comes_after_every_zygote_has_started(self):
        manager = self.manager()
        daemon = self.daemon(SLOW, environment={"NOTIFY_SOCKET": manager.address})
        began = time.monotonic()
        manager.wait("READY=1")
        self.assertGreater(time.monotonic() - began, 2.5, "READY=1 came before the preload was over")
        before = [line for _, lines in manager.messages[:-1] for line in lines]
        self.assertTrue(any(line.startswith("STATUS=Starting: ") for line in before), before)
        self.assertTrue(any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in before), before)
        self.assertIn("STATUS=Serving: 2 of 2 zygotes ready, 0 sandboxes", manager.messages[-1][1])
        # A manager with NotifyAccess=main listens to the main process only.
        self.assertEqual({pid for pid, _ in manager.messages}, {daemon.process.pid})
        daemon.signal(signal.SIGTERM)
        manager.wait("STOPPING=1")
        self.assertEqual(daemon.wait(), 0)

    def test_a_start_that_fails_is_never_ready(self):
        manager = self.manager()
        configuration = SLOW.replace("import time; time.sleep(2.5)", "1/0")
        daemon = self.daemon(configuration, environment={"NOTIFY_SOCKET": manager.address})
        self.assertNotEqual(daemon.wait(), 0)
        manager.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                manager.receive(0)
        self.assertNotIn("READY=1", [line for _, lines in manager.messages for line in lines])

    def test_an_abstract_socket_is_notified(self):
        manager = self.manager(f"@hatchery-test-{os.getpid()}")
        self.daemon(environment={"NOTIFY_SOCKET": manager.address})
        manager.wait("READY=1")

    def test_the_watchdog_hears_of_a_loop_that_turns_and_not_of_one_that_is_stopped(self):
        manager = self.manager()
        daemon = self.daemon(environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"})
        manager.wait("READY=1")
        for _ in range(3):
            manager.wait("WATCHDOG=1")
        daemon.signal(signal.SIGSTOP)
        wait_for(lambda: " T " in Path(f"/proc/{daemon.process.pid}/stat").read_text(), "the stop")
        manager.socket.setblocking(False)
        try:
            while True:
                manager.receive(0)
        except BlockingIOError:
            pass
        with self.assertRaises(TimeoutError):
            manager.receive(1)
        daemon.signal(signal.SIGCONT)
        manager.wait("WATCHDOG=1")

    def test_a_watchdog_of_another_process_is_not_ours(self):
        manager = self.manager()
        self.daemon(environment={
            "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        manager.wait("READY=1")
        with self.assertRaises(TimeoutError):
            manager.receive(0.5)

    def test_children_do_not_inherit_what_the_manager_said(self):
        manager = self.manager()
        daemon = self.daemon(environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"}).wait_ready()
        inside = daemon.hatchery("run", "/usr/bin/env").stdout
        self.assertNotIn("NOTIFY", inside)
        for child in Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split():
            self.assertNotIn(b"NOTIFY_SOCKET", Path(f"/proc/{child}/environ").read_bytes())


class DrainTests(ManagerTests):
    def test_what_runs_may_end_and_nothing_new_begins(self):
        manager = self.manager()
        daemon = self.daemon("drain: 50s\n", environment={"NOTIFY_SOCKET": manager.address})
        manager.wait("READY=1")
        client = daemon.start("run", "/bin/sh", "-c", "sleep 3; echo over")
        # A second connection, open before the drain begins.
        session = subprocess.Popen(
            daemon.command("run", "-i", "/bin/cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        wait_for(lambda: len(daemon.sandboxes()) == 2, "two sandboxes")
        daemon.signal(signal.SIGTERM)
        lines = manager.wait("STOPPING=1")
        self.assertIn("STATUS=Draining: 2 sandboxes left", lines)
        extension = next(line for line in manager.wait("EXTEND_TIMEOUT_USEC=") if line.startswith("EXTEND"))
        self.assertGreater(int(extension.split("=")[1]), 50_000_000)
        refused = daemon.hatchery("run", "/bin/true", check=False)
        self.assertEqual(refused.returncode, 125)
        self.assertEqual(client.communicate(timeout=PATIENCE), ("over\n", ""))
        self.assertEqual(client.returncode, 0)
        self.assertEqual(session.communicate("still here\n", timeout=PATIENCE)[0], "still here\n")
        self.assertEqual(daemon.wait(), 0)
        self.assertFalse(os.path.exists(daemon.socket))

    def test_the_drain_has_a_limit(self):
        daemon = self.daemon("drain: 500ms\n").wait_ready()
        client = daemon.start("run", "/bin/sleep", "100")
        wait_for(daemon.sandboxes, "a sandbox")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        client.communicate(timeout=PATIENCE)
        self.assertIn("the time to drain is over: 1 sandboxes are ended", daemon.text())

    def test_a_second_signal_ends_the_drain(self):
        daemon = self.daemon("drain: 1h\n").wait_ready()
        client = daemon.start("run", "/bin/sleep", "100")
        wait_for(daemon.sandboxes, "a sandbox")
        daemon.signal(signal.SIGTERM)
        wait_for(lambda: "draining" in daemon.text(), "the drain")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        client.communicate(timeout=PATIENCE)

    def test_the_state_is_dumped_on_request(self):
        daemon = self.daemon().wait_ready()
        client = daemon.start("run", "/bin/sleep", "100")
        listing = wait_for(daemon.sandboxes, "a sandbox")[0]
        daemon.signal(signal.SIGUSR1)
        wait_for(lambda: f"state: sandbox {listing['id']}: running" in daemon.text(), "the dump")
        self.assertIn("state: 1 clients, 1 sandboxes (1 running, 0 being set up, 0 waiting)", daemon.text())
        self.assertIn("state: zygote exec: ready, generation 1", daemon.text())
        client.terminate()
        client.communicate(timeout=PATIENCE)


class ActivationTests(ManagerTests):
    def activate(self, *flags, configuration=""):
        path = str(self.folder / "activated.sock")
        daemon = self.daemon(
            configuration, socket_path=path,
            wrapper=["/usr/bin/systemd-socket-activate", f"--listen={path}", *flags])
        wait_for(lambda: os.path.exists(path), "the socket")
        return daemon

    def test_a_socket_of_the_manager_is_taken_over_and_left_in_place(self):
        daemon = self.activate("--seqpacket", "--fdname=hatchery")
        self.assertEqual(daemon.hatchery("run", "/bin/echo", "activated").stdout, "activated\n")
        self.assertIn("the socket is the service manager's", daemon.text())
        # Neither the zygote nor a child has it.
        inside = daemon.hatchery("run", "/bin/ls", "/proc/self/fd").stdout.split()
        self.assertEqual(inside[:3], ["0", "1", "2"])
        self.assertLessEqual(len(inside), 4)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        self.assertTrue(os.path.exists(daemon.socket), "the manager's socket was removed")

    def test_a_socket_of_another_type_is_refused(self):
        daemon = self.activate()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(daemon.socket)
            self.assertEqual(daemon.wait(), 125)
        self.assertIn("is not a listening socket of ListenSequentialPacket=", daemon.text())

    def test_sockets_for_another_process_are_left_alone(self):
        daemon = self.daemon(environment={"LISTEN_PID": "1", "LISTEN_FDS": "1"}).wait_ready()
        self.assertNotIn("service manager's", daemon.text())


class UnitTests(ManagerTests):
    def test_the_units_are_right(self):
        for name in ("hatcheryd.service", "hatcheryd.socket"):
            text = (ROOT / "packaging/systemd" / name).read_text()
            # verify looks for the program, which is installed elsewhere.
            (self.folder / name).write_text(text.replace("/usr/libexec/hatchery/hatcheryd", HATCHERYD)
                                            .replace("man:hatcheryd(8)", "file:/usr"))
        result = subprocess.run(
            ["/usr/bin/systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
             *(str(self.folder / name) for name in ("hatcheryd.socket", "hatcheryd.service"))],
            capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_verify_sees_a_mistake(self):
        unit = self.folder / "hatcheryd.service"
        unit.write_text((ROOT / "packaging/systemd/hatcheryd.service").read_text()
                        .replace("/usr/libexec/hatchery/hatcheryd", HATCHERYD).replace("KillMode=mixed", "KilMode=mixed"))
        result = subprocess.run(
            ["/usr/bin/systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
            capture_output=True, text=True, timeout=PATIENCE)
        self.assertIn("KilMode", result.stderr)


if __name__ == "__main__":
    unittest.main()
