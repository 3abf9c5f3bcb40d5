import HatcheryProtocol

// Calls that hardly anyone needs and that the kernel's history is full of, foreign entries, the clock.
extension Catalog {
    /// A call that no program here needs. The arguments do nothing, whatever the rights.
    private static func call(
        _ name: String, _ tried: String, _ arguments: String, _ answers: [String] = ["EPERM", "ENOSYS"],
        _ published: [String] = []
    ) -> Probe {
        let allowed = Set(answers)
        return Probe(
            "kernel." + name.split(separator: "_").joined(separator: "-"), tried, [.seccomp], .attempt("sys \(name) \(arguments)"),
            .that(answers.joined(separator: " or ")) { allowed.contains($0) }, needs: [.kernel(name)], published: published)
    }

    private static let uring = ["CVE-2021-41073", "CVE-2022-29582", "CVE-2022-2602", "CVE-2023-2598"]

    static let kernel: [Probe] = [
        call("bpf", "load a BPF program", "5 @ 64", ["EPERM"], ["CVE-2020-8835", "CVE-2021-3490"]),
        call("perf_event_open", "watch the processor", "@ 0 -1 -1 0"),
        call("userfaultfd", "hold the kernel up in the middle of a copy", "1"),
        call("io_uring_setup", "set up an io_uring, which opens files past the filter", "4 @", ["EPERM"], uring),
        call("io_uring_enter", "use an io_uring", "0 0 0 0 0 0", ["EPERM"], uring),
        call("io_uring_register", "register with an io_uring", "0 0 0 0", ["EPERM"], uring),
        call("modify_ldt", "write a local descriptor table", "0 @ 4096", ["EPERM"]),
        call("iopl", "take the machine's ports", "3"), call("ioperm", "take one port of the machine", "0x80 1 1"),
        call("kexec_load", "boot another kernel", "0 999 0 0"), call("kexec_file_load", "boot another kernel from a file", "-1 -1 0 0 0"),
        call("init_module", "load a module", "@ 0 @"), call("finit_module", "load a module from a file", "-1 @ 0"),
        call("delete_module", "unload a module", "s:probe-nothing 2048"),
        call("reboot", "restart the machine", "0 0 0 0"), call("swapon", "swap to a file", "s:/tmp/nothing 0"),
        call("swapoff", "take swap away", "s:/tmp/nothing"), call("acct", "write process accounting", "s:/tmp/nothing"),
        call("quotactl", "change quotas", "0 0 0 0"), call("quotactl_fd", "change quotas by descriptor", "-1 0 0 0"),
        call("syslog", "read the kernel's log", "3 @ 4096"),
        call("open_by_handle_at", "open a file by a made-up handle", "-100 @ 0"),
        call("fanotify_init", "watch a whole file system", "0 0"),
        call("vmsplice", "lend pages to a pipe", "-1 @ 1 0", ["EPERM", "ENOSYS"], ["CVE-2022-0847"]),
        call("remap_file_pages", "use the mapping call that nobody uses", "0 0 0 0 0"),
        call("memfd_secret", "take pages that the kernel cannot move", "0"),
        call("cachestat", "see which pages of shared files neighbours have read", "-1 @ @ 0"),
        call("io_setup", "take native AIO, of which the host has one budget", "1 @"),
        call("ustat", "ask for a disk of the host by number", "0x800 @"), call("sysfs", "list the kernel's file systems", "3"),
        call("lsm_get_self_attr", "ask for security modules' attributes", "100 @ @ 0"),
        call("sync", "flush every file system of the host", "", ["EPERM"]),
        Probe(
            "kernel.lookup-dcookie", "ask a profiler's call for paths", [.seccomp], .attempt("sys lookup_dcookie 0 @ 0"),
            .refused("EPERM", "ENOSYS"), needs: [.kernel("lookup_dcookie")]),
        Probe(
            "kernel.merge-pages", "merge pages, to learn by timing what a neighbour holds", [.seccomp],
            .attempt("sys madvise 0 0 12"), .refused("EINVAL")),
        Probe(
            "kernel.memfd-program", "run a program that has no path", [.seccomp], .attempt("memfd-exec"), .refused("ENOSYS"),
            needs: [.kernel("execveat")]),
        Probe(
            "kernel.personality", "turn address randomisation off for the next program", [.seccomp],
            .attempt("sys personality 0x40000"), .refused("EPERM")),
        Probe(
            "kernel.executable-data", "make all data executable for the next program", [.seccomp],
            .attempt("sys personality 0x400000"), .refused("EPERM")),
        Probe(
            "kernel.process-memory-map", "move what /proc shows as the command line", [.seccomp],
            .attempt("sys prctl 35 8 0 0 0"), .refused("EPERM")),
        Probe(
            "kernel.landlock", "find fewer Landlock domains around it than the receipt says", [.landlock],
            .scenario { stage in
                let outside = await stage.outside.ask("do landlock-room")
                let inside = await stage.a.ask("do landlock-room")
                guard outside.hasPrefix("E2BIG after ") else { return .skipped("no Landlock outside: \(outside)") }
                let (all, left) = (Int(outside.dropFirst(12)) ?? 0, Int(inside.dropFirst(12)) ?? 0)
                return .saw("\(all - left) more than outside")
            }, .exactly("1 more than outside"), needs: [.layer(.landlock)]),
        Probe(
            "kernel.filter", "find no seccomp filter", [.seccomp], .attempt("sys prctl 21 0 0 0 0"),
            .exactly("ok 2")),
    ]

    static let entries: [Probe] = [
        Probe(
            "entries.i386", "call getpid by the i386 entry", [.seccomp], .attempt("i386 20"), .exactly("killed SIGSYS"),
            needs: [.foreignEntries, .outside("i386 20")]),
        Probe(
            "entries.i386-mount", "mount by the i386 entry", [.seccomp], .attempt("i386 21"), .exactly("killed SIGSYS"),
            needs: [.foreignEntries, .outside("i386 20")]),
        Probe(
            "entries.i386-ptrace", "trace by the i386 entry, which has another number for it", [.seccomp],
            .attempt("i386 26"), .exactly("killed SIGSYS"), needs: [.foreignEntries, .outside("i386 20")]),
        Probe(
            "entries.x32", "call getpid by the x32 entry", [.seccomp], .attempt("x32 39"), .exactly("killed SIGSYS"),
            needs: [.foreignEntries]),
        Probe(
            "entries.x32-ptrace", "trace by the x32 entry", [.seccomp], .attempt("x32 521"), .exactly("killed SIGSYS"),
            needs: [.foreignEntries]),
        Probe(
            "entries.x32-execve", "start a program by the x32 entry", [.seccomp], .attempt("x32 520"),
            .exactly("killed SIGSYS"), needs: [.foreignEntries]),
    ]

    static let clock: [Probe] = [
        // The address is none: with every right in the world these change nothing.
        Probe("clock.set", "set the clock", [.seccomp], .attempt("sys clock_settime 0 1"), .refused("EPERM")),
        Probe("clock.set-day", "set the time of day", [.seccomp], .attempt("sys settimeofday 1 0"), .refused("EPERM")),
        Probe("clock.adjust", "slew the clock", [.seccomp], .attempt("sys adjtimex 1"), .refused("EPERM")),
        Probe("clock.adjust-other", "slew a clock by its number", [.seccomp], .attempt("sys clock_adjtime 0 1"), .refused("EPERM")),
        Probe(
            "clock.hostname", "change the host's name", [.utsns, .seccomp, .caps],
            .scenario { stage in
                let before = await stage.outside.ask("do hostname")
                let answer = await stage.a.ask("do sys sethostname s:probe 5")
                return .saw(await stage.outside.ask("do hostname") == before ? answer : "the host's name was changed")
            }, .refused("EPERM")),
        Probe(
            "clock.domain", "change the domain's name", [.utsns, .seccomp, .caps], .attempt("sys setdomainname s:probe 5"),
            .refused("EPERM")),
        Probe(
            "clock.read-hostname", "learn the host's name", [.utsns],
            .scenario { stage in
                let host = await stage.outside.ask("do hostname")
                return .saw(await stage.a.ask("do hostname") == host ? "the host's own" : "made up")
            }, .exactly("made up")),
    ]
}
