import Glibc
import HatcheryProtocol

/// What usually helps when a step fails with an errno. Only causes that are known; nothing is guessed from errno alone.
enum Hints {
    static func hint(_ step: Step, _ errno: Int32) -> String {
        switch (step, errno) {
        case (.descriptors, EMFILE), (.descriptors, ENFILE):
            "the daemon has no descriptor left: ask again in a moment, or raise its limit (LimitNOFILE of the unit, ulimit -n)"
        case (.main, ENOENT):
            "no such program in the sandbox's root, or its interpreter (#! line, dynamic loader) is missing there"
        case (.main, EACCES): "the sandbox's user may not execute it: check the file's mode and that it is readable"
        case (.main, ENOEXEC): "it is neither a binary for this machine nor a script with a #! line"
        case (.workingDirectory, ENOENT): "the directory of -w must exist inside the sandbox"
        case (.workingDirectory, EACCES): "the sandbox's user may not enter the directory of -w"
        case (.extraMounts, EROFS), (.rootFileSystem, EROFS):
            "the mount point does not exist and lies inside another read-only mount; mount it elsewhere"
        case (.extraMounts, ENOENT): "the mount point lies inside another mount, which does not have it; mount it elsewhere"
        case (.extraMounts, EINVAL), (.extraMounts, ENOTDIR):
            "the mount point is a symbolic link or of another kind (a file takes a file, a directory a directory); mount at the real path"
        case (.extraMounts, ELOOP), (.rootFileSystem, ELOOP), (.rootFileSystem, ENOTDIR):
            "a part of the path is a symbolic link or a file in the root; mount at the real path"
        case (.copyIn, ENOSPC): "the files are larger than the disk limit; raise --disk"
        case (.copyIn, EACCES), (.copyIn, EROFS): "files can be copied to the home directory, /tmp and writable mounts only"
        case (.clone, ENOSPC): "a limit of namespaces is reached: see /proc/sys/user/max_*_namespaces"
        case (.clone, EAGAIN): "a limit of processes is reached: see ulimit -u and /proc/sys/kernel/pid_max"
        case (.clone, EPERM): "this host forbids user namespaces to this process; `hatchery doctor` tells how to allow them"
        case (.awaitSetup, ENOMEM): "the memory limit is too small for the sandbox itself, which takes a megabyte or two; raise --memory"
        case (.clone, EACCES), (.clone, ENOENT), (.clone, EBUSY), (.clone, EOPNOTSUPP):
            "the zygote may not clone into the sandbox's cgroup: was something below the daemon's cgroup changed by others? "
                + "Restart the daemon, or set cgroup.mode to off"
        case (.clone, ECONNRESET): "the zygote ended while it had the order; it is being restarted, ask again"
        case (.clone, EDEADLK): "something started a thread in the zygote after it was ready"
        case (.attachNetwork, EADDRNOTAVAIL): "every address of nat.subnet is in use: wait until sandboxes end, or enlarge it"
        case (.attachNetwork, EACCES), (.attachNetwork, EPERM):
            "the daemon may not enter the sandbox's network namespace: it needs CAP_NET_ADMIN and CAP_SYS_PTRACE"
        case (.configureNetwork, _): "something else in the sandbox's network namespace: is the kernel's IPv6 switched off half-way?"
        case (.forkPayload, EAGAIN): "a limit of processes is reached: see --pids and ulimit -u"
        default: ""
        }
    }
}
