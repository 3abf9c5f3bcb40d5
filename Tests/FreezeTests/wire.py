"""Starts hatcheryd on a configuration and speaks its wire format: as much of both as the tests of the frozen heap need.

Docs/Protocol.md has the bytes; Sources/HatcheryProtocol/Frame.swift, LaunchPlan.swift and Replies.swift are their source.
"""
import array, fcntl, os, shutil, socket, struct, subprocess, tempfile, time

BINARIES = os.environ.get("HATCHERY_BIN") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.build/debug")
HELLO, SPAWN, ZYGOTES = 1, 2, 5
WELCOME, SPAWNED, ENDED, FAILURE, ZYGOTE_LISTING = 101, 102, 103, 104, 106
PROGRAM, SCRIPT, CODE = 0, 1, 2
F_ADD_SEALS, ALL_SEALS = 1033, 15
LISTING_NUMBERS = {3: "state", 4: "generation", 5: "pid", 6: "spawned", 11: "frozen_bytes", 12: "frozen_mappings",
                   14: "page_table_bytes", 15: "anonymous_bytes"}
LISTING_TEXTS = {1: "name", 2: "kind", 7: "message", 13: "freeze_note"}


def field(tag, value):
    return struct.pack("<HI", tag, len(value)) + value


def fields(body):
    offset, found = 0, []
    while offset < len(body):
        tag, length = struct.unpack_from("<HI", body, offset)
        found.append((tag, body[offset + 6:offset + 6 + length]))
        offset += 6 + length
    return found


def plan(mode, target="", source="", arguments=()):
    parts = [(1, bytes([mode])), (2, target.encode()), (3, source.encode())] + [(4, word.encode()) for word in arguments]
    return b"".join(field(tag, value) for tag, value in parts if value or tag == 4)


def sealed_file(content):
    descriptor = os.memfd_create("plan", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, F_ADD_SEALS, ALL_SEALS)
    return descriptor


class Refused(Exception):
    """The daemon's failure reply: its fields."""


class Child:
    """A spawned child, with the times since its request: `ready` (the reply) and, after `read`, `first_byte`."""

    def __init__(self, connection, started, descriptors):
        self.connection, self.started = connection, started
        self.ready, self.first_byte = time.perf_counter() - started, None
        self.pidfd, self.stdout, self.stderr = descriptors[:3]

    def finish(self):
        out = os.read(self.stdout, 1 << 16)
        self.first_byte = time.perf_counter() - self.started
        self.output = out + self._rest(self.stdout) if out else out
        self.error = self._rest(self.stderr)
        for descriptor in (self.pidfd, self.stdout, self.stderr):
            os.close(descriptor)
        ended = dict(self.connection.receive(ENDED)[0])
        self.exit_code = struct.unpack("<i", ended[3])[0] if 3 in ended else None
        self.signal = struct.unpack("<i", ended[4])[0] if 4 in ended else None
        self.lived = time.perf_counter() - self.started
        return self

    @staticmethod
    def _rest(descriptor):
        parts = []
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.number = 0
        self.send(HELLO, b"")
        self.receive(WELCOME)

    def close(self):
        self.socket.close()

    def send(self, kind, body, descriptors=()):
        self.number += 1
        header = struct.pack("<4sHHIIHH", b"HTCH", 1, kind, self.number, len(body), len(descriptors), 0)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([header + body], rights)

    def receive(self, expected):
        data, control, _, _ = self.socket.recvmsg(1 << 17, 4096)
        descriptors = array.array("i")
        for _, _, bytes_ in control:
            descriptors.frombytes(bytes_[:len(bytes_) // 4 * 4])
        kind = struct.unpack_from("<4sHH", data)[2] if data else None
        body = fields(data[20:])
        if kind != expected:
            raise Refused(kind, body)
        return body, list(descriptors)

    def spawn(self, zygote, launch_plan):
        descriptor = sealed_file(launch_plan)
        started = time.perf_counter()
        self.send(SPAWN, field(1, zygote.encode()) + field(2, b"default"), [descriptor])
        os.close(descriptor)
        return Child(self, started, self.receive(SPAWNED)[1])

    def code(self, source, zygote="python"):
        """Runs Python source to its end."""
        return self.spawn(zygote, plan(CODE, source=source)).finish()

    def zygotes(self):
        self.send(ZYGOTES, b"")
        listings = {}
        for _, record in self.receive(ZYGOTE_LISTING)[0]:
            listing = {}
            for tag, value in fields(record):
                if tag in LISTING_NUMBERS:
                    listing[LISTING_NUMBERS[tag]] = int.from_bytes(value, "little")
                elif tag in LISTING_TEXTS:
                    listing[LISTING_TEXTS[tag]] = value.decode()
            listings[listing["name"]] = listing
        return listings


class Daemon:
    """A hatcheryd of its own, with the given YAML of `zygotes:`; a context manager."""

    def __init__(self, zygotes, binaries=BINARIES):
        self.directory = tempfile.mkdtemp(prefix="hatchery-freeze-")
        self.socket_path = os.path.join(self.directory, "s.sock")
        configuration = os.path.join(self.directory, "c.yaml")
        with open(configuration, "w") as file:
            file.write(f'socket: {{path: {self.socket_path}, mode: "0600"}}\nzygotes:\n{zygotes}\n')
        self.log_path = os.path.join(self.directory, "log")
        read, write = os.pipe()
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(binaries, "hatcheryd"), "--config", configuration, "--ready-fd", str(write)],
                pass_fds=[write], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(write)
        with open(read) as ready:
            answer = ready.readline()
        if answer != "ready\n":
            self.__exit__()
            raise RuntimeError(f"hatcheryd did not start: {answer}")

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def connect(self):
        return Connection(self.socket_path)

    def wait_ready(self, name="python", seconds=60):
        """A connection, and the listing of the zygote, once that is ready."""
        connection, deadline = self.connect(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            listing = connection.zygotes()[name]
            if listing["state"] == 1:
                return connection, listing
            if listing["state"] == 2:
                break
            time.sleep(0.02)
        raise RuntimeError(f"zygote {name} is not ready: {listing} {self.log()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, True)
