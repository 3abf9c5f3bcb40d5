"""What a client serves itself and does not answer any more, and who has to wait for it: nobody else."""

import unittest

import hanging
from daemon import PATIENCE, Daemon

OTHER = 61001


class HangingTests(unittest.TestCase):
    @unittest.skipUnless(hanging.available(), "a file system of one's own needs root and /dev/fuse")
    def test_a_hanging_file_system_holds_up_nobody_else(self):
        files = hanging.HangingFileSystem()
        daemon = Daemon(
            "drain: 0s\npolicy: {starting: 4}\nzygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]\n")
        self.addCleanup(daemon.stop)
        daemon.wait_ready()
        # More than there are places for sandboxes that are being set up; each waits for a file that does not come.
        hung = [daemon.start("run", "--in", f"{files.place}/{number}", "--", "/bin/true") for number in range(1, 7)]
        for process in hung:
            self.addCleanup(lambda process=process: (process.kill(), process.communicate()))
        # The first thing that is done at the end: nobody who waits for it can be ended before.
        self.addCleanup(files.close)
        self.assertTrue(files.wait_for_reads(2, PATIENCE))
        for _ in range(5):
            self.assertEqual(daemon.hatchery("run", "/bin/echo", "beside", uid=OTHER).stdout, "beside\n")
        # Nor when they are given up, though the children cannot be ended.
        for process in hung:
            process.kill()
            process.communicate()
        for _ in range(5):
            self.assertEqual(daemon.hatchery("run", "/bin/echo", "beside", uid=OTHER).stdout, "beside\n")


if __name__ == "__main__":
    unittest.main()
