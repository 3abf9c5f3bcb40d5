"""A daemon inside a filter that has a listener already, as some container managers put one around everything: the kernel
gives no second one, so refusals hold and are not counted."""

import json
import sys
import unittest

from daemon import Daemon

# Loads a filter that allows everything, with a listener that stays open, and becomes what its arguments say.
INSIDE_A_LISTENER = """
import ctypes, fcntl, os, sys
class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
allow = Filter(6, 0, 0, 0x7FFF0000)
program = Program(1, ctypes.pointer(allow))
number = 317 if os.uname().machine == "x86_64" else 277
listener = libc.syscall(number, 1, 8, ctypes.byref(program))
if listener < 0:
    sys.exit(f"no listener: errno {ctypes.get_errno()}")
os.set_inheritable(listener, True)
os.execv(sys.argv[1], sys.argv[1:])
"""

CODE = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.unshare(0x10000000), ctypes.get_errno())"
CONFIGURATION = """
drain: 0s
zygotes: [{name: python, kind: python, interpreter: /usr/bin/python3, nursery: {min: 1, max: 2}}]
profiles: {default: {}, strict: {on_violation: kill}}
"""


class WithoutAListener(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIGURATION, wrapper=[sys.executable, "-c", INSIDE_A_LISTENER])
        cls.addClassCleanup(cls.daemon.stop)
        cls.daemon.wait_ready()

    def run_code(self, code, *options):
        return json.loads(self.daemon.hatchery("python", "--json", *options, "-c", code, check=False).stdout)

    def test_a_filter_without_a_listener_says_the_same(self):
        result = self.run_code(CODE)
        self.assertEqual((result["verdict"], result["stdout"]), ("exited", "-1 1\n"))
        self.assertEqual(result["evidence"]["violations"], [])
        self.assertIn("seccomp", result["receipt"]["active"])

    def test_what_is_only_told_is_allowed(self):
        result = self.run_code("import os; os.kill(os.getpid(), 31)")
        self.assertEqual(result["signal_name"], "SIGSYS")

    def test_a_violation_ends_the_program_by_the_filter_itself(self):
        result = self.run_code(CODE, "--profile", "strict")
        self.assertEqual((result["verdict"], result["stdout"], result["signal_name"]), ("syscall_denied", "", "SIGSYS"))


if __name__ == "__main__":
    unittest.main()
