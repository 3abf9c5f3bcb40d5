"""A small internet for the tests: network namespaces of their own, so that the host's network is never touched.

    sandbox - gateway - hatchery0 [host] wan0 - lan0 [world]

`host` is where the daemon runs. `world` answers at public addresses, and at private and special ones that a sandbox must not
reach: everything answers that is not refused on the way. Both end with their holders.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from daemon import wait_for

PUBLIC = ["9.9.9.9", "2606:4700::9"]
HOST = ["8.8.4.2", "2001:4860::2"]
RESOLVER, PRIVATE_RESOLVER = "9.9.9.9", "10.99.0.53"
# One of each block that can be an interface's address. The rest (0/8, 127/8, multicast) never leaves a sandbox.
SPECIAL = [
    "10.99.0.9", "100.64.0.9", "169.254.169.254", "172.16.9.9", "172.31.255.9", "192.0.0.9", "192.0.2.9", "192.31.196.9",
    "192.52.193.9", "192.88.99.1", "192.168.7.9", "192.175.48.9", "198.18.0.9", "198.19.255.9", "198.51.100.9",
    "203.0.113.9", "240.0.0.9",
    "64:ff9b::a63:9", "64:ff9b:1::9", "100::9", "2001::9", "2001:2::9", "2001:10::9", "2001:20::9", "2001:db8::9",
    "2002:a63:9::9", "2620:4f:8000::9", "3ffe::9", "3fff::9", "5f00::9", "fc00::9", "fd00:9::9", "fec0::9",
]

# Says who asked, at every address and port; answers DNS; keeps what came to the port 9999.
SERVER = textwrap.dedent("""
    import socket, sys, threading

    def serve(listener):
        while True:
            peer, address = listener.accept()
            peer.sendall(("%s %s\\n" % (sys.argv[1], address[0])).encode())
            peer.close()

    def names(answers):
        while True:
            query, peer = answers.recvfrom(512)
            end = query.index(b"\\0", 12) + 5
            kind = int.from_bytes(query[end - 4:end - 2], "big")
            count = 1 if kind == 1 else 0
            record = b"\\xc0\\x0c\\0\\x01\\0\\x01\\0\\0\\0\\x3c\\0\\x04" + bytes([9, 9, 9, 9])
            answers.sendto(query[:2] + b"\\x81\\x80\\0\\x01" + bytes([0, count]) + b"\\0\\0\\0\\0"
                           + query[12:end] + record * count, peer)

    def keep(datagrams):
        while True:
            text, peer = datagrams.recvfrom(512)
            print("datagram", text.decode(), "from", peer[0], "port", peer[1], flush=True)

    for port in (80, 53):
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
        threading.Thread(target=serve, args=[listener], daemon=True).start()
    for port, work in ((53, names), (9999, keep)):
        for address in sys.argv[2:]:
            # One socket for each address, so that answers come from where the question went.
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind((address, port))
            threading.Thread(target=work, args=[datagrams], daemon=True).start()
    print("serving", flush=True)
    threading.Event().wait()
""")


class Internet:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.children = []
        self.host = self.hold()
        self.world = self.hold()
        self.ip(self.host, "link", "add", "wan0", "type", "veth", "peer", "name", "lan0", "netns", str(self.world))
        for place, link, addresses in (
                (self.host, "wan0", ["8.8.4.2/24", "2001:4860::2/64"]), (self.world, "lan0", ["8.8.4.1/24", "2001:4860::1/64"])):
            self.ip(place, "link", "set", "lo", "up")
            for address in addresses:
                self.ip(place, "address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
            self.ip(place, "link", "set", link, "up")
        for address in [*PUBLIC, *SPECIAL, PRIVATE_RESOLVER]:
            self.ip(self.world, "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        self.ip(self.host, "route", "add", "default", "via", "8.8.4.1")
        self.ip(self.host, "-6", "route", "add", "default", "via", "2001:4860::1")
        self.forward(True)
        self.serve(self.host, "host", "8.8.4.2")
        self.serve(self.world, "world", RESOLVER, PRIVATE_RESOLVER)

    def hold(self):
        """A network namespace that lasts as long as a process of it."""
        child = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.children.append(child)
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{child.pid}/ns/net") != own, "a network namespace")
        return child.pid

    def inside(self, place, *words):
        return ["nsenter", f"--net=/proc/{place}/ns/net" if isinstance(place, int) else f"--net={place}", *words]

    def run(self, place, *words, **options):
        return subprocess.run(self.inside(place, *words), check=True, capture_output=True, text=True, **options)

    def ip(self, place, *words):
        return self.run(place, "ip", *words).stdout

    def nft(self, place, *words):
        return self.run(place, "nft", *words).stdout

    def forward(self, on, version6=True):
        self.run(self.host, "sysctl", "-q", f"net.ipv4.ip_forward={int(on)}", f"net.ipv6.conf.all.forwarding={int(on and version6)}")

    def serve(self, place, name, *datagram_addresses):
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            self.children.append(subprocess.Popen(
                self.inside(place, sys.executable, "-c", SERVER, name, *datagram_addresses),
                stdin=subprocess.DEVNULL, stdout=output))
        wait_for(lambda: "serving" in log.read_text(), f"the server of {name}")

    def datagrams(self):
        return [line for line in (self.folder / "world.log").read_text().split("\n") if line.startswith("datagram")]

    def interfaces(self):
        return [line.split(":")[1].strip().split("@")[0] for line in self.ip(self.host, "-o", "link").strip().split("\n")]

    def tables(self):
        return self.nft(self.host, "list", "tables").split("\n")[:-1]

    def gateway_of(self, daemon):
        """The network namespace of the daemon's gateway: that of one of its threads."""
        own = os.readlink(f"/proc/{daemon}/ns/net")
        places = [f"/proc/{daemon}/task/{thread}/ns/net" for thread in os.listdir(f"/proc/{daemon}/task")]
        return next((place for place in places if os.readlink(place) != own), None)

    def close(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()


class InternetTestCase(unittest.TestCase):
    """Tests on a host of an internet of their own."""

    @classmethod
    def set_up_internet(cls, missing, name):
        """`missing`: why the tests cannot run here, or None."""
        if missing and os.environ.get("MUST_WORK") != "1":
            raise unittest.SkipTest(missing)
        cls.folder = tempfile.mkdtemp(prefix=f"hatchery-{name}-", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.internet = Internet(cls.folder)
        cls.addClassCleanup(cls.internet.close)
