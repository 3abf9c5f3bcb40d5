"""The frozen heap: nobody can tell it from ordinary memory, and nobody can write to another one's.

Docs/Decisions/0012-frozen-heap.md. HATCHERY_FREEZE_CLONES=10000 makes the test of the serve loop as long as it was once.
"""
import json, os, shutil, subprocess, sys, tempfile, unittest

import wire
from wire import CODE, PROGRAM, Daemon, plan

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "../../Sources/CHatchery")
FREEZER = [os.path.join(SOURCES, name) for name in ("freeze.c", "freeze_images.c", "freeze_madvise.c")]
JEMALLOC = os.environ.get("HATCHERY_TEST_JEMALLOC", ""), "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
CLONES = int(os.environ.get("HATCHERY_FREEZE_CLONES", "1000"))


def python_zygote(warmup="", **keys):
    words = {"name": "python", "kind": "python", "interpreter": "/usr/bin/python3", "warmup": warmup, **keys}
    return "- " + json.dumps(words)  # JSON is YAML


def has(module):
    return subprocess.run(["/usr/bin/python3", "-c", f"import {module}"], capture_output=True).returncode == 0


def anonymous_kilobytes(pid, name=""):
    """Written pages of a process, by the kernel's count, in mappings whose line in smaps contains `name`."""
    total, inside = 0, False
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            first = line.split(None, 1)[0]
            if not first.endswith(":"):
                inside = name in line
            elif first == "Anonymous:" and inside:
                total += int(line.split()[1])
    return total


class Contents(unittest.TestCase):
    def test_every_mapping_reads_as_before_and_malloc_goes_on(self):
        compiler = shutil.which("cc") or shutil.which("clang")
        if not compiler:
            self.skipTest("no C compiler")
        with tempfile.TemporaryDirectory() as directory:
            program = os.path.join(directory, "contents")
            subprocess.run([compiler, "-O1", "-Wl,-z,now", "-D_GNU_SOURCE", "-include", "pthread.h", "-I", SOURCES, "-I", os.path.join(SOURCES, "include"),
                            "-o", program, os.path.join(HERE, "contents.c"),
                            *FREEZER], check=True)
            for _ in range(5):  # addresses are random
                done = subprocess.run([program, sys.executable], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stdout), (0, "1 ok\n"), done.stderr)

    def test_jemalloc_gives_zeros_where_they_are_promised(self):
        library = next((path for path in JEMALLOC if os.path.exists(path)), None)
        if not library:
            self.skipTest("no libjemalloc2, or HATCHERY_TEST_JEMALLOC")
        with tempfile.TemporaryDirectory() as directory:
            program = os.path.join(directory, "zeros")
            subprocess.run(["cc", "-O1", "-fno-builtin", "-D_GNU_SOURCE", "-I", os.path.join(SOURCES, "include"), "-o", program,
                            os.path.join(HERE, "zeros.c"), *FREEZER],
                           check=True)
            for settings in ("", "dirty_decay_ms:0,muzzy_decay_ms:0"):
                done = subprocess.run([program], capture_output=True, text=True,
                                      env={"LD_PRELOAD": library, "MALLOC_CONF": settings})
                self.assertEqual((done.returncode, done.stdout), (0, "0 of 64 not zero\n"), done.stderr)


PRELOAD = """
import ctypes, hashlib, mmap, sys, builtins
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
class State: pass
state = sys.state = State()
state.words = {f"key {i}": [i, str(i) * 3] for i in range(50000)}
state.long_list = list(range(300000))
state.buffer = bytearray(b"frozen" * 200000)
opened = open("/usr/bin/python3", "rb")
state.file = mmap.mmap(opened.fileno(), 1 << 20, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
opened.close()
state.file[5000:5006] = b"copied"
def region(protection):
    address = libc.mmap(None, 1 << 16, 3, 0x22, -1, 0)
    ctypes.memset(address, 42, 1 << 16)
    assert libc.mprotect(address, 1 << 16, protection) == 0
    return address
state.read_only, state.guarded = region(1), region(0)
state.shared = mmap.mmap(-1, 4096)
try:
    import numpy
    state.array = numpy.arange(1 << 24, dtype=numpy.int64)
    state.untouched = numpy.zeros(1 << 27)
except ImportError:
    state.array = None
def digest():
    sum = hashlib.sha256(repr(state.words).encode() + repr(state.long_list).encode() + bytes(state.buffer) + state.file[:])
    sum.update(ctypes.string_at(state.read_only, 1 << 16))
    if state.array is not None: sum.update(state.array)
    return sum.hexdigest()
state.digest = digest
state.before = digest()
"""

CHECK = "import sys\nassert sys.state.digest() == sys.state.before\nprint('same')\n"

CHANGE = """
import sys, ctypes
state = sys.state
for key in state.words: state.words[key] = 'changed'
state.words.update((f"more {i}", i) for i in range(100000))
state.long_list.extend(range(1000000)); state.long_list[5] = 'changed'
state.buffer.extend(b"x" * 50000000); state.buffer[3] = 0
state.file[:100] = bytes(100)
if state.array is not None:
    state.array += 1
    assert state.untouched.sum() == 0
    state.untouched[::4096] = 1
    state.array = state.array.copy()
libc = ctypes.CDLL(None)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for address in (state.read_only, state.guarded):
    assert libc.mprotect(address, 1 << 16, 3) == 0
    assert ctypes.string_at(address, 1 << 16) == b"*" * (1 << 16)
    ctypes.memset(address, 0, 1 << 16)
import gc; gc.collect()
libc.malloc_trim(0)
assert state.long_list[-1] == 999999 and len(state.long_list) == 1300000
assert len(state.words) == 150000 and state.words["more 7"] == 7
assert state.buffer.endswith(b"xxxx") and state.buffer.startswith(b"fro\\0en")
print('changed')
"""

# Every way to the file that one can think of, each with what came of it; then writes through the mapping itself.
ATTACK = r"""
import ctypes, os, re, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mremap.restype = ctypes.c_void_p
ways = {}
def attempt(name, action):
    try: ways[name] = action()
    except OSError as error: ways[name] = error.errno
maps = [line.split() for line in open('/proc/self/maps') if 'memfd:hatchery-frozen' in line]
assert maps or not FROZEN, 'nothing is frozen'
descriptors = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}') and 'memfd' in os.readlink(f'/proc/self/fd/{fd}')]
assert not descriptors, descriptors
for pid in ('self', '1'):
    for line in maps:
        for flags in (os.O_RDWR, os.O_RDONLY):
            attempt(f'map_files {pid} {flags}', lambda: os.close(os.open(f'/proc/{pid}/map_files/{line[0]}', flags)) or 'opened')
address, end = (int(part, 16) for part in next(line for line in maps if line[1].startswith('rw'))[0].split('-'))
def raw(name, *arguments):
    result = libc.syscall(*[ctypes.c_long(argument) for argument in arguments])
    ways[name] = ctypes.get_errno() if result == -1 else 'done'
raw('remap_file_pages', 216, address, 4096, 0, 0, 0)
raw('mremap of size 0', 25, address, 0, 4096, 1)
raw('mmap shared of own memory', 9, 0, 4096, 3, 1, -1, 0)
def poke(where):
    with open('/proc/self/mem', 'r+b', 0) as memory:
        memory.seek(where); memory.write(b'poked')
    return 'own copy'
attempt('mem of a read-only page', lambda: poke(sys.state.read_only))
attempt('mem of a guarded page', lambda: poke(sys.state.guarded))
sys.state.buffer[:] = b'attack' * 200000
print({name: result for name, result in ways.items() if result == 'opened' or name == 'mremap of size 0' and result == 'done'})
"""


class Children(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        preload = ["numpy"] if has("numpy") else []
        cls.daemon = cls.enterClassContext(Daemon(python_zygote(PRELOAD, preload=preload, allow=["shared_memory"])))
        cls.connection, cls.listing = cls.daemon.wait_ready()
        cls.addClassCleanup(cls.connection.close)

    def run_code(self, source):
        child = self.connection.code(source)
        self.assertEqual((child.exit_code, child.error), (0, b""), (child.output, child.signal))
        return child.output.decode()

    def test_it_is_frozen_and_the_listing_says_so(self):
        self.assertGreater(self.listing["frozen_bytes"], 20 << 20)
        self.assertGreater(self.listing["frozen_mappings"], 20)
        self.assertEqual(self.listing["freeze_note"], "")
        self.assertLess(self.listing["anonymous_bytes"], self.listing["frozen_bytes"] / 5)
        self.assertGreater(self.listing["page_table_bytes"], 0)

    def test_libraries_are_joined_and_cannot_be_written(self):
        # Headers, text, rodata and relocated pages of a smaller library: one mapping instead of four.
        with open(f"/proc/{self.listing['pid']}/maps") as file:
            mappings = [line.split() for line in file]
        joined = [mapping for mapping in mappings if mapping[1] == "r-xp" and "/memfd:hatchery-frozen" in mapping]
        self.assertGreater(len(joined), 3)
        # What a library is found by (dl_iterate_phdr, dladdr) is in memory as before: it can be asked and loaded again.
        self.assertEqual(self.run_code("import ctypes; l = ctypes.CDLL(None); print(l.strlen(b'four'), ctypes.CDLL('libz.so.1').zlibVersion.__name__)"), "4 zlibVersion\n")

    def test_the_contents_are_those_of_the_preload(self):
        self.assertEqual(self.run_code(CHECK), "same\n")

    def test_no_child_sees_what_another_one_wrote(self):
        self.assertEqual(self.run_code(CHANGE), "changed\n")
        self.assertEqual(self.run_code(CHECK), "same\n")

    def test_no_child_can_write_to_the_memfd(self):
        self.assertEqual(self.run_code("FROZEN = True\n" + ATTACK), "{}\n")
        self.assertEqual(self.run_code(CHECK), "same\n")

    def test_the_zygote_keeps_no_descriptor_of_the_memfd(self):
        opened = [os.readlink(f"/proc/{self.listing['pid']}/fd/{name}") for name in os.listdir(f"/proc/{self.listing['pid']}/fd")]
        self.assertFalse([target for target in opened if "frozen" in target], opened)

    def test_the_memfd_has_every_seal(self):
        # As root this test reaches what no child does: the file behind the mapping.
        with open(f"/proc/{self.listing['pid']}/maps") as file:
            ranges = [line.split()[0] for line in file if "memfd:hatchery-frozen" in line]
        name = "-".join(part.lstrip("0") for part in ranges[0].split("-"))
        try:
            descriptor = os.open(f"/proc/{self.listing['pid']}/map_files/{name}", os.O_RDWR)
        except PermissionError:
            self.skipTest("map_files wants CAP_CHECKPOINT_RESTORE")
        import fcntl
        self.assertEqual(fcntl.fcntl(descriptor, 1034) & 15, 15)
        with self.assertRaises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with self.assertRaises(PermissionError):
            os.ftruncate(descriptor, 0)
        import mmap
        with self.assertRaises(PermissionError):
            mmap.mmap(descriptor, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        size = os.fstat(descriptor)
        self.assertLessEqual(size.st_size, size.st_blocks * 512)  # no holes that a child could fill for ever
        os.close(descriptor)

    def test_the_serve_loop_writes_to_no_frozen_page(self):
        pid = self.listing["pid"]
        for _ in range(3):
            self.run_code("print()")
        before = anonymous_kilobytes(pid)
        for _ in range(CLONES):
            child = self.connection.spawn("python", plan(CODE, source="pass")).finish()
            self.assertEqual(child.exit_code, 0)
        self.assertEqual(anonymous_kilobytes(pid) - before, 0)

    def test_the_zygote_writes_no_frozen_page_itself(self):
        # What it wrote would be copied into each child's page tables again.
        self.assertLess(anonymous_kilobytes(self.listing["pid"], "memfd:hatchery-frozen"), 64)


class WhatCannotBeFrozen(unittest.TestCase):
    def listing_of(self, warmup, source, **keys):
        with Daemon(python_zygote(warmup, **keys)) as daemon:
            connection, listing = daemon.wait_ready()
            self.addCleanup(connection.close)
            child = connection.code(source)
            self.assertEqual((child.exit_code, child.error), (0, b""))
            return listing, child.output.decode()

    def test_the_configuration_can_say_no(self):
        listing, output = self.listing_of("import sys; sys.kept = 5", "import sys; print(sys.kept)", freeze=False)
        self.assertEqual((listing["frozen_bytes"], listing["freeze_note"], output), (0, "", "5\n"))

    def test_a_limit_on_file_sizes_is_told_and_harmless(self):
        listing, output = self.listing_of(
            "import resource, sys; sys.kept = [bytes(1000) for i in range(10000)]\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))", "import sys; print(len(sys.kept), sum(map(sum, sys.kept)))")
        self.assertIn("frozen: memfd: EFBIG", listing["freeze_note"])
        self.assertLessEqual(listing["frozen_bytes"], 1 << 16)
        self.assertEqual(output, "10000 0\n")

    def test_where_nothing_can_be_frozen_huge_pages_are_the_next_best(self):
        listing, output = self.listing_of(
            "import resource, sys; sys.kept = bytes(1) + b'k' * (64 << 20)\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
            "import sys; print(len(sys.kept), sys.kept.count(b'k'))")
        self.assertIn("not frozen: memfd: EFBIG", listing["freeze_note"])
        if os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled"):
            self.assertRegex(listing["freeze_note"], "[0-9]{5,} KiB became huge pages instead")
        self.assertEqual((listing["frozen_bytes"], output), (0, "67108865 67108864\n"))

    def test_a_soft_limit_on_file_sizes_does_not_matter(self):
        listing, output = self.listing_of(
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))", "print(1)")
        self.assertEqual((listing["freeze_note"], output), ("", "1\n"))
        self.assertGreater(listing["frozen_bytes"], 1 << 20)

    def test_locked_memory_stays_and_is_told(self):
        listing, output = self.listing_of(
            "import ctypes, sys, mmap\nsys.kept = mmap.mmap(-1, 1 << 18, flags=mmap.MAP_PRIVATE)\nsys.kept[:] = b'k' * (1 << 18)\n"
            "address = ctypes.addressof(ctypes.c_char.from_buffer(sys.kept))\n"
            "assert ctypes.CDLL(None).mlock(ctypes.c_void_p(address), 1 << 18) == 0",
            "import sys; print(sys.kept[:] == b'k' * (1 << 18))")
        self.assertIn("256 KiB in 1 special mapping(s) left out, the first for its VmFlags lo", listing["freeze_note"])
        self.assertGreater(listing["frozen_bytes"], 1 << 20)
        self.assertEqual(output, "True\n")

    def test_memory_that_a_fork_wipes_or_leaves_out_stays_so(self):
        listing, output = self.listing_of(
            "import sys, mmap\nsys.kept = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE)\nsys.kept[:] = b'k' * (1 << 16)\n"
            "sys.kept.madvise(18)", "import sys; print(sys.kept[:] == bytes(1 << 16))")
        self.assertIn("VmFlags wf", listing["freeze_note"])
        self.assertEqual(output, "True\n")


if __name__ == "__main__":
    unittest.main()
