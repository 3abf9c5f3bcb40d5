"""Networked sandboxes of daemons that ordinary users started, by pasta. Each refusal has its twin: the same question with the rules
taken away. The internet is the tests' own."""

import json
import os
import re
import subprocess
import textwrap
import unittest
from pathlib import Path

from daemon import HATCHERY, Daemon, as_user, wait_for
from internet import HOST, PRIVATE_RESOLVER, PUBLIC, RESOLVER, SPECIAL, InternetTestCase
from test_network import ASK, CONFIGURATION, LISTEN, REFUSALS
from test_network import missing as missing_for_root

# One that has no passwd entry and is lent nothing, and Debian's `backup`, whom a file of ours lends a range.
SINGLE_ID, LENT_IDS = 4242, 34
# Devices and lists that the host itself need not have; all of it in a mount namespace that ends with the daemon.
PLACE = textwrap.dedent("""
    set -e
    mount -t tmpfs tun /dev/net
    [ "$1" = no-tun ] || mknod -m 666 /dev/net/tun c 10 200
    mkdir /dev/net/lent
    for file in subuid subgid; do
        echo backup:200000:65536 >/dev/net/lent/$file
        mount --bind /dev/net/lent/$file /etc/$file
    done
    [ "$1" = no-pasta ] && mount --bind /dev/null "$(readlink -f /usr/bin/pasta)"
    shift
    exec "$@"
""")


def missing():
    reason = missing_for_root()
    if reason:
        return reason
    if not os.access("/usr/bin/pasta", os.X_OK):
        return "pasta is not installed (package passt)"
    attempt = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tun /dev/net && mknod /dev/net/tun c 10 200 && : <>/dev/net/tun"],
        capture_output=True, text=True)
    if attempt.returncode:
        return "the kernel has no tun devices: " + attempt.stderr.strip()
    attempt = subprocess.run(["/usr/bin/setpriv", "--reuid", "4242", "--clear-groups", "unshare", "--user", "true"],
                             capture_output=True, text=True)
    return f"ordinary users cannot make user namespaces: {attempt.stderr.strip()}" if attempt.returncode else None


class RootlessNetworkTests(InternetTestCase):
    @classmethod
    def setUpClass(cls):
        cls.set_up_internet(missing(), "rootless")
        os.chmod(cls.folder, 0o755)  # for the ordinary users
        # Nothing here may depend on it.
        cls.internet.forward(False)

    def wrapper(self, place=""):
        return self.internet.inside(
            self.internet.host, "unshare", "--mount", "--propagation", "private", "sh", "-c", PLACE, "place", place)

    def daemon(self, nat="{mode: auto}", configuration=CONFIGURATION, uid=SINGLE_ID, place=""):
        daemon = Daemon(f"nat: {nat}\n" + configuration, wrapper=self.wrapper(place), uid=uid)
        self.addCleanup(daemon.stop)
        return daemon.wait_ready()

    def run_networked(self, daemon, *words, check=False):
        return daemon.hatchery("run", "--net", "nat", "--", *words, check=check)

    def ask(self, daemon, *places):
        result = self.run_networked(
            daemon, "/usr/bin/python3", "-c", ASK, *[place if "@" in place else place + "@80" for place in places])
        self.assertEqual(result.returncode, 0, result.stderr + daemon.text())
        return json.loads(result.stdout)

    def answerer(self, answers):
        return {address: outcome.split(" ")[0] for address, outcome in answers.items()}

    def refusal(self, daemon):
        result = self.run_networked(daemon, "/bin/true")
        self.assertEqual(result.returncode, 125, result.stdout)
        return result.stderr

    def pastas(self, daemon):
        """The processes of pasta that are the daemon's own."""
        children = Path(f"/proc/{daemon.process.pid}/task").glob("*/children")
        pids = [int(pid) for file in children for pid in file.read_text().split()]
        return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().startswith("pas")]

    def the_pasta(self, daemon):
        pids = self.pastas(daemon)
        self.assertEqual(len(pids), 1, pids)
        return pids[0]

    def in_gateway(self, daemon, *words):
        return self.internet.run(self.internet.gateway_of(daemon.process.pid), *words).stdout

    def take_away(self, daemon, chain):
        self.in_gateway(daemon, "nft", f"flush chain inet hatchery {chain}")

    def listener(self, daemon):
        """A networked sandbox that answers, and its addresses."""
        process = daemon.start("run", "--net", "nat", "--", "/usr/bin/python3", "-c", LISTEN)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertEqual(process.stdout.readline(), "listening\n")
        pid = daemon.sandboxes()[0]["pid"]
        answer = json.loads(self.internet.ip(pid, "-j", "address", "show", "dev", "eth0"))
        return process, [info["local"] for info in answer[0]["addr_info"]]

    def test_public_addresses_are_reached_behind_the_hosts_own(self):
        for uid in (SINGLE_ID, LENT_IDS):
            with self.subTest(uid=uid):
                daemon = self.daemon(uid=uid)
                answers = self.ask(daemon, *PUBLIC)
                self.assertEqual(answers, {"9.9.9.9": "world ::ffff:8.8.4.2", "2606:4700::9": "world 2001:4860::2"})
                result = daemon.hatchery("run", "--net", "nat", "--json", "--", "/bin/true")
                report = json.loads(result.stdout)["receipt"]
                self.assertIn("netns", report["active"])
                self.assertEqual("distinct_uid" in report["active"], uid == LENT_IDS)

    def test_private_and_special_addresses_and_the_host_are_refused_at_once(self):
        daemon = self.daemon()
        own = ["10.203.0.1", "10.203.0.2", "fd68:6174:6368::1", "fd68:6174:6368::2"]
        for address, outcome in self.ask(
                daemon, *SPECIAL, *HOST, *own, "fe80::1%eth0", "224.0.0.9", "255.255.255.255", "::ffff:10.99.0.9").items():
            self.assertIn(outcome, REFUSALS, address)
        # The twin: without the rules each of them answers, so that it was the rules that refused.
        self.take_away(daemon, "refusals")
        answers = self.answerer(self.ask(daemon, *SPECIAL, *HOST, "::ffff:10.99.0.9"))
        self.assertEqual({address: answers[address] for address in HOST}, {address: "host" for address in HOST})
        for address in [*SPECIAL, "::ffff:10.99.0.9"]:
            self.assertEqual(answers[address], "world", address)

    def test_no_address_stands_for_the_loopback_of_the_host(self):
        # Without any rule: what pasta itself would let through. The server of the host answers on its loopback, too.
        on_loopback = self.internet.run(
            self.internet.host, "/usr/bin/python3", "-c", ASK.replace("settimeout(10)", "settimeout(2)"), "127.0.0.1@80")
        self.assertEqual(json.loads(on_loopback.stdout)["127.0.0.1"], "host ::ffff:127.0.0.1")
        daemon = self.daemon()
        self.ask(daemon, PUBLIC[0])
        self.take_away(daemon, "refusals")
        # They lead to the world, where nobody has them.
        program = ASK.replace("settimeout(10)", "settimeout(2)")
        for address in ("10.203.0.1", "fd68:6174:6368::1"):
            result = self.run_networked(daemon, "/usr/bin/python3", "-c", program, address + "@80")
            self.assertNotIn("host", result.stdout)

    def test_an_address_that_the_host_gets_later_is_refused_too(self):
        daemon = self.daemon()
        self.ask(daemon, PUBLIC[0])
        for address, length in (("8.8.8.77", "/32"), ("2001:4860:7::77", "/128")):
            with self.subTest(address=address):
                # Somebody else's, until it is the host's.
                self.internet.ip(self.internet.host, "address", "add", address + length, "dev", "lo")
                try:
                    wait_for(lambda: self.ask(daemon, address)[address] in REFUSALS, "the refusal of the new address")
                    self.take_away(daemon, "refusals")
                    self.assertEqual(self.answerer(self.ask(daemon, address)), {address: "host"})
                finally:
                    self.internet.ip(self.internet.host, "address", "del", address + length, "dev", "lo")
                daemon.stop()
                daemon = self.daemon()
                self.ask(daemon, PUBLIC[0])

    def test_two_at_once_have_a_network_and_do_not_reach_each_other(self):
        daemon = self.daemon()
        _, addresses = self.listener(daemon)
        self.assertEqual(len(addresses), 2, addresses)
        at_8080 = [address + "@8080" for address in addresses]
        answers = self.ask(daemon, *PUBLIC, *at_8080)
        for address in PUBLIC:
            self.assertEqual(answers[address].split(" ")[0], "world", address)
        for address in addresses:
            self.assertIn(answers[address], REFUSALS)
        self.in_gateway(daemon, "nft", "flush ruleset")
        self.assertEqual(set(self.ask(daemon, *at_8080).values()), {"sandbox"})

    def test_names_are_asked_of_the_configured_servers(self):
        daemon = self.daemon(nat=f"{{dns: [{RESOLVER}]}}")
        result = self.run_networked(daemon, "/bin/sh", "-c", "cat /etc/resolv.conf; getent ahostsv4 example.test", check=True)
        self.assertEqual(result.stdout.split("\n")[0], f"nameserver {RESOLVER}")
        self.assertIn("9.9.9.9", result.stdout.split("\n")[1])

    def test_a_private_name_server_of_the_operator_is_reached_at_port_53_only(self):
        daemon = self.daemon(nat=f"{{dns: [{PRIVATE_RESOLVER}]}}")
        self.assertEqual(self.answerer(self.ask(daemon, PRIVATE_RESOLVER + "@53")), {PRIVATE_RESOLVER: "world"})
        self.assertIn(self.ask(daemon, PRIVATE_RESOLVER + "@80")[PRIVATE_RESOLVER], REFUSALS)
        self.assertIn(self.ask(daemon, "10.99.0.9@53")["10.99.0.9"], REFUSALS)

    def test_a_sandbox_chooses_no_port_of_the_host(self):
        daemon = self.daemon()

        def send(text):
            self.run_networked(daemon, "/usr/bin/python3", "-c", textwrap.dedent(f"""
                import socket, time
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sender.bind(("", 5555))
                sender.sendto(b"{text}", ("{RESOLVER}", 9999))
                # Behind it: once this has its answer, the datagram has been taken.
                socket.create_connection(("{RESOLVER}", 80)).recv(100)
            """), check=True)
            line = wait_for(lambda: next((line for line in self.internet.datagrams() if f" {text} " in line), None), "the datagram")
            return int(line.split(" port ")[1])

        self.assertIn(send("translated"), range(32768, 61000))
        self.take_away(daemon, "postrouting")
        self.assertEqual(send("as-it-was"), 5555)

    def test_a_datagram_larger_than_a_packet_of_the_wire_arrives(self):
        # pasta puts no fragments together: a sandbox must make none.
        daemon = self.daemon(nat=f"{{mode: auto, mtu: 1500, dns: [{RESOLVER}]}}")
        self.run_networked(daemon, "/usr/bin/python3", "-c", textwrap.dedent(f"""
            import socket
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.sendto(b"large-" + b"x" * 4000, ("{RESOLVER}", 9999))
            socket.create_connection(("{RESOLVER}", 80)).recv(100)
        """), check=True)
        wait_for(lambda: any(" large-xxx" in line for line in self.internet.datagrams()), "the large datagram")

    def test_a_host_without_ipv6_gives_ipv4_alone(self):
        self.internet.ip(self.internet.host, "-6", "route", "del", "default")
        self.addCleanup(self.internet.ip, self.internet.host, "-6", "route", "add", "default", "via", "2001:4860::1")
        answers = self.ask(self.daemon(), *PUBLIC)
        self.assertEqual(answers["9.9.9.9"].split(" ")[0], "world")
        self.assertIn(answers["2606:4700::9"], REFUSALS)

    def test_a_host_without_a_way_out_is_told_so(self):
        for version, gateway in (("-4", "8.8.4.1"), ("-6", "2001:4860::1")):
            self.internet.ip(self.internet.host, version, "route", "del", "default")
            self.addCleanup(self.internet.ip, self.internet.host, version, "route", "replace", "default", "via", gateway)
        daemon = self.daemon()
        self.assertIn("no default route", self.refusal(daemon))
        # Mended, the next request works.
        self.internet.ip(self.internet.host, "-4", "route", "add", "default", "via", "8.8.4.1")
        self.assertEqual(self.answerer(self.ask(daemon, PUBLIC[0])), {PUBLIC[0]: "world"})

    def test_with_an_uplink_nothing_goes_out_by_another_interface(self):
        self.assertEqual(self.answerer(self.ask(self.daemon(nat="{uplink: wan0}"), PUBLIC[0])), {PUBLIC[0]: "world"})
        self.internet.ip(self.internet.host, "link", "add", "dead0", "type", "veth", "peer", "name", "dead1")
        self.addCleanup(self.internet.ip, self.internet.host, "link", "del", "dead0")
        self.internet.ip(self.internet.host, "link", "set", "dead0", "up")
        self.internet.ip(self.internet.host, "link", "set", "dead1", "up")
        daemon = self.daemon(nat="{uplink: dead0}")
        program = ASK.replace("settimeout(10)", "settimeout(2)")
        for address in PUBLIC:
            result = self.run_networked(daemon, "/usr/bin/python3", "-c", program, address + "@80", check=True)
            self.assertNotIn("world", result.stdout)
        self.assertIn("nat.uplink names wan9", self.refusal(self.daemon(nat="{uplink: wan9}")))

    def test_many_at_once_share_one_pasta(self):
        daemon = self.daemon()
        words = ["run", "--net", "nat", "--", "/usr/bin/python3", "-c", ASK, "9.9.9.9@80"]
        processes = [daemon.start(*words) for _ in range(16)]
        outputs = [process.communicate(timeout=120) for process in processes]
        for process, (output, errors) in zip(processes, outputs):
            self.assertEqual(process.returncode, 0, errors)
            self.assertIn("world", output)
        self.the_pasta(daemon)

    def test_a_networked_profile_has_networked_children_parked(self):
        daemon = self.daemon(configuration=CONFIGURATION.replace("kind: exec,", "kind: exec, profile: networked,"))

        def hit():
            result = daemon.hatchery("run", "--json", "--profile", "networked", "--", "/usr/bin/python3", "-c", ASK, "9.9.9.9@80")
            report = json.loads(result.stdout)
            return report["spawn"]["nursery_hit"] and "world" in report["stdout"]

        wait_for(hit, "a parked child with a network")
        # The nursery has waited for the network, and has not failed for want of it.
        self.assertNotIn("nursery of exec", daemon.text())

    def test_a_pasta_that_dies_is_replaced_and_living_sandboxes_go_on(self):
        daemon = self.daemon()
        program = textwrap.dedent("""
            import socket, sys
            for line in sys.stdin:
                try:
                    print(socket.create_connection(("9.9.9.9", 80), timeout=10).recv(100).decode().strip(), flush=True)
                except OSError as error:
                    print("failed", error, flush=True)
        """)
        living = subprocess.Popen(
            daemon.command("run", "-i", "--net", "nat", "--", "/usr/bin/python3", "-c", program), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd="/")
        self.addCleanup(lambda: (living.kill(), living.communicate()))

        def again():
            living.stdin.write("again\n")
            living.stdin.flush()
            return living.stdout.readline()

        self.assertIn("world", again())
        first = self.the_pasta(daemon)
        os.kill(first, 9)
        wait_for(lambda: "pasta ended" in daemon.text(), "the word of its end")
        wait_for(lambda: "world" in again(), "the network of the living sandbox")
        self.assertNotEqual(self.the_pasta(daemon), first)
        # The rules hold for the next one, too.
        self.assertIn(self.ask(daemon, HOST[0])[HOST[0]], REFUSALS)
        self.assertEqual(self.answerer(self.ask(daemon, PUBLIC[0])), {PUBLIC[0]: "world"})

    def test_a_pasta_without_its_device_ends_by_itself(self):
        # So does the daemon end one that takes no signals from it.
        daemon = self.daemon()
        self.ask(daemon, PUBLIC[0])
        first = self.the_pasta(daemon)
        self.in_gateway(daemon, "ip", "link", "del", "dev", "up")
        wait_for(lambda: not os.path.exists(f"/proc/{first}"), "the end of pasta")
        self.assertEqual(self.answerer(self.ask(daemon, PUBLIC[0])), {PUBLIC[0]: "world"})

    def test_one_that_cannot_start_is_told_in_its_own_words(self):
        program = os.path.join(self.folder, "no-pasta")
        Path(program).write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
        os.chmod(program, 0o755)
        daemon = self.daemon(nat=f"{{pasta: {program}}}")
        message = self.refusal(daemon)
        self.assertIn("attach the network", message)
        self.assertIn("ended at its start: no luck today", message)
        self.assertIn("not found", self.refusal(self.daemon(nat="{pasta: /nowhere/pasta}")).lower().replace("enoent", "not found"))
        # Without a network all is as ever.
        self.assertEqual(daemon.hatchery("run", "--", "/bin/true").returncode, 0)

    def test_where_pasta_or_its_device_is_missing_the_refusal_says_how_to_mend_it(self):
        message = self.refusal(self.daemon(place="no-pasta"))
        self.assertIn("install the package passt", message)
        message = self.refusal(self.daemon(place="no-tun"))
        self.assertIn("/dev/net/tun", message)
        self.assertIn("modprobe tun", message)

    def test_the_doctor_tells_what_a_network_lacks(self):
        for place, state, words in (("", "ok", "nat: by /usr/bin/pasta"), ("no-pasta", "degraded", "pasta is not installed"),
                                    ("no-tun", "degraded", "/dev/net/tun")):
            with self.subTest(place=place):
                answer = subprocess.run(
                    [*self.wrapper(place), *as_user(SINGLE_ID), HATCHERY, "doctor", "--json"], capture_output=True, text=True, cwd="/",
                    env={"PATH": "/usr/bin:/bin"})
                check = next(check for check in json.loads(answer.stdout)["checks"] if check["check"] == "network")
                self.assertEqual(check["state"], state)
                self.assertIn(words, check["found"])

    def test_nothing_is_left_of_sandboxes_or_of_the_daemon(self):
        before = self.internet.interfaces(), self.internet.tables()
        for end in ("stop", "kill"):
            with self.subTest(end=end):
                daemon = self.daemon()
                self.ask(daemon, PUBLIC[0])
                pasta = self.the_pasta(daemon)
                self.assertTrue(os.path.exists(f"/proc/{pasta}"))
                wait_for(lambda: not re.search(r" s\d+@", self.in_gateway(daemon, "ip", "-o", "link")), "the end of the pair")
                if end == "stop":
                    daemon.stop()
                    self.assertFalse(os.path.exists(f"/proc/{pasta}"))
                else:
                    daemon.process.kill()
                    daemon.wait()
                    wait_for(lambda: not os.path.exists(f"/proc/{pasta}"), "the end of pasta")
                self.assertEqual((self.internet.interfaces(), self.internet.tables()), before)

    def test_off_is_a_refusal_and_required_is_a_condition(self):
        self.assertIn("nat.mode is off", self.refusal(self.daemon(nat="{mode: off}")))
        daemon = Daemon("nat: {mode: required}\n" + CONFIGURATION, wrapper=self.wrapper("no-tun"), uid=SINGLE_ID)
        self.addCleanup(daemon.stop)
        self.assertNotEqual(daemon.wait(), 0)
        self.assertIn("nat.mode is required", daemon.text())
        daemon = self.daemon(nat="{mode: required}")
        wait_for(lambda: len(self.pastas(daemon)) == 1, "its network, which nobody has asked for")


if __name__ == "__main__":
    unittest.main()
