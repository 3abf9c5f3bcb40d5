"""Networked sandboxes, in an internet of the tests' own. Each refusal has its twin: the same question with the rules taken away."""

import json
import os
import shutil
import subprocess
import textwrap
import unittest

from daemon import HATCHERY, Daemon, wait_for
from internet import HOST, PRIVATE_RESOLVER, PUBLIC, RESOLVER, SPECIAL, InternetTestCase

# What becomes of a TCP connection to each address: the first line that the server says, or the error's name.
ASK = textwrap.dedent("""
    import errno, json, socket, sys
    outcomes = {}
    for place in sys.argv[1:]:
        address, _, port = place.rpartition("@")
        family, kind, protocol, _, target = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM)[0]
        peer = socket.socket(family, kind, protocol)
        peer.settimeout(10)
        try:
            peer.connect(target)
            outcomes[address] = peer.recv(100).decode().strip()
        except TimeoutError:
            outcomes[address] = "silence"
        except OSError as error:
            outcomes[address] = errno.errorcode[error.errno]
    print(json.dumps(outcomes))
""")
LISTEN = textwrap.dedent("""
    import socket, sys
    listener = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
    print("listening", flush=True)
    while True:
        peer, address = listener.accept()
        peer.sendall(b"sandbox\\n")
        peer.close()
""")
REFUSALS = {"EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPERM", "ECONNREFUSED"}
CONFIGURATION = """
drain: 0s
zygotes:
  - {name: exec, kind: exec, nursery: {min: 1, max: 4}}
profiles:
  default: {limits: {wall: {default: 300s, max: 600s}}}
  networked: {network: nat}
"""


def missing():
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("nft", "ip", "nsenter", "unshare", "sysctl"):
        if shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
            return f"{program} is not installed"
    attempt = subprocess.run(
        ["unshare", "--net", "nft", "add table inet t; add chain inet t c { type filter hook prerouting priority 0; };"
         " add rule inet t c fib saddr . iif oif missing reject"], capture_output=True, text=True)
    return attempt.stderr.strip().split("\n")[0] if attempt.returncode else None


class NetworkTests(InternetTestCase):
    @classmethod
    def setUpClass(cls):
        cls.set_up_internet(missing(), "network")

    def setUp(self):
        self.internet.forward(True)

    def daemon(self, configuration=CONFIGURATION, nat="{mode: auto}"):
        daemon = Daemon(f"nat: {nat}\n" + configuration, wrapper=self.internet.inside(self.internet.host))
        self.addCleanup(daemon.stop)
        return daemon.wait_ready()

    def ask(self, daemon, *places, network="nat", program=ASK):
        result = daemon.hatchery("run", "--net", network, "--", "/usr/bin/python3", "-c", program,
                                 *[place if "@" in place else place + "@80" for place in places], check=False)
        self.assertEqual(result.returncode, 0, result.stderr + daemon.text())
        return json.loads(result.stdout)

    def background(self, daemon, *words):
        process = daemon.start(*words)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        return process

    def listener(self, daemon):
        """A networked sandbox that answers, and its address."""
        process = self.background(daemon, "run", "--net", "nat", "--", "/usr/bin/python3", "-c", LISTEN)
        self.assertEqual(process.stdout.readline(), "listening\n")
        pid = daemon.sandboxes()[0]["pid"]
        answer = json.loads(self.internet.ip(pid, "-j", "address", "show", "dev", "eth0"))
        return pid, [info["local"] for info in answer[0]["addr_info"]]

    def take_the_rules_away(self, daemon):
        gateway = self.internet.gateway_of(daemon.process.pid)
        self.internet.nft(gateway, "flush ruleset")
        for chain in ("input", "outward", "inward"):
            self.internet.nft(self.internet.host, f"flush chain inet hatchery0 {chain}")

    def test_public_addresses_are_reached_behind_the_hosts_own(self):
        answers = self.ask(self.daemon(), *PUBLIC)
        self.assertEqual(answers, {"9.9.9.9": "world ::ffff:8.8.4.2", "2606:4700::9": "world 2001:4860::2"})

    def test_private_and_special_addresses_and_the_host_are_refused_at_once(self):
        daemon = self.daemon()
        own = ["10.203.0.1", "10.203.0.2", "fd68:6174:6368::1", "fd68:6174:6368::2"]
        forbidden = SPECIAL + HOST + own
        for address, outcome in self.ask(daemon, *forbidden, "fe80::1%eth0", "224.0.0.9", "255.255.255.255").items():
            self.assertIn(outcome, REFUSALS, address)
        # The twin: without the rules each of them answers, so that it was the rules that refused.
        self.take_the_rules_away(daemon)
        for address, outcome in self.ask(daemon, *SPECIAL, *HOST, own[0], own[2]).items():
            self.assertIn(outcome.split(" ")[0], {"world", "host"}, address)

    def test_an_ipv4_address_in_the_clothes_of_ipv6_is_refused_too(self):
        daemon = self.daemon()
        for address, outcome in self.ask(daemon, "::ffff:10.99.0.9", "::ffff:169.254.169.254").items():
            self.assertIn(outcome, REFUSALS, address)
        self.take_the_rules_away(daemon)
        self.assertEqual(self.ask(daemon, "::ffff:10.99.0.9")["::ffff:10.99.0.9"].split(" ")[0], "world")

    def test_two_at_once_have_a_network_and_do_not_reach_each_other(self):
        daemon = self.daemon()
        _, addresses = self.listener(daemon)
        self.assertEqual(len(addresses), 2, addresses)
        at_8080 = [address + "@8080" for address in addresses]
        answers = self.ask(daemon, *PUBLIC, *at_8080)
        for address in PUBLIC:
            self.assertEqual(answers[address].split(" ")[0], "world")
        for address in addresses:
            self.assertIn(answers[address], REFUSALS)
        self.take_the_rules_away(daemon)
        answers = self.ask(daemon, *at_8080)
        self.assertEqual(set(answers.values()), {"sandbox"})

    def test_nobody_outside_begins_a_conversation_with_a_sandbox(self):
        daemon = self.daemon()
        _, addresses = self.listener(daemon)
        self.internet.ip(self.internet.world, "route", "replace", "10.203.0.0/16", "via", "8.8.4.2")
        words = self.internet.inside(self.internet.world, "/usr/bin/python3", "-c", ASK.replace("settimeout(10)", "settimeout(2)"),
                                     addresses[0] + "@8080")
        self.assertEqual(list(json.loads(subprocess.check_output(words)).values()), ["silence"])
        self.take_the_rules_away(daemon)
        self.assertEqual(list(json.loads(subprocess.check_output(words)).values()), ["sandbox"])

    def test_what_the_host_redirects_elsewhere_is_refused(self):
        # As the published port of a container: the address is the host's, and the packet never comes to the host itself.
        daemon = self.daemon()
        self.addCleanup(self.internet.nft, self.internet.host, "delete table ip ports")
        self.internet.nft(
            self.internet.host, "table ip ports { chain prerouting { type nat hook prerouting priority dstnat; }; };"
            " add rule ip ports prerouting ip daddr 8.8.4.2 tcp dport 8081 dnat to 9.9.9.9:80")
        self.assertIn(self.ask(daemon, "8.8.4.2@8081")["8.8.4.2"], REFUSALS)
        self.take_the_rules_away(daemon)
        self.assertEqual(self.ask(daemon, "8.8.4.2@8081")["8.8.4.2"].split(" ")[0], "world")

    def test_a_source_address_that_is_not_its_own_goes_nowhere(self):
        daemon = self.daemon()
        pid, addresses = self.listener(daemon)

        def send(text, source):
            # With rights that no payload has: as root of the host, inside the sandbox's network namespace.
            self.internet.run(pid, "ip", "address", "replace", source + "/32", "dev", "eth0")
            self.internet.run(pid, "/usr/bin/python3", "-c", textwrap.dedent(f"""
                import socket
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sender.bind(("{source}", 0))
                sender.sendto(b"{text}", ("{RESOLVER}", 9999))
            """))

        def arrived(text):
            return any(f" {text} " in line for line in self.internet.datagrams())

        own = next(address for address in addresses if "." in address)
        send("forged", "10.203.9.9")
        send("honest", own)
        wait_for(lambda: arrived("honest"), "the datagram with the right source")
        self.assertFalse(arrived("forged"))
        self.take_the_rules_away(daemon)
        send("forged-again", "10.203.9.9")
        wait_for(lambda: arrived("forged-again"), "the forged datagram, without rules")

    def test_names_are_asked_of_the_configured_servers(self):
        daemon = self.daemon(nat=f"{{dns: [{RESOLVER}]}}")
        result = daemon.hatchery("run", "--net", "nat", "--", "/bin/sh", "-c", "cat /etc/resolv.conf; getent ahostsv4 example.test")
        self.assertEqual(result.stdout.split("\n")[0], f"nameserver {RESOLVER}")
        self.assertIn("9.9.9.9", result.stdout.split("\n")[1])
        # The file is nobody's to change.
        result = daemon.hatchery("run", "--net", "nat", "--", "/bin/sh", "-c", "echo >/etc/resolv.conf", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("nameserver", daemon.hatchery("run", "--", "/bin/cat", "/etc/resolv.conf").stdout)

    def test_a_private_name_server_of_the_operator_is_reached_at_port_53_only(self):
        daemon = self.daemon(nat=f"{{dns: [{PRIVATE_RESOLVER}]}}")
        answers = self.ask(daemon, PRIVATE_RESOLVER + "@53", "10.99.0.9@53")
        self.assertEqual(answers[PRIVATE_RESOLVER].split(" ")[0], "world")
        self.assertIn(answers["10.99.0.9"], REFUSALS)
        self.assertIn(self.ask(daemon, PRIVATE_RESOLVER + "@80")[PRIVATE_RESOLVER], REFUSALS)

    def test_a_root_of_ones_own_gets_the_name_servers_whatever_it_has_there(self):
        daemon = self.daemon(nat=f"{{dns: [{RESOLVER}]}}")
        for name, prepare in (("nothing", lambda etc: None), ("link", lambda etc: os.symlink("/outside", etc + "/resolv.conf")),
                              ("file", lambda etc: open(etc + "/resolv.conf", "w").close())):
            root = os.path.join(self.folder, "root-" + name)
            os.makedirs(root + "/etc")
            os.makedirs(root + "/bin")
            shutil.copy("/bin/busybox", root + "/bin/busybox")
            prepare(root + "/etc")
            result = daemon.hatchery("run", "--net", "nat", "--rootfs", root, "--", "/bin/busybox", "cat", "/etc/resolv.conf", check=False)
            self.assertEqual(result.stdout, f"nameserver {RESOLVER}\n", name + result.stderr)

    def test_the_payload_has_no_right_over_its_interface(self):
        daemon = self.daemon()
        result = daemon.hatchery("run", "--net", "nat", "--json", "--", "/usr/bin/python3", "-c", textwrap.dedent("""
            import fcntl, socket, struct
            control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            request = struct.pack("16sH22x", b"eth0", 0)
            flags = struct.unpack("16sH22x", fcntl.ioctl(control, 0x8913, request))[1]
            print("up" if flags & 1 else "down")
            try:
                fcntl.ioctl(control, 0x8914, request)
            except PermissionError:
                print("refused")
        """))
        report = json.loads(result.stdout)
        self.assertEqual(report["stdout"], "up\nrefused\n")
        self.assertIn("netns", report["receipt"]["active"])

    def test_loopback_is_loopback_alone_and_none_is_nothing(self):
        daemon = self.daemon()
        program = textwrap.dedent("""
            import json, socket
            try:
                listener = socket.create_server(("127.0.0.1", 8080))
                socket.create_connection(("127.0.0.1", 8080))
                own = "reached"
            except OSError as error:
                own = "refused"
            try:
                socket.create_connection(("9.9.9.9", 80), timeout=10)
                other = "reached"
            except OSError as error:
                other = "refused"
            print(json.dumps([own, other]))
        """)
        self.assertEqual(self.ask(daemon, network="loopback", program=program), ["reached", "refused"])
        self.assertEqual(self.ask(daemon, network="none", program=program), ["refused", "refused"])
        self.assertEqual(self.ask(daemon, network="nat", program=program), ["reached", "reached"])

    def test_a_networked_profile_has_networked_children_parked(self):
        configuration = CONFIGURATION.replace("kind: exec,", "kind: exec, profile: networked,")
        daemon = self.daemon(configuration)

        def hit(*words):
            result = daemon.hatchery("run", "--json", *words, "--", "/usr/bin/python3", "-c", ASK, "9.9.9.9@80")
            report = json.loads(result.stdout)
            return report["spawn"]["nursery_hit"], "world" in report["stdout"]

        wait_for(lambda: hit("--profile", "networked") == (True, True), "a parked child with a network")
        # The nursery has waited for the network, and has not failed for want of it.
        self.assertNotIn("nursery of exec", daemon.text())
        self.assertEqual(hit("--profile", "networked", "--net", "none"), (False, False))

    def test_nothing_is_left_of_a_sandbox_or_of_the_daemon(self):
        before = self.internet.interfaces(), self.internet.tables()
        daemon = self.daemon()
        self.ask(daemon, *PUBLIC)
        self.assertIn("hatchery0", self.internet.interfaces())
        gateway = self.internet.gateway_of(daemon.process.pid)
        wait_for(lambda: " s0@" not in self.internet.ip(gateway, "-o", "link"), "the end of the pair")
        self.assertEqual(len(self.internet.tables()), len(before[1]) + 1)
        daemon.stop()
        self.assertEqual((self.internet.interfaces(), self.internet.tables()), before)

    def test_what_a_killed_daemon_left_is_replaced_by_the_next(self):
        daemon = self.daemon()
        self.ask(daemon, *PUBLIC)
        daemon.process.kill()
        daemon.wait()
        wait_for(lambda: "hatchery0" not in self.internet.interfaces(), "the end of the link")
        self.assertEqual(self.internet.tables(), ["table inet hatchery0"])
        daemon = self.daemon()
        self.assertEqual(self.ask(daemon, PUBLIC[0])[PUBLIC[0]].split(" ")[0], "world")
        self.assertEqual(self.internet.tables(), ["table inet hatchery0"])
        daemon.stop()
        self.assertEqual(self.internet.tables(), [])

    def test_a_second_daemon_is_told_to_take_another_name(self):
        self.ask(self.daemon(), PUBLIC[0])
        second = self.daemon()
        result = second.hatchery("run", "--net", "nat", "--", "/bin/true", check=False)
        self.assertEqual(result.returncode, 125)
        self.assertIn("give each daemon its own nat.interface", result.stderr)
        third = self.daemon(nat='{interface: other0, subnet: 10.77.0.0/24, subnet6: "fd77::/64"}')
        self.assertEqual(self.ask(third, PUBLIC[0])[PUBLIC[0]].split(" ")[0], "world")

    def test_a_host_that_does_not_forward_is_told_how_to(self):
        self.internet.forward(False)
        daemon = self.daemon()
        result = daemon.hatchery("run", "--net", "nat", "--", "/bin/true", check=False)
        self.assertEqual(result.returncode, 125)
        self.assertIn("attach the network", result.stderr)
        self.assertIn("sysctl -w net.ipv4.ip_forward=1", result.stderr)
        # Mended, it works at once. Without forwarding of IPv6, that is refused and IPv4 goes on.
        self.internet.forward(True, version6=False)
        answers = self.ask(daemon, *PUBLIC)
        self.assertEqual(answers["9.9.9.9"].split(" ")[0], "world")
        self.assertIn(answers["2606:4700::9"], REFUSALS)

    def test_off_is_a_refusal_and_required_is_a_condition(self):
        result = self.daemon(nat="{mode: off}").hatchery("run", "--net", "nat", "--", "/bin/true", check=False)
        self.assertEqual(result.returncode, 125)
        self.assertIn("nat.mode is off", result.stderr)
        self.internet.forward(False)
        daemon = Daemon("nat: {mode: required}\n" + CONFIGURATION, wrapper=self.internet.inside(self.internet.host))
        self.addCleanup(daemon.stop)
        self.assertNotEqual(daemon.wait(), 0)
        self.assertIn("nat.mode is required", daemon.text())


if __name__ == "__main__":
    unittest.main()
