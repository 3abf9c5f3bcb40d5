"""seccomp/docker.json: well-formed, default deny, and no more beyond Docker's default than its page explains."""

import json
import unittest
from pathlib import Path

SECCOMP = Path(__file__).resolve().parents[2] / "seccomp"

# What Docker's default gives to CAP_SYS_ADMIN and other rights alone, or to nobody.
NOT_DOCKERS = {
    "acct", "add_key", "bpf", "clone3", "delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen",
    "fspick", "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount",
    "mount_setattr", "move_mount", "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open",
    "pidfd_getfd", "pivot_root", "process_madvise", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname",
    "sethostname", "setns", "settimeofday", "clock_settime", "swapoff", "swapon", "syslog", "umount", "umount2", "unshare",
    "userfaultfd", "vhangup",
}


def rules():
    return json.loads((SECCOMP / "docker.json").read_text(encoding="utf-8"))


class DockerProfileTests(unittest.TestCase):
    def test_what_is_not_named_is_refused(self):
        profile = rules()
        self.assertEqual((profile["defaultAction"], profile["defaultErrnoRet"]), ("SCMP_ACT_ERRNO", 1))
        self.assertEqual({rule["action"] for rule in profile["syscalls"]}, {"SCMP_ACT_ALLOW"})
        # No 32-bit and no x32 entry.
        self.assertTrue(all(not entry["subArchitectures"] for entry in profile["archMap"]))

    def test_every_entry_beyond_dockers_is_explained(self):
        page = (SECCOMP / "docker.md").read_text(encoding="utf-8").split("Less than Docker's")[0]
        named = {name for rule in rules()["syscalls"] for name in rule["names"]}
        beyond = named & NOT_DOCKERS
        self.assertIn("mount", beyond)
        for name in sorted(beyond | {"clone"}):
            self.assertIn(f"`{name}`", page)

    def test_no_call_is_named_twice_without_arguments(self):
        plain = [name for rule in rules()["syscalls"] if "args" not in rule for name in rule["names"]]
        self.assertEqual(len(plain), len(set(plain)))

    def test_sockets_are_of_four_families(self):
        families = [rule["args"][0]["value"] for rule in rules()["syscalls"] if rule["names"] == ["socket"]]
        self.assertEqual(families, [1, 2, 10, 16])


if __name__ == "__main__":
    unittest.main()
