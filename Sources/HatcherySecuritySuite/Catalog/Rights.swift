import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

// Capabilities, setuid files, devices, the terminal, keyrings.
extension Catalog {
    static let capabilities: [Probe] = [
        Probe(
            "capabilities.sets", "hold a capability in any set, the bounding set included", [.caps], .attempt("capabilities"),
            .exactly("ok held 0 inheritable 0 bounding 0 ambient 0"),
            published: ["CVE-2022-24769", "CVE-2022-27650", "CVE-2022-29162"]),
        Probe("capabilities.capset", "take every capability", [.caps], .attempt("capset"), .refused("EPERM")),
        Probe(
            "capabilities.ambient", "raise a capability for the next program", [.seccomp, .securebits],
            .attempt("sys prctl 47 2 21 0 0"), .refused("EPERM")),
        Probe(
            "capabilities.low-port", "bind a port below 1024", [.caps], .attempt("inet-offer 0.0.0.0 80"), .refused("EACCES")),
        Probe(
            "capabilities.chown", "give a file to the init's user", [.caps], .attempt("chown {program} 0"),
            .refused("EPERM", "EINVAL")),
        Probe(
            "capabilities.interface", "bring the loopback interface up", [.caps], .attempt("interface-up"),
            .refused("EPERM")),
        Probe(
            "capabilities.securebits", "find securebits open, so that root's capabilities come back by execve", [.securebits],
            .attempt("sys prctl 27 0 0 0 0"), .exactly("ok \(hatchery_securebits_locked)")),
        Probe(
            "capabilities.set-securebits", "open the securebits", [.seccomp, .securebits, .caps],
            .attempt("sys prctl 28 0 0 0 0"), .refused("EPERM")),
        Probe(
            "capabilities.no-new-privileges", "find no_new_privs unset", [.noNewPrivs], .attempt("sys prctl 39 0 0 0 0"),
            .exactly("ok 1")),
        Probe(
            "capabilities.unset-no-new-privileges", "unset no_new_privs", [.noNewPrivs],
            .scenario { stage in
                let answer = await stage.a.ask("do sys prctl 38 0 0 0 0")
                let after = await stage.a.ask("do sys prctl 39 0 0 0 0")
                return .saw(after == "ok 1" ? answer : "unset")
            }, .refused("EINVAL")),
        Probe("capabilities.nice", "take precedence over others", [.caps], .attempt("sys setpriority 0 0 -5"), .refused("EACCES")),
        Probe(
            "capabilities.realtime", "take a real-time scheduler", [.rlimits, .caps], .attempt("realtime"), .refused("EPERM")),
        Probe(
            "capabilities.init-signal", "end the init, and be rid of it", [.pidns, .distinctUID],
            .scenario { stage in
                let answer = await stage.a.ask("do kill 1 9")
                let after = await stage.a.ask("do pid")
                // Where both share a uid the kernel takes the signal and drops it: process 1 cannot be killed from inside.
                return .saw(after.hasPrefix("ok ") ? answer : "the sandbox is gone")
            }, .refused("EPERM", "ok 0", "ESRCH")),
    ]

    static let setuid: [Probe] = [
        Probe(
            "setuid.helpers", "find a setuid program of the sandbox's own makers to run in a race", [],
            .scenario { stage in
                let directory = stage.programs.program.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
                let names = ["hatchery", "hatcheryd", "hatchery-zygote", "hatchery-probe"]
                let modes = names.compactMap { HostFiles.mode("\(directory)/\($0)") }
                return .saw(modes.contains { $0 & 0o6000 != 0 } ? "one is setuid" : "none of \(modes.count > 1 ? "them" : "it")")
            }, .that("none is setuid") { $0.hasPrefix("none of ") },
            published: [
                "CVE-2021-26910", "CVE-2017-5180", "CVE-2017-5940", "CVE-2022-31214", "CVE-2020-5291", "CVE-2016-8659",
                "CVE-2026-41163",
            ]),
        Probe(
            "setuid.mapped-root", "run a setuid program that belongs to the sandbox's own root", [.noNewPrivs, .root],
            .scenario { stage in
                try await Rights.withPrivileged(stage) { path, initID in
                    try checkErrno(chown(path, initID, initID), "chown", path)
                    try checkErrno(chmod(path, 0o6755), "chmod", path)
                    return "do pid"
                }
            }, .that("the ids stay as they are") { $0.hasPrefix("uid ") && !$0.contains(" euid 0 ") },
            needs: [.root, .distinctIDs]),
        Probe(
            "setuid.file-capabilities", "run a program with file capabilities of the sandbox's own root", [.noNewPrivs, .root],
            .scenario { stage in
                try await Rights.withPrivileged(stage) { path, initID in
                    try checkErrno(chmod(path, 0o755), "chmod", path)
                    return "do file-capabilities \(path) \(initID)"
                }
            }, .that("the ids stay as they are, no capability") { $0.hasPrefix("uid ") && $0.hasSuffix(" held 0") },
            needs: [.root, .distinctIDs]),
        Probe(
            "setuid.set-capabilities", "give a program of one's own file capabilities", [.caps],
            .attempt("sys setxattr s:{program} s:security.capability @ 20 0"), .refused("EPERM", "EINVAL")),
        Probe(
            "setuid.own-file", "gain by a setuid bit on a program of one's own", [.noNewPrivs, .root],
            .scenario { stage in
                let before = await stage.a.ask("do ids")
                _ = await stage.a.ask(stage.filled("do chmod {program} 06755"))
                let after = await stage.a.ask(stage.filled("do exec-ids {program}"))
                let uid = before.split(separator: " ").dropFirst(2).first ?? ""
                return .saw(after.hasPrefix("uid \(uid) euid \(uid) ") ? "nothing" : after)
            }, .exactly("nothing")),
    ]

    private static func absentDevice(_ name: String, _ path: String, _ published: [String] = []) -> Probe {
        Probe("devices." + name, "open \(path)", [.root], .attempt("open \(path) rw"), .absent, published: published)
    }

    static let devices: [Probe] = [
        Probe(
            "devices.list", "find more in /dev than what programs need", [.root], .attempt("list /dev"),
            .exactly("ok fd,full,null,ptmx,pts,random,shm,stderr,stdin,stdout,tty,urandom,zero")),
        Probe(
            "devices.null", "find something else behind /dev/null", [.root], .attempt("stat /dev/null"),
            .that("character device 1:3") { $0.contains(" rdev 259 ") && $0.hasPrefix("ok mode 20") },
            published: ["CVE-2025-31133"]),
        Probe("devices.null-mode", "take /dev/null's mode away from everybody", [.root, .caps],
            .attempt("chmod /dev/null 0"), .unwritable),
        Probe(
            "devices.null-replace", "replace /dev/null by a file of one's own", [.root], .attempt("unlink /dev/null"),
            .unwritable, published: ["CVE-2025-31133"]),
        Probe(
            "devices.make-block", "make a disk's device node", [.seccomp, .caps],
            .attempt("sys mknodat -100 s:/tmp/disk 0x61b0 0x800"), .refused("EPERM")),
        Probe(
            "devices.make-memory", "make a node for the machine's memory", [.seccomp, .caps],
            .attempt("sys mknodat -100 s:/tmp/mem 0x21b6 0x101"), .refused("EPERM")),
        absentDevice("memory", "/dev/mem"), absentDevice("kernel-log", "/dev/kmsg"), absentDevice("fuse", "/dev/fuse"),
        absentDevice("kvm", "/dev/kvm"), absentDevice("tunnel", "/dev/net/tun"), absentDevice("disk", "/dev/vda"),
        absentDevice("terminals", "/dev/ptmx", ["CVE-2025-52565"]), absentDevice("console", "/dev/console", ["CVE-2025-52565"]),
        absentDevice("virtual-console", "/dev/tty1"), absentDevice("loop", "/dev/loop-control"),
    ]

    static let terminal: [Probe] = [
        Probe(
            "terminal.type", "type into a terminal (TIOCSTI)", [.seccomp], .attempt("ioctl - 0x5412"), .refused("EPERM"),
            published: ["CVE-2017-5226", "CVE-2016-7545", "CVE-2016-9016"]),
        Probe(
            "terminal.type-high-bits", "the same with a bit set that the kernel ignores", [.seccomp],
            .attempt("ioctl - 0x100005412"), .refused("EPERM"), published: ["CVE-2019-10063"]),
        Probe(
            "terminal.paste", "paste into a virtual console (TIOCLINUX)", [.seccomp], .attempt("ioctl - 0x541c"),
            .refused("EPERM"), published: ["CVE-2023-28100"]),
        Probe(
            "terminal.paste-high-bits", "the same with a bit set that the kernel ignores", [.seccomp],
            .attempt("ioctl - 0x8000000000541c"), .refused("EPERM"), published: ["CVE-2023-28100", "CVE-2019-10063"]),
        Probe(
            "terminal.discipline", "load a line discipline (TIOCSETD)", [.seccomp], .attempt("ioctl - 0x5423"),
            .refused("EPERM")),
        Probe(
            "terminal.controlling", "open the terminal of whoever started the daemon", [.root],
            .attempt("open /dev/tty rw"), .refused("ENXIO", "ENOENT")),
        Probe(
            "terminal.session", "stay in the daemon's session", [.pidns], .attempt("session"), .exactly("ok own")),
    ]

    static let keyrings: [Probe] = [
        Probe(
            "keyrings.add", "leave a key for later runs", [.seccomp], .attempt("key-offer probe"), .refused("EPERM"),
            needs: [.kernel("add_key")], published: ["CVE-2016-0728"]),
        Probe(
            "keyrings.host", "find a key of the user's own keyring outside", [.seccomp, .distinctUID, .userns],
            .scenario { stage in
                // Fork by fork the agent's user keyring is the same, so one offer outside is enough for both questions.
                let offered = await stage.outside.ask(stage.filled("here key-offer {token}"))
                guard offered.hasPrefix("ok"), await stage.outside.ask(stage.filled("do key-find {token}")).hasPrefix("ok")
                else { return .skipped("a key cannot be kept outside either: \(offered)") }
                let answer = await stage.a.ask(stage.filled("do key-find {token}"))
                _ = await stage.outside.ask(stage.filled("here key-forget {token}"))
                return .saw(answer)
            }, .refused("EPERM")),
        Probe(
            "keyrings.request", "have the host start its key helper", [.seccomp], .attempt("key-find probe"),
            .refused("EPERM"), needs: [.kernel("request_key")]),
        Probe(
            "keyrings.join", "join a session keyring by its name", [.seccomp], .attempt("sys keyctl 1 s:probe"),
            .refused("EPERM"), needs: [.kernel("keyctl")]),
        Probe(
            "keyrings.read", "read a key by its number", [.seccomp], .attempt("sys keyctl 11 -4 @ 4096"), .refused("EPERM"),
            needs: [.kernel("keyctl")]),
    ]
}

/// The host's part of probes on programs with rights.
private enum Rights {
    /// Mounts a copy of the probe's program, prepared by `prepare` for the id of the sandbox's own root, and runs it inside.
    /// - Parameter prepare: returns what the agent outside does as the last part of it.
    static func withPrivileged(
        _ stage: Stage, _ prepare: @Sendable (_ path: String, _ initID: uid_t) throws -> String
    ) async throws -> Observation {
        let shared = try stage.makeShared("privileged")
        defer { HostFiles.remove(shared) }
        return try await stage.withSandbox { $0.mounts = [.init(shared, at: "/srv/privileged")] } _: { agent in
            guard let initID = rootOfSandbox(agent.session.pid) else {
                return .skipped("the ids of the sandbox's init cannot be read from here")
            }
            let path = shared + "/program"
            try HostFiles.copy(stage.programs.program, to: path, mode: 0o755)
            let prepared: String
            do {
                prepared = await stage.outside.ask(try prepare(path, initID))
            } catch {
                return .skipped("the file cannot be made: \(error)")
            }
            guard prepared.hasPrefix("ok") else { return .skipped("the file cannot be made: \(prepared)") }
            return .saw(await agent.ask("do exec-ids /srv/privileged/program"))
        }
    }

    /// The outer id of a payload's parent, which is 0 inside.
    private static func rootOfSandbox(_ payload: Int32) -> uid_t? {
        guard let status = try? Files.readText("/proc/\(payload)/status"),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("PPid:") }),
            let parent = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).last
        else { return nil }
        return HostFiles.effectiveUser(of: String(parent))
    }
}

extension HostFiles {
    /// Of a process, by its status file, which also tells where it is not dumpable.
    static func effectiveUser(of pid: String) -> uid_t? {
        guard let status = try? Files.readText("/proc/\(pid)/status"),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("Uid:") })
        else { return nil }
        let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
        return words.count > 2 ? uid_t(words[2]) : nil
    }
}
