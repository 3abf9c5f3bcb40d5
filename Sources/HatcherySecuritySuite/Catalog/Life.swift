import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

// How runs end, and attempts to use up what the host has.
extension Catalog {
    static let life: [Probe] = [
        Probe(
            "life.forged-report", "send an exit report of one's own on whatever is open", [.fds],
            .scenario { stage in
                let agent = try await stage.openSandbox()
                let sent = await agent.ask("here forge")
                _ = await agent.ask("do kill 1 9")
                agent.session.closeInput()
                let ended = try await agent.session.wait()
                return .saw("\(ended.verdict.name) \(ended.exitCode ?? -1), \(sent)")
            }, .exactly("exited 0, ok 0")),
        Probe(
            "life.survivor", "live on in a session of its own when the run is over", [.pidns],
            .scenario { stage in
                let shared = try stage.makeShared("survivor")
                defer { HostFiles.remove(shared) }
                let beat = shared + "/beat"
                let agent = try await stage.openSandbox { $0.mounts = [.init(shared, at: "/srv/shared", writable: true)] }
                _ = await agent.ask("do survivor /srv/shared/beat 5")
                var lives = false
                for _ in 0..<100 where !lives {
                    try await Task.sleep(for: .milliseconds(50))
                    lives = (try? Files.readText(beat))?.isEmpty == false
                }
                guard lives else {
                    _ = await agent.end()
                    return .saw("it never lived")
                }
                agent.session.closeInput()
                _ = try await agent.session.wait()
                let atEnd = try? Files.readText(beat)
                try await Task.sleep(for: .milliseconds(300))
                return .saw(atEnd == (try? Files.readText(beat)) ? "gone" : "it lives")
            }, .exactly("gone"), published: ["piston #624"]),
        Probe(
            "life.time-limit", "sleep for ever and hold a slot", [],
            .scenario { stage in .saw(try await stage.verdict("do sleep") { $0.time = .seconds(1) }) }, .exactly("timed_out")),
        Probe(
            "life.cancelled", "go on after whoever asked is gone", [],
            .scenario { stage in
                let agent = try await stage.openSandbox()
                try await agent.session.kill()
                return .saw(try await agent.session.wait().verdict.name)
            }, .exactly("cancelled"), published: ["piston #624"]),
    ]

    /// Takes in one sandbox until it is refused, holds it, and looks whether another sandbox works.
    private static func held(
        _ name: String, _ tried: String, _ layers: [Layer], _ attempt: String, _ errnos: [String], atMost: Int,
        needs: [Probe.Need] = [], published: [String] = []
    ) -> Probe {
        Probe(
            "exhaustion." + name, tried, layers,
            .scenario { stage in
                try await stage.withSandbox { agent in
                    let answer = await agent.ask("here " + attempt)
                    return .saw(await stage.anotherSandboxWorks() ? answer : "another sandbox does not work; \(answer)")
                }
            }, .bounded(errnos, by: atMost), needs: needs, published: published)
    }

    /// Something that ends the run by a limit, beside which another sandbox works.
    private static func ended(
        _ name: String, _ tried: String, _ layers: [Layer], _ line: String, _ verdicts: String...,
        needs: [Probe.Need] = [], change: @escaping @Sendable (inout SandboxOptions) -> Void
    ) -> Probe {
        Probe(
            "exhaustion." + name, tried, layers,
            .scenario { stage in
                let verdict = try await stage.verdict(line, change)
                return .saw(await stage.anotherSandboxWorks() ? verdict : "another sandbox does not work; \(verdict)")
            }, .that(verdicts.joined(separator: " or ")) { verdicts.contains($0) }, needs: needs)
    }

    static let exhaustion: [Probe] = [
        held("processes", "fork without end", [.rlimits], "fill-processes 2000", ["EAGAIN"], atMost: 64),
        held("threads", "start threads without end", [.rlimits], "fill-threads 2000", ["EAGAIN"], atMost: 64),
        held("zombies", "leave ended children unreaped", [.rlimits], "zombies 2000", ["EAGAIN"], atMost: 64),
        Probe(
            "exhaustion.orphans", "leave orphans until the init is full of them", [.pidns],
            .scenario { stage in
                // Many more than the limit of processes: all must be reaped on the way.
                .saw(try await stage.withSandbox { await $0.ask("here orphans 300") })
            }, .exactly("ok after 300")),
        ended(
            "memory", "take memory without end", [], "here fill-memory 2147483648", "memory_limit",
            change: { $0.memory = 64 << 20 }),
        ended(
            "page-tables", "take memory that no page of its own shows: page tables", [], "here fill-page-tables 64",
            "memory_limit", change: { $0.memory = 64 << 20 }),
        held("file", "fill /tmp with one file", [.mountns, .root], "fill-file /tmp/fill 200000000", ["ENOSPC", "EFBIG"],
            atMost: 32 << 20),
        held("shared-memory", "fill /dev/shm", [.mountns, .root], "fill-file /dev/shm/fill 200000000", ["ENOSPC", "EFBIG"],
            atMost: 32 << 20),
        held("inodes", "make files without end", [.mountns, .root], "fill-files /tmp 100000", ["ENOSPC"], atMost: 8192),
        held("descriptors", "open descriptors without end", [.rlimits], "fill-descriptors 100000", ["EMFILE"], atMost: 65_536),
        held("pipes", "hold memory in pipes", [.rlimits, .distinctUID], "fill-pipes 4000", ["EMFILE", "ENFILE"],
            atMost: 65_536),
        held("sockets", "make sockets without end", [.rlimits], "fill-sockets 100000", ["EMFILE"], atMost: 65_536),
        held("flight", "put descriptors in flight without end", [.rlimits], "flight 100000", ["ETOOMANYREFS", "EMFILE"],
            atMost: 65_536),
        held("inotify", "make inotify instances without end", [.rlimits, .userns], "fill-inotify 100000", ["EMFILE"],
            atMost: 65_536),
        Probe(
            "exhaustion.keys", "make keys without end", [.seccomp], .attempt("keys 1000"), .exactly("EPERM after 0"),
            needs: [.kernel("add_key")]),
        held("timers", "make timers without end", [.rlimits], "fill-timers 100000", ["EAGAIN"], atMost: 4096),
        held("signals", "queue signals without end", [.rlimits], "fill-signals 1000000", ["EAGAIN"], atMost: 4096),
        // Landlock knows no rule that would allow any: the file system of the queues has no path.
        held("queues", "make message queues without end", [.rlimits, .landlock], "fill-queues 5000",
            ["EMFILE", "ENOSPC", "EACCES"], atMost: 256),
        held("locked-memory", "lock memory without end", [.rlimits], "fill-locked 268435456", ["ENOMEM", "EAGAIN", "EPERM"],
            atMost: 8 << 20),
        ended(
            "memfd", "hold memory in files that nobody has mapped", [.cgroup], "here fill-memfd 1073741824", "memory_limit",
            needs: [.layer(.cgroup)], change: { $0.memory = 64 << 20 }),
        ended(
            "segments", "hold memory in System V segments that nobody has attached", [.cgroup],
            "here fill-segments 1073741824", "memory_limit", needs: [.layer(.cgroup)], change: { $0.memory = 64 << 20 }),
        // The kernel counts a lock for nobody (it did in one version, and took that back); but each costs a walk over all
        // before it, so the limit of CPU time ends this after some ten thousand.
        ended(
            "file-locks", "make file locks without end", [.rlimits], "here fill-locks /tmp/locks 3000000", "cpu_limit",
            "timed_out", "memory_limit", change: { $0.cpuTime = .seconds(1); $0.time = .seconds(10) }),
        ended(
            "processor", "spin without end", [.rlimits], "here spin", "cpu_limit", "timed_out",
            change: { $0.cpuTime = .seconds(1); $0.time = .seconds(5) }),
        Probe(
            "exhaustion.output", "print without end", [],
            .scenario { stage in .saw(try await stage.flood(1)) }, .exactly("kept 65536 of 33554432, exited"),
            published: ["snekbox 5639a40"]),
        Probe(
            "exhaustion.errors", "print on stderr without end", [],
            .scenario { stage in .saw(try await stage.flood(2)) }, .exactly("kept 65536 of 33554432, exited"),
            published: ["snekbox 5639a40"]),
        Probe(
            "exhaustion.unread", "print to a reader that never reads", [],
            .scenario { stage in
                try await stage.withSandbox { agent in
                    _ = try await agent.session.writeLine("here flood 1 33554432", timeout: .seconds(5))
                    try await Task.sleep(for: .milliseconds(100))
                    let works = await stage.anotherSandboxWorks()
                    try await agent.session.kill()
                    let ended = try await agent.session.wait()
                    return .saw(works ? ended.verdict.name : "another sandbox does not work")
                }
            }, .exactly("cancelled")),
        Probe(
            "exhaustion.requests", "ask for sandboxes without end", [],
            .scenario { stage in
                let (made, refused) = await stage.manySandboxes(64)
                guard await stage.anotherSandboxWorks() else { return .saw("another sandbox does not work") }
                return .saw("\(made + refused) answered")
            }, .exactly("64 answered")),
    ]
}
