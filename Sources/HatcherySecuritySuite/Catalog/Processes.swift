import Hatchery
import HatcheryProtocol

// Other processes: outside, the init, those of a sandbox beside.
extension Catalog {
    private static let noProcess = Expectation.refused("ESRCH")

    static let processes: [Probe] = [
        Probe(
            "processes.signal-outside", "ask whether a process outside is there", [.pidns], .attempt("kill {outside} 0"),
            noProcess),
        Probe(
            "processes.kill-outside", "kill a process outside", [.pidns],
            .scenario { stage in
                let answer = await stage.a.ask(stage.filled("do kill {outside} 15"))
                return .saw(stage.outside.isAlive ? answer : "it was killed")
            }, noProcess),
        Probe(
            "processes.tkill-outside", "kill a thread outside", [.pidns], .attempt("sys tkill {outside} 0"), noProcess),
        Probe(
            "processes.handle-outside", "take a pidfd of a process outside", [.pidns], .attempt("sys pidfd_open {outside} 0"),
            noProcess, needs: [.kernel("pidfd_open")]),
        Probe(
            "processes.nice-outside", "slow a process outside down", [.pidns], .attempt("sys setpriority 0 {outside} 19"),
            noProcess),
        Probe(
            "processes.limit-outside", "change the limits of a process outside", [.seccomp, .pidns],
            .attempt("sys prlimit64 {outside} 7 0 @"), .refused("EPERM")),
        Probe(
            "processes.trace-outside", "trace a process outside", [.seccomp, .pidns], .attempt("ptrace {outside}"),
            .refused("EPERM")),
        Probe("processes.trace-init", "trace the init", [.seccomp], .attempt("ptrace 1"), .refused("EPERM"),
            published: ["CVE-2016-9962", "CVE-2026-41163", "CVE-2016-8659"]),
        Probe("processes.trace-child", "trace a child of one's own", [.seccomp], .attempt("ptrace-child"), .refused("EPERM")),
        Probe(
            "processes.read-outside", "read the memory of a process outside", [.seccomp, .pidns],
            .attempt("vm-read {outside}"), .refused("EPERM")),
        Probe("processes.read-init", "read the init's memory", [.seccomp], .attempt("vm-read 1"), .refused("EPERM")),
        Probe("processes.write-init", "write the init's memory", [.seccomp], .attempt("vm-write 1"), .refused("EPERM")),
        Probe(
            "processes.init-memory", "open the init's memory through /proc", [.proc], .attempt("open /proc/1/mem rw"), .absent,
            published: ["CVE-2016-9962"]),
        Probe("processes.init-maps", "read the init's address layout", [.proc], .attempt("read /proc/1/maps"), .absent),
        Probe(
            "processes.init-environment", "read the init's environment", [.proc], .attempt("read /proc/1/environ"), .absent),
        Probe(
            "processes.outside-environment", "read the environment of a process outside", [.proc, .pidns],
            .attempt("read /proc/{outside}/environ"), .absent, needs: [.outside("open /proc/{outside}/environ r")]),
        Probe(
            "processes.list", "see processes that are not its own", [.proc, .pidns],
            .scenario { stage in
                var answer = ""
                // Orphans of earlier attempts are its own too, until the init has reaped them.
                for _ in 0..<40 {
                    answer = await stage.a.ask("do processes")
                    if answer == "ENOENT" || answer == "ok " { return .skipped("/proc is empty") }
                    // The agent and the child that looks.
                    if answer.hasPrefix("ok "), answer.dropFirst(3).split(separator: " ").count <= 2 { return .saw("its own") }
                    try await Task.sleep(for: .milliseconds(50))
                }
                return .saw("others: \(answer)")
            }, .exactly("its own")),
        Probe("processes.compare", "compare kernel addresses of two processes", [.seccomp], .attempt("sys kcmp 1 2 0 0 0"),
            .refused("EPERM"), needs: [.kernel("kcmp")]),
        Probe("processes.advise", "page out the memory of another process", [.seccomp],
            .attempt("sys process_madvise 0 @ 1 21 0"), .refused("EPERM"), needs: [.kernel("process_madvise")]),
        Probe("processes.release", "reap the memory of another process", [.seccomp], .attempt("sys process_mrelease 0 0"),
            .refused("EPERM"), needs: [.kernel("process_mrelease")]),
        Probe("processes.migrate", "move the pages of the init", [.seccomp], .attempt("sys migrate_pages 1 1 @ @"),
            .refused("EPERM"), needs: [.kernel("migrate_pages")]),
        Probe("processes.move", "learn where the pages of the init lie", [.seccomp], .attempt("sys move_pages 1 0 @ 0 @ 0"),
            .refused("EPERM"), needs: [.kernel("move_pages")]),
    ]

    /// Something that sandbox B leaves or has, and sandbox A looks for.
    private static func peer(
        _ name: String, _ tried: String, _ layers: [Layer], offer: String, find: String, _ expectation: Expectation
    ) -> Probe {
        Probe(
            "peers." + name, tried, layers,
            .scenario { stage in
                let offered = await stage.b.ask("here " + stage.filled(offer))
                guard offered.hasPrefix("ok") else { return .skipped("sandbox B cannot offer it: \(offered)") }
                // What cannot be found where it was left proves nothing by not being found elsewhere.
                let own = await stage.b.ask("do " + stage.filled(find))
                guard own.hasPrefix("ok") else { return .skipped("sandbox B does not find its own: \(own)") }
                return .saw(await stage.a.ask("do " + stage.filled(find)))
            }, expectation)
    }

    static let peers: [Probe] = [
        Probe(
            "peers.signal", "signal a program in a sandbox beside, by its number outside", [.pidns],
            .scenario { stage in .saw(await stage.b.ask(stage.filled("do kill {peer} 0"))) }, noProcess),
        Probe(
            "peers.process", "find a program of a sandbox beside in /proc", [.pidns, .proc],
            .scenario { stage in .saw(await stage.b.ask(stage.filled("do open /proc/{peer}/status r"))) }, .absent),
        Probe(
            "peers.handle", "take a pidfd of a program in a sandbox beside", [.pidns],
            .scenario { stage in .saw(await stage.b.ask(stage.filled("do sys pidfd_open {peer} 0"))) }, noProcess,
            needs: [.kernel("pidfd_open")]),
        peer(
            "abstract-socket", "connect to an abstract socket of a sandbox beside", [.netns],
            offer: "abstract-offer {token}", find: "abstract-find {token}", .refused("ECONNREFUSED")),
        peer(
            "path-socket", "connect to a socket of a sandbox beside", [.root, .mountns],
            offer: "socket-offer /tmp/{token}", find: "socket-find /tmp/{token}", .refused("ENOENT")),
        peer(
            "temporary-file", "read a file in /tmp of a sandbox beside", [.root, .mountns],
            offer: "create /tmp/file-{token} 0666 x", find: "read /tmp/file-{token}", .refused("ENOENT")),
        Probe(
            "peers.lease", "take a lease on a file, so that whoever opens it beside has to wait", [.seccomp],
            .attempt("sys fcntl fd:{program} 1024 0"), .refused("EINVAL")),
        Probe(
            "peers.directory-signal", "have a signal sent for what happens in a directory", [.seccomp],
            .attempt("sys fcntl fd:/usr 1026 1"), .refused("EINVAL")),
        peer(
            "shared-memory-file", "read a file in /dev/shm of a sandbox beside", [.root, .mountns],
            offer: "create /dev/shm/file-{token} 0666 x", find: "read /dev/shm/file-{token}", .refused("ENOENT")),
        peer(
            "segment", "attach a System V segment of a sandbox beside", [.ipcns], offer: "shm-offer {key}",
            find: "shm-find {key}", .refused("ENOENT")),
        peer(
            "semaphore", "take a System V semaphore of a sandbox beside", [.ipcns], offer: "sem-offer {key}",
            find: "sem-find {key}", .refused("ENOENT")),
        peer(
            "messages", "read a System V queue of a sandbox beside", [.ipcns], offer: "msg-offer {key}",
            find: "msg-find {key}", .refused("ENOENT")),
        peer(
            "queue", "read a POSIX queue of a sandbox beside", [.ipcns], offer: "mq-offer /{token}", find: "mq-find /{token}",
            .refused("ENOENT")),
        Probe(
            "peers.own-files", "read a private file of another sandbox in a directory that both may write", [.distinctUID],
            .scenario { stage in
                let shared = try stage.makeShared("own-files")
                defer { HostFiles.remove(shared) }
                let mount: (inout SandboxOptions) -> Void = { $0.mounts = [.init(shared, at: "/srv/shared", writable: true)] }
                return try await stage.withSandbox(mount) { first in
                    try await stage.withSandbox(mount) { second in
                        let made = await first.ask("do create /srv/shared/secret 0600 secret")
                        guard made.hasPrefix("ok") else { return .skipped("it cannot be made: \(made)") }
                        return .saw(await second.ask("do read /srv/shared/secret"))
                    }
                }
            }, .refused("EACCES"), needs: [.distinctIDs]),
        Probe(
            "peers.own-user", "have the same user as another sandbox, or one of the host's", [.distinctUID],
            .scenario { stage in
                let shared = try stage.makeShared("own-user")
                defer { HostFiles.remove(shared) }
                var owners: [UInt32] = []
                for number in 1...2 {
                    try await stage.withSandbox { $0.mounts = [.init(shared, at: "/srv/shared", writable: true)] } _: { agent in
                        _ = await agent.ask("do create /srv/shared/\(number) 0600 x")
                    }
                    owners.append(HostFiles.owner(shared + "/\(number)") ?? 0)
                }
                let isOurs = owners.contains(stage.ownUser) || owners.contains(0)
                return .saw(owners[0] == owners[1] ? "the same" : isOurs ? "one of the host's" : "its own")
            }, .exactly("its own"), needs: [.distinctIDs]),
        Probe(
            "peers.loopback", "connect to a port of a sandbox beside, both with a loopback network", [.netns],
            .scenario { stage in
                try await stage.withSandbox { $0.network = .loopback } _: { first in
                    try await stage.withSandbox { $0.network = .loopback } _: { second in
                        let offered = await first.ask("here inet-offer 127.0.0.1 4711")
                        guard await first.ask("do inet-find 127.0.0.1 4711").hasPrefix("ok") else {
                            return .skipped("the loopback network does not work: \(offered)")
                        }
                        return .saw(await second.ask("do inet-find 127.0.0.1 4711"))
                    }
                }
            }, .refused("ECONNREFUSED")),
    ]
}
