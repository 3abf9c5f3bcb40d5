import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// A cgroup for each sandbox, as far as the host's v2 hierarchy goes: a hybrid one without controllers is enough here.
@Suite(.enabled(if: Beds.available(CgroupBed.isWritable, "no cgroup v2 hierarchy is writable here")))
struct CgroupTests {
    private static let exec = "zygotes: [{name: exec, kind: exec, nursery: {min: 1, max: 2}}]"

    private func until(_ condition: () throws -> Bool) async rethrows -> Bool {
        for _ in 0..<Int(500 * Beds.slowness) {
            if try condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return try condition()
    }

    @Test func everySandboxHasACgroupOfItsOwn() async throws {
        let client = try await Beds.root().client()
        var paths: Set<String> = []
        for _ in 0..<3 {
            let child = try await client.spawn(.program("/bin/sleep", ["60"]))
            paths.insert(CgroupBed.path(of: child.pid))
            try await child.kill()
            _ = try await child.wait()
        }
        #expect(paths.count == 3)
        #expect(paths.allSatisfy { $0.contains("/nest/") && !$0.hasSuffix("/zygotes") }, "\(paths)")
    }

    @Test func withoutTheLayerASandboxStaysWithTheZygotes() async throws {
        var options = SandboxOptions()
        options.without = [LayerSet(.cgroup)]
        let child = try await Beds.root().client().spawn(.program("/bin/sleep", ["60"]), options)
        #expect(CgroupBed.path(of: child.pid).hasSuffix("/zygotes"))
        #expect(!child.spawned.receipt.active.contains(.cgroup))
        try await child.kill()
        _ = try await child.wait()
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theNamespacesRootIsTheSandboxsOwnCgroup(_ zygote: Probe.Zygote) async throws {
        let code = "print([l for l in open('/proc/self/cgroup') if l.startswith('0::')][0].strip(), "
            + "sum('cgroup' in l for l in open('/proc/self/mountinfo')))"
        let client = try await Beds.root().client()
        #expect(try await client.run(Probe.payload(zygote, code: code)).stdout == "0::/ 0\n")
        var options = RunOptions()
        options.without = [LayerSet(.cgroupns)]
        let named = try await client.run(Probe.payload(zygote, code: code), options).stdout
        #expect(named.contains("/nest/"))
    }

    /// Without a pid namespace the end of the init ends nobody else: what dies then died by cgroup.kill, and lives without it.
    @Test(arguments: [true, false])
    func aKillReachesWhoeverIsInTheCgroup(_ hasCgroup: Bool) async throws {
        var options = SandboxOptions()
        options.without = hasCgroup ? [LayerSet(.pidns), LayerSet(.proc)] : [LayerSet(.pidns), LayerSet(.proc), LayerSet(.cgroup)]
        let mark = "300.\(UInt32.random(in: 0...UInt32.max))"
        let child = try await Beds.root().client().spawn(
            .program("/bin/sh", ["-c", "/usr/bin/setsid /bin/sleep \(mark) & wait"]), options)
        var sleeper: pid_t?
        let isThere = await until {
            sleeper = Self.process("/bin/sleep\0\(mark)\0")
            return sleeper != nil
        }
        try #require(isThere)
        let pid = try #require(sleeper)
        try await child.kill()
        _ = try await child.wait()
        if hasCgroup {
            #expect(await until { Glibc.kill(pid, 0) != 0 })
        } else {
            #expect(Glibc.kill(pid, 0) == 0)
            Glibc.kill(pid, SIGKILL)
        }
    }

    private static func process(_ commandLine: String) -> pid_t? {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.lazy.compactMap { pid_t($0) }.first {
            (try? String(contentsOfFile: "/proc/\($0)/cmdline", encoding: .utf8)) == commandLine
        }
    }

    @Test func nothingIsLeftOfADaemonThatEnded() async throws {
        let daemon = try TestDaemon(Self.exec)
        let tree = try #require(CgroupBed.tree(of: daemon.pid))
        let client = try await daemon.client()
        for _ in 0..<40 { _ = try await client.run(.program("/bin/true")) }
        // Those that wait, the parked children's, and the zygotes'.
        let nest = tree + "/nest"
        let isSmall = try await until {
            CgroupBed.leaves(below: nest).count <= 12
        }
        #expect(isSmall)
        let detached = try await client.spawn(.program("/bin/sleep", ["300"]))
        #expect(Glibc.kill(detached.pid, 0) == 0)
        daemon.stop()
        #expect(!FileManager.default.fileExists(atPath: tree))
        #expect(!daemon.logText.contains("stays behind"))
    }

    @Test func whatADeadDaemonLeftIsRemovedByTheNext() async throws {
        let dead = try TestDaemon(Self.exec)
        let tree = try #require(CgroupBed.tree(of: dead.pid))
        let child = try await dead.client().spawn(.program("/bin/sleep", ["300"]))
        #expect(Glibc.kill(child.pid, 0) == 0)
        dead.stop(signal: SIGKILL)
        let next = try TestDaemon(Self.exec)
        defer { next.stop() }
        #expect(await until { !FileManager.default.fileExists(atPath: tree) })
        #expect(CgroupBed.tree(of: next.pid) != nil)
    }

    @Test func aDaemonWithoutCgroupsSaysSo() async throws {
        let daemon = try TestDaemon(Self.exec + "\ncgroup: {mode: off}")
        defer { daemon.stop() }
        #expect(CgroupBed.tree(of: daemon.pid) == nil)
        let result = try await daemon.client().run(.program("/bin/true"))
        let missing = result.receipt.missing.first { $0.layer == .cgroup }
        #expect(missing?.why.contains("cgroup.mode is off") == true)
        #expect(missing?.why.contains("every 100 ms") == true)
    }

    @Test func theLayerIsActiveOnlyWhereTheKernelKeepsEveryLimit() async throws {
        let client = try await Beds.root().client()
        let result = try await client.run(.program("/bin/true"))
        #expect(result.receipt.active.contains(.cgroup) == CgroupBed.isComplete)
        var options = RunOptions()
        options.required = [LayerSet(.cgroup)]
        if CgroupBed.isComplete {
            #expect(try await client.run(.program("/bin/true"), options).exitCode == 0)
        } else {
            let error = await #expect(throws: HatcheryError.self) { try await client.run(.program("/bin/true"), options) }
            #expect(error?.kind == .layerMissing)
            #expect(error?.description.contains("without the controllers") == true, "\(String(describing: error))")
        }
    }

    @Test func aDaemonThatRequiresWhatIsNotThereDoesNotStart() throws {
        let configuration = Self.exec + "\ncgroup: {mode: required}"
        if CgroupBed.isComplete {
            try TestDaemon(configuration).stop()
        } else {
            let error = #expect(throws: TestDaemon.Refused.self) { try TestDaemon(configuration) }
            #expect(error?.description.contains("cgroup.mode is required") == true)
        }
    }

    @Test func aPathThatIsNoCgroupIsToldInTheReceipt() async throws {
        let daemon = try TestDaemon(Self.exec + "\ncgroup: {path: /nowhere}")
        defer { daemon.stop() }
        let result = try await daemon.client().run(.program("/bin/true"))
        #expect(result.receipt.missing.first { $0.layer == .cgroup }?.why.contains("/nowhere") == true)
    }

    /// As a service manager delegates: a directory of the user's, with the daemon alone in it.
    @Test func anOrdinaryUsersDaemonUsesWhatIsDelegatedToIt() throws {
        let place = try #require(CgroupBed.mount) + "/test-delegated-\(getpid())"
        mkdir(place, 0o755)
        defer { rmdir(place) }
        for name in ["", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"] {
            chown(place + name, UserClient.uid, UserClient.uid)
        }
        let daemon = try TestDaemon(Self.exec, uid: UserClient.uid, cgroup: place)
        let tree = CgroupBed.tree(of: daemon.pid, below: place)
        #expect(tree != nil, "\(daemon.logText)")
        #expect(CgroupBed.path(of: daemon.pid).hasSuffix("/front"))
        let script = "grep 0:: /proc/self/cgroup"
        let result = try UserClient.run(daemon, [], ["/bin/sh", "-c", script])
        #expect(result.text("stdout") == "0::/\n", "\(result)")
        #expect(UserClient.activeLayers(result).contains("cgroup") == CgroupBed.isComplete)
        daemon.stop()
        #expect(CgroupBed.tree(of: daemon.pid, below: place) == nil)
    }

    /// Operator's code runs in the child before everything is closed, and would be the first to see it.
    @Test func aRehearsalHoldsNoWayToItsCgroup() async throws {
        let daemon = try TestDaemon(
            """
            zygotes:
              - name: python
                kind: python
                interpreter: \(Beds.python)
                nursery: {min: 1, max: 1}
                rehearsal: |
                  import builtins, os, stat
                  builtins.SEEN = []
                  for number in range(64):
                      try: status = os.fstat(number)
                      except OSError: continue
                      if stat.S_ISDIR(status.st_mode): builtins.SEEN.append(number)
            """)
        defer { daemon.stop() }
        let client = try await daemon.client()
        for _ in 0..<20 {
            let result = try await client.run(.python(code: "import builtins; print(getattr(builtins, 'SEEN', None))"))
            guard result.spawn.nurseryHit == true else { continue }
            #expect(result.stdout == "[]\n")
            return
        }
        Issue.record("no request took a parked child")
    }
}
