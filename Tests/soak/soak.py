#!/usr/bin/env python3
"""soak.py [--seconds N] [--seed N]: a daemon under clients that come and go and die, and under everything that breaks.

Four clients ask for whatever demands.py draws. Beside them the trouble-maker kills sandboxes, zygotes and the daemon, reloads
it, and takes its descriptors away. Every ten seconds all pause, and when things have settled nothing may be left: no process, no
descriptor, no namespace, no mount, no cgroup, no file. Ends with a report, and with 1 where anything was wrong. The seed
draws every choice; it is printed first, and with --seed the same choices are made again.

--plant WHAT leaves something behind on purpose (process, descriptor, mount, cgroup, file): the report must find it.
"""

import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import demands
import descriptors
import world

CLIENTS = 4
ROUND_SECONDS = 10
SETTLING_SECONDS = 60


class Soak:
    def __init__(self, options):
        self.seconds, self.seed, self.plant = options.seconds, options.seed, options.plant
        self.patience, self.quiet = options.patience, options.quiet
        self.random = random.Random(self.seed)
        self.violations = []
        self.counts = collections.Counter()
        self.lock = threading.Lock()
        self.idle = threading.Condition(self.lock)
        self.busy = 0
        self.paused = True
        self.over = False
        # Troubles that can make a request fail with a reason: how many are under way, and how many there were.
        self.troubles = 0
        self.troubled = 0
        self.victims = set()
        self.folder = Path(tempfile.mkdtemp(prefix="hatchery-soak-", dir="/tmp"))
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "soak", str(self.disk)], check=True)
        self.daemon = world.Daemon(self.folder)
        self.rest = None

    # Clients

    def client(self, number):
        draw = random.Random(f"{self.seed}/{number}")
        kinds = demands.all_kinds(self.disk)
        while True:
            with self.lock:
                while self.paused and not self.over:
                    self.idle.wait()
                if self.over:
                    return
                self.busy += 1
                before = self.troubled
                troubled = self.troubles > 0
            request = draw.choice(kinds)(draw)
            try:
                wrong, refused = self.perform(request)
            except Exception as error:
                wrong, refused = f"{type(error).__name__}: {error}", False
            with self.lock:
                self.busy -= 1
                troubled = troubled or self.troubled != before
                self.counts[request.name] += 1
                if refused:
                    self.counts["refused with a reason"] += 1
                    if not troubled:
                        wrong = "refused although nothing was the matter: " + str(wrong or request.refusal)
                if wrong:
                    self.violate(f"client {number}: {request.name}: {wrong}")
                self.idle.notify_all()

    def perform(self, request):
        words = [world.HATCHERY, request.verb, "--socket", self.daemon.socket, "--json", *request.words]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
        if request.kill_after is not None:
            time.sleep(request.kill_after)
            process.send_signal(request.signal)
            process.communicate(timeout=demands.PATIENCE)
            return None, False
        try:
            output, error = process.communicate(request.stdin, timeout=demands.PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"no answer in {demands.PATIENCE} s", False
        request.refusal = error.decode(errors="replace").strip()
        return demands.answer_of(request, process.returncode, output.decode(errors="replace"), request.refusal, self.victims)

    # Trouble

    def trouble(self):
        kind = self.random.choices(
            [self.kill_a_sandbox, self.kill_a_zygote, self.kill_the_daemon, self.reload, self.starve_of_descriptors],
            weights=[8, 2, 1, 2, 2])[0]
        with self.lock:
            self.troubles += 1
            self.troubled += 1
            self.counts["trouble: " + kind.__name__.replace("_", " ")] += 1
        try:
            kind()
        except Exception as error:
            self.violate(f"{kind.__name__}: {type(error).__name__}: {error}")
        # What it broke is whole again when both zygotes serve.
        if not world.wait_for(self.serves, SETTLING_SECONDS):
            self.violate(f"the daemon does not serve after {kind.__name__}: {self.daemon.log()[-1000:]}")
        with self.lock:
            self.troubles -= 1
            self.troubled += 1
        # A request that began under it is judged by it, and the nursery's next try after a failure takes a second.
        time.sleep(0.2)

    def serves(self):
        try:
            return all(zygote["state"] == "ready" for zygote in self.daemon.zygotes())
        except (ValueError, KeyError, OSError):
            return False

    def kill_a_sandbox(self):
        living = json.loads(self.daemon.ask("ps", "--json").stdout or "[]")
        if living:
            victim = self.random.choice(living)
            self.victims.add(victim["id"])
            if self.random.random() < 0.5:
                self.daemon.ask("kill", victim["id"])
            else:
                self.end(victim["pid"])

    def kill_a_zygote(self):
        self.end(self.random.choice([zygote["pid"] for zygote in self.daemon.zygotes()]))

    def end(self, pid):
        # What has no number any more is gone; 0 would be this process and all its relatives.
        if pid <= 0:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def kill_the_daemon(self):
        self.daemon.kill()
        # No orphan: with the daemon everything ends that it started. Clients end by themselves, having heard of it.
        left = lambda: [entry for entry in world.processes().values() if entry[1] != "hatchery"]
        if not world.wait_for(lambda: not left(), SETTLING_SECONDS):
            self.violate(f"processes outlive the daemon: {left()}")
        self.daemon.start()

    def reload(self):
        result = self.daemon.ask("reload", timeout=demands.PATIENCE)
        if result.returncode != 0 and not result.stderr.strip():
            self.violate(f"reload: status {result.returncode} without a word")

    def starve_of_descriptors(self):
        pid, zygote = self.daemon.process.pid, self.random.choice(self.daemon.zygotes())["pid"]
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.daemon.descriptors() + self.random.randrange(12), usual[1]))
        # Half of the time a zygote has to be started with what is left. The reload may be heard only when there is more.
        meanwhile = threading.Thread(target=self.random.choice([int, int, lambda: self.end(zygote), self.reload]))
        meanwhile.start()
        time.sleep(1)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
        meanwhile.join()

    # Calm

    def state(self, holders):
        """What is there when nothing runs. The daemon's own children are counted by their roles.

        `holders` are those whose descriptors count, {name: pid}.
        """
        processes = world.processes()
        return {
            "processes": len(processes),
            "zombies": sum(state == "Z" for _, _, state in processes.values()),
            "descriptors": collections.Counter(
                {(name, kind): count for name, pid in holders.items() for kind, count in descriptors.kinds(pid).items()}),
            "namespaces": world.namespaces(),
            "mounts": len(Path("/proc/self/mountinfo").read_text().split("\n")),
            "cgroups": self.daemon.cgroups(),
            "files": sum(1 for _ in self.folder.rglob("*")),
        }

    def settled(self):
        """Whether the state is that of rest; what is not, for the report, is kept in `excess`."""
        try:
            zygotes = self.daemon.zygotes()
            if json.loads(self.daemon.ask("ps", "--json").stdout) or any(zygote["parked"] != world.PARKED for zygote in zygotes):
                self.excess = {"sandboxes or parked children": zygotes}
                return False
            self.holders = {"hatcheryd": self.daemon.process.pid, **{zygote["name"]: zygote["pid"] for zygote in zygotes}}
            state = self.state(self.holders)
            if self.rest is None:
                # The connection of the question itself may be open for a moment longer, and must not count as rest.
                time.sleep(0.5)
                self.rest = state if self.state(self.holders) == state else None
        except (ValueError, OSError) as error:
            self.excess = {"no answer": str(error)}
            return False
        self.excess = self.beyond_rest(state) if self.rest else {"not at rest yet": state}
        return not self.excess

    def beyond_rest(self, state):
        """{name: (at rest, now)} of what there is more of than at rest.

        Descriptors are compared by what they are, and must be the same: a parked child that lacks one would hide another that
        was forgotten.
        """
        beyond = {name: (self.rest[name], value) for name, value in state.items() if name != "descriptors" and value > self.rest[name]}
        rest, now = self.rest["descriptors"], state["descriptors"]
        kinds = {kind: (rest[kind], now[kind]) for kind in rest | now if rest[kind] != now[kind]}
        return {**beyond, "descriptors": kinds} if kinds else beyond

    def calm(self):
        with self.lock:
            self.paused = True
            if not self.idle.wait_for(lambda: self.busy == 0, demands.PATIENCE + 30):
                self.violate("a client does not come back")
        if not world.wait_for(self.settled, self.patience):
            self.violate(f"left behind (at rest, now): {self.excess}")
            wrong = self.excess.get("descriptors", {})
            for name in {holder for holder, _ in wrong}:
                for line in descriptors.told(self.holders[name], {kind for holder, kind in wrong if holder == name}):
                    print(f"    {name}: {line}", flush=True)
        self.counts["calm moments"] += 1
        with self.lock:
            self.paused = False
            self.idle.notify_all()

    def violate(self, text):
        self.violations.append(f"{time.monotonic() - self.began:.1f} s: {text}")
        print("VIOLATION " + self.violations[-1], flush=True)

    # The whole

    def run(self):
        self.began = time.monotonic()
        print(f"seed {self.seed}, {self.seconds} s", flush=True)
        # The pools of a daemon fill with the first requests, so rest is what comes after some of each kind.
        for warm in (demands.exits, demands.computes, demands.loopback):
            self.perform(warm(random.Random(0)))
        world.wait_for(lambda: all(zygote["parked"] == world.PARKED for zygote in self.daemon.zygotes()), SETTLING_SECONDS)
        time.sleep(1)
        self.calm()
        clients = [threading.Thread(target=self.client, args=[number], daemon=True) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        end = self.began + self.seconds
        self.leave_something()
        # At least one round after the start, however short the time.
        while time.monotonic() < end or self.counts["calm moments"] < 2:
            next_calm = min(max(end, time.monotonic() + 1), time.monotonic() + ROUND_SECONDS)
            while time.monotonic() < next_calm:
                time.sleep(self.random.uniform(0.1, 1.5))
                if not self.quiet:
                    self.trouble()
            self.calm()
        with self.lock:
            self.over = True
            self.idle.notify_all()
        for client in clients:
            client.join(demands.PATIENCE)
        return self.finish()

    def leave_something(self):
        if self.plant == "process":
            subprocess.Popen(["sleep", "3600"], start_new_session=True)
        elif self.plant == "descriptor":
            import socket
            for _ in range(8):
                self.keep = getattr(self, "keep", []) + [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
                self.keep[-1].connect(self.daemon.socket)
        elif self.plant == "mount":
            (self.folder / "planted").mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "planted", str(self.folder / "planted")], check=True)
        elif self.plant == "file":
            (self.folder / "planted").touch()
        elif self.plant == "cgroup" and self.daemon.cgroup:
            (self.daemon.cgroup / "planted").mkdir()

    def finish(self):
        try:
            status = self.daemon.stop()
            if status != 0:
                self.violate(f"the daemon ends with {status}")
        except (OSError, subprocess.SubprocessError) as error:
            self.violate(f"the daemon's end: {error}")
        left = world.processes()
        if left and self.plant != "process":
            self.violate(f"processes outlive the daemon: {left}")
        if "Fatal error" in self.daemon.log():
            self.violate("the daemon crashed: " + self.daemon.log()[-2000:])
        subprocess.run(["umount", str(self.disk)], check=False)
        if self.plant == "mount":
            subprocess.run(["umount", str(self.folder / "planted")], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, count in sorted(self.counts.items()):
            print(f"{count:7} {name}")
        print("at rest: " + json.dumps(self.rest and {
            **self.rest, "descriptors": {f"{name}: {kind}": count for (name, kind), count in self.rest["descriptors"].items()}}))
        print(f"seed {self.seed}: {sum(self.counts.values())} things done, {len(self.violations)} violations", flush=True)
        return 1 if self.violations else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--patience", type=float, default=SETTLING_SECONDS, help="seconds in which things must have settled")
    parser.add_argument("--quiet", action="store_true", help="without the trouble-maker")
    parser.add_argument("--plant", choices=["process", "descriptor", "mount", "cgroup", "file"])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("soak.py: the namespaces that make counting exact need root")
    if not world.is_enclosed():
        seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
        arguments = [sys.executable, os.path.abspath(__file__), "--seconds", str(options.seconds), "--seed", str(seed)]
        arguments += ["--patience", str(options.patience)] + ["--quiet"] * options.quiet
        world.enclose(arguments + (["--plant", options.plant] if options.plant else []))
    world.become_init()
    sys.exit(Soak(options).run())


if __name__ == "__main__":
    main()
