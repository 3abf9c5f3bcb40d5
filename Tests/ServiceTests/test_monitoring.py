"""What a monitoring system, an operator and an auditor see of a daemon."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
import unittest
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from daemon import PATIENCE, ROOT, Daemon, NotifySocket, wait_for

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PYTHON = "zygotes: [{name: exec, kind: exec}, {name: python, kind: python, interpreter: /usr/bin/python3}]\n"


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class MonitoringTests(unittest.TestCase):
    def daemon(self, configuration="", **options):
        daemon = Daemon("drain: 0s\n" + configuration, **options)
        self.addCleanup(daemon.stop)
        return daemon

    def with_metrics(self, configuration="", **options):
        path = f"/tmp/hatchery-metrics-{os.getpid()}-{id(self)}.sock"
        daemon = self.daemon(f"metrics: {{listen: {path}}}\n" + configuration, **options)
        daemon.metrics = path
        return daemon

    def get(self, daemon, path, method="GET"):
        connection = UnixHTTP(daemon.metrics)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()

    def families(self, daemon):
        status, text, headers = self.get(daemon, "/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        return {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, daemon, name, **labels):
        for family in self.families(daemon).values():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


class MetricsTests(MonitoringTests):
    def test_what_happens_is_counted(self):
        daemon = self.with_metrics(PYTHON).wait_ready()
        wait_for(lambda: (self.value(daemon, "hatchery_nursery_parked", zygote="exec", process="0") or 0) > 0, "a nursery")
        daemon.hatchery("run", "/bin/true")
        daemon.hatchery("run", "--tmpfs", "/data", "/bin/sh", "-c", "exit 3", check=False)
        daemon.hatchery("run", "--time", "0.3", "/bin/sleep", "100", check=False)
        daemon.hatchery("python", "-c", "print(1)")
        daemon.hatchery("run", "--profile", "none", "/bin/true", check=False)
        self.assertEqual(self.value(daemon, "hatchery_runs_total", zygote="exec", verdict="exited"), 2)
        self.assertEqual(self.value(daemon, "hatchery_runs_total", zygote="exec", verdict="timed_out"), 1)
        self.assertEqual(self.value(daemon, "hatchery_runs_total", zygote="python", verdict="exited"), 1)
        self.assertEqual(self.value(daemon, "hatchery_refusals_total", kind="notFound"), 1)
        hits = self.value(daemon, "hatchery_nursery_hits_total", zygote="exec")
        misses = self.value(daemon, "hatchery_nursery_misses_total", zygote="exec")
        self.assertEqual(hits + misses, 3)
        self.assertGreaterEqual(misses, 1, "a tmpfs of its own fits no parked child")
        histogram = [s for s in self.families(daemon)["hatchery_run_seconds"].samples if s.labels.get("zygote") == "exec"]
        buckets = [s.value for s in histogram if s.name.endswith("_bucket")]
        self.assertEqual(buckets, sorted(buckets))
        self.assertEqual(buckets[-1], 3)
        self.assertGreaterEqual(next(s.value for s in histogram if s.name.endswith("_sum")), 0.3)
        for name in ("hatchery_zombies", "hatchery_unknown_children"):
            self.assertEqual(self.value(daemon, name), 0)
        self.assertEqual(self.value(daemon, "hatchery_zygote_generation", zygote="python", process="0"), 1)
        self.assertGreater(self.value(daemon, "hatchery_zygote_frozen_bytes", zygote="python", process="0"), 0)
        self.assertEqual(self.value(daemon, "hatchery_ready"), 1)

    def test_a_zygote_that_dies_is_counted(self):
        daemon = self.with_metrics().wait_ready()
        pid = json.loads(daemon.hatchery("zygotes", "--json").stdout)[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.value(daemon, "hatchery_zygote_restarts_total", zygote="exec") == 1, "a restart")
        wait_for(lambda: self.get(daemon, "/readyz")[0] == 200, "readiness")

    def test_a_descriptor_that_is_left_open_is_seen(self):
        # No nursery: parked children hold descriptors, and come when they like.
        daemon = self.with_metrics("zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]\n").wait_ready()

        def at_rest():
            """Open descriptors, when what the last spawn or client left is taken down: a daemon that is just ready still does."""
            values = []

            def steady():
                values.append(self.value(daemon, "process_open_fds"))
                return len(values) >= 20 and len(set(values[-20:])) == 1

            wait_for(steady, "a number that stays")
            return values[-1]

        before = at_rest()
        clients = []
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            client.connect(daemon.socket)
            clients.append(client)
        self.assertEqual(at_rest(), before + 20)
        for client in clients:
            client.close()
        self.assertEqual(at_rest(), before)

    def test_the_documentation_names_what_is_exported(self):
        daemon = self.with_metrics(PYTHON).wait_ready()
        daemon.hatchery("run", "/bin/true")
        _, text, _ = self.get(daemon, "/metrics")
        exported = {}
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
            exported[name] = kind
        documented = dict(re.findall(r"^\| `((?:hatchery|process)_\w+)` \| (\w+) \|",
                                     (ROOT / "Docs/Operating.md").read_text(), re.M))
        self.assertEqual(documented, exported)
        for name, family in self.families(daemon).items():
            row = re.search(rf"^\| `{name}(?:_total)?` \| \w+ \|([^|]*)\|", (ROOT / "Docs/Operating.md").read_text(), re.M)
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            self.assertLessEqual(labels, set(re.findall(r"`(\w+)`", row[1])), name)


class HealthTests(MonitoringTests):
    def test_a_daemon_is_healthy_at_once_and_ready_when_its_zygotes_are(self):
        slow = 'zygotes: [{name: slow, kind: python, interpreter: /usr/bin/python3, warmup: "import time; time.sleep(2)"}]\n'
        daemon = self.with_metrics(slow)
        wait_for(lambda: os.path.exists(daemon.metrics), "the socket")
        self.assertEqual(self.get(daemon, "/healthz")[:2], (200, "ok\n"))
        self.assertEqual(self.get(daemon, "/readyz")[:2], (503, "zygote slow is not ready\n"))
        wait_for(lambda: self.get(daemon, "/readyz")[:2] == (200, "ready\n"), "readiness")
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        self.assertFalse(os.path.exists(daemon.metrics))

    def test_only_a_few_short_requests_are_answered(self):
        daemon = self.with_metrics().wait_ready()
        self.assertEqual(self.get(daemon, "/nothing")[0], 404)
        self.assertEqual(self.get(daemon, "/metrics?x=1")[0], 200)
        status, body, headers = self.get(daemon, "/metrics", "HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertGreater(int(headers["Content-Length"]), 1000)
        status, _, headers = self.get(daemon, "/metrics", "POST")
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))
        for request, answer in ((b"GET /" + b"x" * 5000, b"431"), (b"nonsense\r\n\r\n", b"400"),
                                (b"GET /metrics HTTP/9.9\r\n\r\n", b"400"), (b"\xff\xfe /x HTTP/1.1\r\n\r\n", b"400")):
            with self.connect(daemon) as client:
                client.sendall(request)
                self.assertIn(answer, client.recv(4096).split(b"\r\n")[0])

    def connect(self, daemon):
        client = socket.socket(socket.AF_UNIX)
        client.connect(daemon.metrics)
        client.settimeout(PATIENCE)
        return client

    def test_a_scraper_that_does_nothing_is_closed_and_too_many_are_not_served(self):
        daemon = self.with_metrics().wait_ready()
        clients = [self.connect(daemon) for _ in range(20)]
        try:
            # Four of them are above the limit, and closed at once; clients of the daemon itself are served meanwhile.
            ended = wait_for(lambda: self.ended(clients) if len(self.ended(clients)) == 4 else None, "the limit", 4)
            self.assertEqual(daemon.hatchery("run", "/bin/echo", "served").stdout, "served\n")
            wait_for(lambda: len(self.ended(clients)) == 20, "the end of those that say nothing")
            self.assertEqual(len(ended), 4)
            self.assertEqual(self.get(daemon, "/healthz")[0], 200)
        finally:
            for client in clients:
                client.close()

    @staticmethod
    def ended(clients):
        ended = []
        for client in clients:
            client.setblocking(False)
            try:
                if client.recv(1) == b"":
                    ended.append(client)
            except BlockingIOError:
                pass
        return ended

    def test_metrics_are_served_on_loopback_too(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        daemon = self.daemon(f"metrics: {{listen: \"127.0.0.1:{port}\"}}\n").wait_ready()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/healthz")
        self.assertEqual(connection.getresponse().read(), b"ok\n")
        connection.close()
        check = subprocess.run([*daemon.command("config")[:1], "config", "check", "--set", "metrics.listen=0.0.0.0:9464"],
                               capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
        self.assertEqual(check.returncode, 1)
        self.assertIn("metrics.listen", check.stderr)


class LogTests(MonitoringTests):
    def test_the_daemon_keeps_its_last_lines(self):
        daemon = self.daemon().wait_ready()
        daemon.hatchery("run", "/bin/true", environment={"TRACEPARENT": TRACE})
        lines = wait_for(lambda: [line for line in self.lines(daemon) if "exited" in line["message"]], "the end of the run")
        self.assertIn(f"traceparent={TRACE}", lines[0]["message"])
        self.assertEqual(lines[0]["level"], "debug")
        self.assertRegex(lines[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertTrue(all(line["level"] not in ("trace", "debug") for line in self.lines(daemon, "--level", "info")))
        self.assertEqual(len(self.lines(daemon, "-n", "2")), 2)

    def lines(self, daemon, *flags):
        return [json.loads(line) for line in daemon.hatchery("logs", "--json", *flags).stdout.splitlines()]

    def test_a_follower_sees_what_comes(self):
        daemon = self.daemon().wait_ready()
        follower = subprocess.Popen(daemon.command("logs", "-f", "-n", "0"), stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(0.3)
            daemon.signal(signal.SIGUSR1)
            # What belongs to the start may come in between; the pipe ends with the follower.
            self.assertTrue(any("notice state: " in line for line in follower.stdout))
        finally:
            follower.kill()
            follower.communicate()

    def test_the_log_is_for_root_and_the_daemons_own_user(self):
        if os.geteuid() != 0:
            self.skipTest("clients of several uids need root")
        daemon = self.daemon().wait_ready()
        for verb in (["logs"], ["top", "--once"]):
            refused = daemon.hatchery(*verb, uid=61001, check=False)
            self.assertEqual(refused.returncode, 125)
            self.assertIn("only root and the daemon's own user may see this", refused.stderr)

    def test_lines_on_stderr_are_text_or_json(self):
        daemon = self.daemon("log: {format: json}\n").wait_ready()
        wait_for(lambda: "serving on " in daemon.text(), "the line")
        entries = [json.loads(line) for line in daemon.text().splitlines()]
        self.assertTrue(any(entry["message"].startswith("serving on ") for entry in entries))
        self.assertEqual({"time", "level", "message"} - set(entries[0]), set())
        other = self.daemon()
        wait_for(lambda: re.search(r"(?m)^\d{4}-\d\d-\d\dT[0-9:.]+Z info serving on /", other.text()), "the line as text")

    def test_journald_gets_fields(self):
        if os.geteuid() != 0:
            self.skipTest("a journal of the test's own needs a mount namespace")
        folder = Path(f"/tmp/hatchery-run-{os.getpid()}")
        (folder / "systemd/journal").mkdir(parents=True)
        journal = NotifySocket(str(folder / "systemd/journal/socket"))
        self.addCleanup(lambda: (journal.close(), subprocess.run(["rm", "-r", str(folder)])))
        daemon = self.daemon(
            "log: {to: journald}\naudit: {to: journald}\n",
            wrapper=["/usr/bin/unshare", "--mount", "/bin/sh", "-c", f'mount --bind {folder} /run && exec "$@"', "sh"])
        journal.wait("MESSAGE=serving on ")
        self.assertIn("SYSLOG_IDENTIFIER=hatcheryd", journal.messages[-1][1])
        self.assertIn("PRIORITY=6", journal.messages[-1][1])
        daemon.hatchery("run", "/bin/true", environment={"TRACEPARENT": TRACE})
        lines = journal.wait("HATCHERY_EVENT=end")
        self.assertIn(f"HATCHERY_TRACEPARENT={TRACE}", lines)
        record = json.loads(next(line for line in lines if line.startswith("HATCHERY_RECORD=")).split("=", 1)[1])
        self.assertEqual(record["verdict"], "exited")
        self.assertNotIn("serving on", daemon.text())


class TopTests(MonitoringTests):
    def test_one_look_as_text_and_as_json(self):
        daemon = self.daemon().wait_ready()
        client = daemon.start("run", "--title", "sleeper", "/bin/sleep", "100")
        wait_for(daemon.sandboxes, "a sandbox")
        text = daemon.hatchery("top", "--once", "--interval", "0.1").stdout
        self.assertRegex(text, r"clients \d+   sandboxes 1 running, 0 starting, 0 waiting")
        self.assertIn("sleeper", text)
        look = json.loads(daemon.hatchery("top", "--json", "--interval", "0.1").stdout)
        self.assertEqual(look["statistics"]['hatchery_sandboxes{state="running"}'], 1)
        self.assertEqual(look["sandboxes"][0]["title"], "sleeper")
        self.assertEqual(look["zygotes"][0]["name"], "exec")
        self.assertEqual(look["spawns_per_second"], 0)
        client.kill()
        client.communicate()


class AuditTests(MonitoringTests):
    def audited(self, rules=""):
        folder = Path(f"/tmp/hatchery-audit-{os.getpid()}-{id(self)}")
        folder.mkdir()
        self.addCleanup(lambda: subprocess.run(["rm", "-r", str(folder)]))
        self.file = folder / "audit.jsonl"
        return self.daemon(f"audit: {{to: {self.file}}}\n" + rules).wait_ready()

    def records(self, event):
        if not self.file.exists():
            return []
        return [record for record in map(json.loads, self.file.read_text().splitlines()) if record["event"] == event]

    def test_every_spawn_and_every_end_has_a_line(self):
        daemon = self.audited()
        daemon.hatchery("run", "--title", "job 7", "-m", "64M", "--time", "5", "/bin/sh", "-c", "kill -9 $$", "secret",
                        environment={"TRACEPARENT": TRACE}, check=False)
        end = wait_for(lambda: self.records("end"), "a line")[0]
        spawn = self.records("spawn")[0]
        self.assertEqual(spawn["id"], end["id"])
        self.assertEqual((end["verdict"], end["signal_name"], end["exit_code"]), ("signaled", "SIGKILL", None))
        for record in (spawn, end):
            self.assertEqual((record["uid"], record["gid"], record["name"], record["zygote"], record["profile"]),
                             (os.getuid(), os.getgid(), "job 7", "exec", "default"))
            self.assertEqual(record["traceparent"], TRACE)
            self.assertEqual(record["limits"]["memory_bytes"], 64 << 20)
            self.assertEqual(record["limits"]["wall_nanoseconds"], 5_000_000_000)
        self.assertIn("nursery_hit", spawn)
        self.assertGreater(end["usage"]["wall_seconds"], 0)
        self.assertNotIn("secret", self.file.read_text())
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o640)
        documented = set(re.findall(r"^\| `([a-z_.]+)` \| (?:all|spawn|end|refused)\b", (ROOT / "Docs/Operating.md").read_text(), re.M))
        seen = {f"{key}.{inner}" if isinstance(value, dict) else key
                for record in (spawn, end, self.refusal(daemon))
                for key, value in record.items() for inner in (value if isinstance(value, dict) else [""])}
        self.assertEqual(documented, seen)

    def test_a_request_that_is_refused_at_once_has_a_line_too(self):
        daemon = self.audited()
        daemon.hatchery("run", "--profile", "none", "/bin/true", check=False)
        record = wait_for(lambda: self.records("refused"), "a refusal")[0]
        self.assertEqual((record["uid"], record["id"], record["verdict"]), (os.getuid(), None, "refused"))
        self.assertIn('no profile is called "none"', record["error"])

    def refusal(self, daemon):
        daemon.hatchery("run", "/no/such/program", check=False)
        return wait_for(lambda: self.records("refused"), "a refusal")[0]

    def test_a_file_that_was_rotated_is_begun_anew(self):
        daemon = self.audited()
        daemon.hatchery("run", "/bin/true")
        wait_for(lambda: self.records("end"), "a line")
        self.file.rename(self.file.with_suffix(".1"))

        def arrives():
            daemon.hatchery("run", "/bin/true")
            return self.records("end")
        wait_for(arrives, "a new file")

    def test_the_audit_follows_no_link(self):
        target = Path(f"/tmp/hatchery-audit-link-{os.getpid()}")
        target.symlink_to("/dev/full")
        self.addCleanup(target.unlink)
        daemon = self.daemon(f"audit: {{to: {target}}}\n")
        self.assertEqual(daemon.wait(), 125)
        self.assertIn("ELOOP", daemon.text())

    def test_a_disk_that_is_full_is_counted_and_stops_nobody(self):
        if os.geteuid() != 0:
            self.skipTest("a small file system needs a mount namespace")
        folder = Path(f"/tmp/hatchery-full-{os.getpid()}")
        folder.mkdir()
        self.addCleanup(folder.rmdir)
        metrics = f"/tmp/hatchery-metrics-full-{os.getpid()}.sock"
        daemon = self.daemon(
            f"audit: {{to: {folder}/audit}}\nmetrics: {{listen: {metrics}}}\n",
            wrapper=["/usr/bin/unshare", "--mount", "/bin/sh", "-c",
                     f'mount -t tmpfs -o size=4k none {folder} && head -c 4096 /dev/zero >{folder}/audit; exec "$@"', "sh"])
        daemon.metrics = metrics
        daemon.wait_ready()
        for _ in range(2):
            daemon.hatchery("run", "/bin/true")
        wait_for(lambda: self.value(daemon, "hatchery_audit_failures_total") == 4, "four lost lines")
        self.assertEqual(daemon.text().count("the audit cannot be written"), 1)


class TraceTests(MonitoringTests):
    def test_what_is_no_traceparent_is_passed_over_by_the_command_line(self):
        daemon = self.daemon().wait_ready()
        for text in ("nonsense", TRACE.upper(), TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)):
            self.assertEqual(daemon.hatchery("run", "/bin/echo", "x", environment={"TRACEPARENT": text}).stdout, "x\n")
        self.assertNotIn("traceparent=", daemon.text())


if __name__ == "__main__":
    unittest.main()
