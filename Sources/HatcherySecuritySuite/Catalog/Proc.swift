import HatcheryProtocol

// The kernel's files: /proc, control groups; limits of its own.
extension Catalog {
    private static func unwritableFile(_ name: String, _ tried: String, _ path: String, _ published: [String] = []) -> Probe {
        // Opened and not written: were it possible, nothing should come of the proof.
        Probe("proc." + name, tried, [.userns, .caps], .attempt("open \(path) w"), .unwritable, published: published)
    }

    private static func unreadableFile(_ name: String, _ tried: String, _ path: String) -> Probe {
        Probe("proc." + name, tried, [.userns, .caps], .attempt("open \(path) r"), .refused("EACCES", "EPERM", "ENOENT"))
    }

    static let proc: [Probe] = [
        Probe(
            "proc.fresh", "see the /proc of another pid namespace", [.proc, .pidns],
            .scenario { stage in
                let answer = await stage.a.ask("here readlink /proc/self")
                if answer == "ENOENT" { return .skipped("/proc is empty") }
                return .saw(answer == (await stage.a.ask("here pid")) ? "its own" : "another's: \(answer)")
            }, .exactly("its own")),
        unwritableFile("core-pattern", "have the kernel start a program when another crashes", "/proc/sys/kernel/core_pattern",
            ["CVE-2025-52881"]),
        unwritableFile("sysrq", "restart the machine by sysrq", "/proc/sysrq-trigger", ["CVE-2025-52881"]),
        unwritableFile("modprobe", "change the program that loads modules", "/proc/sys/kernel/modprobe"),
        unwritableFile("overcommit", "change how the host gives memory out", "/proc/sys/vm/overcommit_memory"),
        unwritableFile("pid-limit", "change how many processes the host may have", "/proc/sys/kernel/pid_max"),
        unwritableFile("binfmt", "register an interpreter for a file format", "/proc/sys/fs/binfmt_misc/register"),
        unwritableFile("forwarding", "route packets", "/proc/sys/net/ipv4/ip_forward"),
        unwritableFile("hostname", "change the host's name by its file", "/proc/sys/kernel/hostname"),
        unwritableFile("namespaces", "raise the number of user namespaces", "/proc/sys/user/max_user_namespaces"),
        unwritableFile("randomisation", "turn address randomisation off", "/proc/sys/kernel/randomize_va_space"),
        unreadableFile("kcore", "read the machine's memory", "/proc/kcore"),
        unreadableFile("kernel-log", "read the kernel's log", "/proc/kmsg"),
        unreadableFile("page-counts", "see which physical pages are shared", "/proc/kpagecount"),
        unreadableFile("slabs", "watch the kernel's allocations", "/proc/slabinfo"),
        Probe(
            "proc.symbols", "read the addresses of the kernel's functions", [.userns, .caps],
            .attempt("read /proc/kallsyms"),
            .that("all zero, or not there") {
                $0 == "ENOENT" || $0 == "EACCES" || $0 == "EPERM" || $0.hasPrefix("ok 0000000000000000 ")
            }),
        Probe(
            "proc.physical", "learn the physical address of a page of its own", [.userns, .caps],
            .attempt("frame-number"), .refused("ok 0", "EPERM", "EACCES", "ENOENT")),
        Probe(
            "proc.kill-order", "have others killed first when memory runs out", [.userns, .caps],
            .attempt("write /proc/self/oom_score_adj -1000"), .unwritable),
        Probe(
            "proc.keys", "list keys of others", [.userns, .proc],
            .scenario { stage in
                let answer = await stage.a.ask("do read /proc/keys")
                if !answer.hasPrefix("ok") { return .saw(answer) }
                return .saw(answer.contains(stage.token) ? "found one" : "none")
            }, .refused("none", "ENOENT", "EACCES")),
        Probe(
            "proc.load-policy", "change the security module's label of the next program", [.proc],
            .attempt("write /proc/self/attr/exec x"),
            .that("refused") { ["EACCES", "EPERM", "EINVAL", "ENOENT", "EROFS"].contains($0) }),
    ]

    static let controlGroups: [Probe] = [
        Probe("cgroups.tree", "open the host's control groups", [.root], .attempt("open /sys/fs/cgroup rd"), .absent,
            published: ["CVE-2023-25809"]),
        Probe(
            "cgroups.mount", "mount the control groups", [.seccomp, .caps], .attempt("sys mount s:none s:/tmp s:cgroup2 0 0"),
            .refused("EPERM"), published: ["CVE-2023-25809"]),
        Probe(
            "cgroups.release-agent", "mount a v1 hierarchy and write its release_agent", [.seccomp, .caps],
            .attempt("sys mount s:none s:/tmp s:cgroup 0 s:memory"), .refused("EPERM"), published: ["CVE-2022-0492"]),
        Probe(
            "cgroups.release-agent-file", "write a release_agent that is mounted already", [.root],
            .attempt("open /sys/fs/cgroup/memory/release_agent w"), .absent, published: ["CVE-2022-0492"]),
        Probe("cgroups.leave", "move itself to another group", [.root], .attempt("open /sys/fs/cgroup/cgroup.procs w"), .absent),
        Probe(
            "cgroups.paths", "learn where in the host's control groups it is", [.cgroupns],
            .attempt("read /proc/self/cgroup"),
            .that("every path is / or lies beside") { answer in
                let lines = answer.dropFirst(3).split(separator: "?")
                return !lines.isEmpty && lines.allSatisfy { $0.hasSuffix(":/") || $0.contains(":/..") }
            }, needs: [.layer(.proc)]),
    ]

    /// The numbers are those of setrlimit(2) on Linux, the same on x86-64 and aarch64.
    private static func limit(_ name: String, _ number: Int, atMost most: UInt64) -> Probe {
        Probe(
            "limits." + name, "find the limit of \(name) open", [.rlimits], .attempt("limit \(number)"),
            .that("at most \(most)") { answer in
                let words = answer.split(separator: " ")
                guard words.count == 3, words[0] == "ok", let hard = UInt64(words[2]) else { return false }
                return hard <= most
            })
    }

    private static func raised(_ name: String, _ number: Int) -> Probe {
        Probe(
            "limits.raise-\(name)", "raise the limit of \(name)", [.caps, .rlimits], .attempt("raise-limit \(number)"),
            .refused("EPERM"))
    }

    static let limits: [Probe] = [
        limit("processes", 6, atMost: 64), limit("descriptors", 7, atMost: 65_536), limit("core", 4, atMost: 0),
        limit("file-size", 1, atMost: 32 << 20), limit("locked-memory", 8, atMost: 8 << 20),
        limit("queued-signals", 11, atMost: 4096), limit("message-queues", 12, atMost: 819_200), limit("nice", 13, atMost: 0),
        limit("realtime", 14, atMost: 0), limit("cpu-seconds", 0, atMost: 61),
        raised("processes", 6), raised("descriptors", 7), raised("core", 4), raised("file-size", 1),
        Probe(
            "limits.core-file", "leave a core file, or have the host's handler started with one", [.rlimits],
            .attempt("core /tmp"), .exactly("not dumped")),
        Probe(
            "limits.init", "change the limits of the init", [.seccomp], .attempt("sys prlimit64 1 7 @ 0"), .refused("EPERM")),
    ]
}
