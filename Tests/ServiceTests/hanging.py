"""A file system that a client of a daemon serves itself (FUSE), and does not answer any more when it counts."""

import ctypes
import os
import select
import stat
import struct
import tempfile
import threading

libc = ctypes.CDLL(None, use_errno=True)

# Operations of linux/fuse.h. What is not among them gets ENOSYS, or no answer where there is none.
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, INIT, OPENDIR, READDIR, INTERRUPT, BATCH_FORGET = \
    1, 2, 3, 14, 15, 17, 18, 26, 27, 28, 36, 42
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2


def available():
    return os.geteuid() == 0 and os.path.exists("/dev/fuse")


class HangingFileSystem:
    """Files 1, 2 and so on. Reads of them wait until the end of this object, whoever is killed."""

    def __init__(self):
        self.place = tempfile.mkdtemp(prefix="hatchery-hanging-", dir="/tmp")
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"hanging", self.place.encode(), b"fuse", MS_NOSUID | MS_NODEV, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.end = os.pipe()
        self.reads = threading.Semaphore(0)
        self.server = threading.Thread(target=self.serve, daemon=True)
        self.server.start()

    def serve(self):
        while True:
            if self.end[0] in select.select([self.device, self.end[0]], [], [])[0]:
                # With the last copy of the device the connection ends, and whoever waits is woken with an error.
                os.close(self.device)
                return
            request = os.read(self.device, 1 << 17)
            _, operation, unique, node = struct.unpack_from("<IIQQ", request)
            if operation == READ:
                self.reads.release()
                continue
            if operation in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            answer = self.answer(operation, node, request[40:])
            error = answer if isinstance(answer, int) else 0
            body = b"" if error else answer
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    def answer(self, operation, node, body):
        if operation == INIT:
            # Version 7.31; 64 bytes of struct fuse_init_out.
            return struct.pack("<IIIIHHI", 7, 31, 65536, 0, 16, 12, 65536) + bytes(40)
        if operation == LOOKUP:
            name = body.rstrip(b"\0")
            if not name.isdigit():
                return -2  # ENOENT
            return struct.pack("<QQQQII", 1 + int(name), 1, 3600, 3600, 0, 0) + self.attributes(1 + int(name))
        if operation == GETATTR:
            return struct.pack("<QII", 3600, 0, 0) + self.attributes(node)
        if operation in (OPEN, OPENDIR):
            return struct.pack("<QII", 1, 2, 0)  # FOPEN_KEEP_CACHE: who opens does not wait for who reads
        if operation == READDIR:
            return b""
        if operation == STATFS:
            return bytes(80)
        return b"" if operation == RELEASE else -38  # ENOSYS

    @staticmethod
    def attributes(node):
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
        return struct.pack("<QQQQQQIIIIIIIIII", node, 1 << 20, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def wait_for_reads(self, count, patience):
        """Whether so many reads have come."""
        return all(self.reads.acquire(timeout=patience) for _ in range(count))

    def close(self):
        os.write(self.end[1], b"x")
        self.server.join()
        for end in self.end:
            os.close(end)
        libc.umount2(self.place.encode(), MNT_DETACH)
        os.rmdir(self.place)
