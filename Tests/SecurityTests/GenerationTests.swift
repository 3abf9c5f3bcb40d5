import Foundation
import Glibc
import Hatchery
import HatcheryProtocol
import HatcheryTestSupport
import Testing

/// Generations: a new zygote beside the old one, and the switch between them.
@Suite(.serialized) struct GenerationTests {
    private static func configuration(_ python: String = "preload: [json]", _ more: String = "") -> String {
        """
        zygotes:
          - {name: exec, kind: exec, nursery: {min: 2, max: 4}}
          - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 1, max: 2}, \(python)}
        \(more)
        """
    }

    private func serving(_ client: HatcheryClient, _ name: String) async throws -> ZygoteListing {
        try #require(try await client.zygotes().first { $0.name == name && $0.state == .ready })
    }

    private func isGone(_ pid: Int32) -> Bool { kill(pid, 0) != 0 && errno == ESRCH }

    private func gone(_ zygotes: [ZygoteListing]) async throws {
        try await Wait.until("the old generation is gone") { zygotes.allSatisfy { isGone($0.pid) } }
    }

    @Test func aReloadReplacesEveryZygoteAndChildrenOfTheOldGoOn() async throws {
        let daemon = try TestDaemon(Self.configuration("warmup: 'import sys; sys.said = \"old\"'"))
        defer { daemon.stop() }
        let client = try await daemon.client()
        let old = try await client.zygotes()
        let child = try await client.spawn(.python(code: "import sys; sys.stdin.read(); print(sys.said); sys.exit(3)"), stdinPipe: true)
        #expect(child.spawned.generation == 1)

        try daemon.configure(Self.configuration("warmup: 'import sys; sys.said = \"new\"'"))
        let reloaded = try await client.reload()
        #expect(reloaded.notes.isEmpty)
        let result = try await client.run(.python(code: "import sys; print(sys.said)"))
        #expect(result.stdout == "new\n")
        #expect(result.spawn.generation == 2)
        #expect(try await client.run(.program("/bin/true")).spawn.generation == 2)
        let new = try await client.zygotes().filter { $0.state == .ready }
        #expect(new.map(\.generation) == [2, 2])
        #expect(Set(new.map(\.pid)).isDisjoint(with: old.map(\.pid)))
        try await gone(old)

        child.closeStdin()
        let end = try await child.wait()
        #expect(end.verdict == .exited && end.exitCode == 3, "its zygote is gone, its parent is the front")
    }

    @Test func aFailingPreloadLeavesTheOldOneServing() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        let before = try await client.zygotes().map(\.pid)
        for (python, word) in [
            ("preload: [json, no_such_module]", "No module named 'no_such_module'"),
            ("warmup: 'import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()'", "thread"),
            ("warmup: 'import os; os.kill(os.getpid(), 9)'", "zygote python: it ended before it served"),
            ("warmup: 'import random; random.random = lambda: 0.5'", "the same random numbers (random)"),
        ] {
            try daemon.configure(Self.configuration(python))
            let error = await #expect(throws: HatcheryError.self) { try await client.reload() }
            #expect(error?.kind == .setupFailed)
            #expect(error?.detail.contains(word) == true, "\(String(describing: error))")
        }
        let after = try await client.zygotes().filter { $0.state != .retiring }
        #expect(after.map(\.pid) == before)
        #expect(after.map(\.generation) == [1, 1])
        #expect(try await client.run(.python(code: "print(1)")).stdout == "1\n")
        try await Wait.until("the candidates are gone") { try await client.zygotes().count == 2 }
    }

    @Test func aWrongConfigurationIsRefusedWithItsPlaceAndChangesNothing() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        for (more, word) in [
            ("profiles: {default: {limits: {wal: 3}}}", "did you mean 'wall'?"), ("nonsense: [", "hatchery.yaml"),
            ("profiles: {default: {seccomp: /no/such/policy}}", "/no/such/policy"),
        ] {
            try daemon.configure(Self.configuration("preload: []", more))
            let error = await #expect(throws: HatcheryError.self) { try await client.reload() }
            #expect(error?.kind == .invalidRequest)
            #expect(error?.description.contains(word) == true, "\(String(describing: error))")
        }
        #expect(try await client.zygotes().map(\.generation) == [1, 1])
        try daemon.configure(Self.configuration())
        let missing = await #expect(throws: HatcheryError.self) { try await client.reload(zygote: "nobody") }
        #expect(missing?.kind == .notFound)
    }

    @Test func zygotesAndProfilesComeAndGo() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        try daemon.configure(
            """
            zygotes: [{name: exec, kind: exec, instances: 2}, {name: second, kind: exec}]
            profiles: {strict: {limits: {pids: {default: 3, max: 3}}}}
            """)
        _ = try await client.reload()
        var options = RunOptions()
        options.sandbox.zygote = "second"
        options.profile = "strict"
        #expect(try await client.run(.program("/bin/true"), options).exitCode == 0)
        let removed = await #expect(throws: HatcheryError.self) { try await client.run(.python(code: "1")) }
        #expect(removed?.kind == .notFound)
        #expect(try await client.zygotes().filter { $0.state == .ready }.map(\.name) == ["exec", "exec", "second"])

        try daemon.configure(Self.configuration())
        _ = try await client.reload()
        let unknown = await #expect(throws: HatcheryError.self) { try await client.run(.program("/bin/true"), options) }
        #expect(unknown?.kind == .notFound)
        #expect(try await client.run(.python(code: "print(1)")).spawn.generation == 2, "numbers of a name only grow")
    }

    @Test func oneZygoteAloneCanBeReloaded() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        let exec = try await serving(client, "exec").pid
        try daemon.configure(Self.configuration("warmup: 'import sys; sys.said = \"new\"'"))
        _ = try await client.reload(zygote: "python")
        #expect(try await serving(client, "exec").pid == exec)
        #expect(try await client.run(.python(code: "import sys; print(sys.said)")).stdout == "new\n")
    }

    @Test func noRequestIsLostWhileGenerationsChange() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        let generations = try await withThrowingTaskGroup(of: [UInt32].self) { group in
            for worker in 0..<4 {
                group.addTask {
                    var seen: [UInt32] = []
                    while seen.last != 4 {
                        let payload: Payload = worker.isMultiple(of: 2) ? .program("/bin/true") : .python(code: "pass")
                        let result = try await client.run(payload)
                        #expect(result.verdict == .exited && result.exitCode == 0)
                        seen.append(try #require(result.spawn.generation))
                    }
                    return seen
                }
            }
            for _ in 0..<3 { _ = try await client.reload() }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for seen in generations { #expect(seen == seen.sorted(), "nobody is sent back to an older one") }
    }

    @Test func aHangUpReloads() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        // Three at once: what comes while one is under way is not forgotten, and not done twice as often either.
        for _ in 0..<3 { kill(daemon.pid, SIGHUP) }
        try await Wait.until("a second generation") { try await client.zygotes().contains { $0.generation >= 2 && $0.state == .ready } }
        try daemon.configure("zygotes: [")
        kill(daemon.pid, SIGHUP)
        try await Wait.until("a refusal in the log") { daemon.logText.contains("nothing was changed") }
        #expect(try await client.run(.program("/bin/true")).exitCode == 0)
    }

    @Test func aZygoteIsReplacedAfterItsCountOfSpawns() async throws {
        let daemon = try TestDaemon("zygotes: [{name: exec, kind: exec, nursery: {min: 1, max: 1}, rotate: {spawns: 5}}]")
        defer { daemon.stop() }
        let client = try await daemon.client()
        let first = try await client.zygotes()
        for _ in 0..<5 { #expect(try await client.run(.program("/bin/true")).exitCode == 0) }
        try await Wait.until("its successor serves") { try await client.run(.program("/bin/true")).spawn.generation == 2 }
        try await gone(first)
    }

    @Test func aZygoteIsReplacedAfterItsTime() async throws {
        let daemon = try TestDaemon("zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}, rotate: {after: 1s}}]")
        defer { daemon.stop() }
        let client = try await daemon.client()
        try await Wait.until("its successor's successor serves") {
            try await client.run(.program("/bin/true")).spawn.generation ?? 0 >= 3
        }
    }

    @Test func nothingOfAnOldGenerationIsLeft() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        func state() throws -> (descriptors: Int, children: Int) {
            let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.pid)/fd").count
            let children = try String(contentsOfFile: "/proc/\(daemon.pid)/task/\(daemon.pid)/children", encoding: .utf8)
            return (descriptors, children.split(separator: " ").count)
        }
        func rest() async throws {
            try await Wait.until("the nurseries are full and the old is gone") {
                let zygotes = try await client.zygotes()
                let children = try state().children
                return zygotes.count == 2 && zygotes.map(\.parked) == [2, 1] && children == 5
            }
        }
        try await rest()
        // What the first reload leaves behind for good (descriptors that are opened once) is not a leak.
        _ = try await client.reload()
        try await rest()
        let before = try state()
        var children: [Child] = []
        for _ in 0..<3 { children.append(try await client.spawn(.program("/bin/cat"), stdinPipe: true)) }
        try await Wait.until("the counter sees descriptors") { try state().descriptors > before.descriptors }
        for child in children {
            child.closeStdin()
            _ = try await child.wait()
        }
        for _ in 0..<4 { _ = try await client.reload() }
        try daemon.configure(Self.configuration("preload: [no_such_module]"))
        for _ in 0..<2 { await #expect(throws: HatcheryError.self) { try await client.reload() } }
        try await rest()
        try await Wait.until("as many descriptors as before") { 
            let after = try state()
            return after.children == before.children && after.descriptors <= before.descriptors
        }
    }

    @Test func aReloadIsForTheDaemonsOwnerAndRoot() async throws {
        let daemon = try Beds.root()
        guard Beds.available(Beds.isRoot, "only root can be another user") else { return }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments =
            ["--reuid", "65534", "--regid", "65534", "--clear-groups", TestDaemon.binaries + "/hatchery", "reload", "--socket", daemon.socketPath]
        let errors = Foundation.Pipe()
        process.standardError = errors
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 125)
        #expect(text.contains("only root and the daemon's own user may reload it"), "\(text)")
        #expect(try await daemon.client().zygotes().allSatisfy { $0.generation == 1 })
    }

    @Test func aSecondReloadWaitsForItsTurn() async throws {
        let daemon = try TestDaemon(Self.configuration())
        defer { daemon.stop() }
        let client = try await daemon.client()
        try daemon.configure(Self.configuration("warmup: 'import time; time.sleep(3)'"))
        async let first = client.reload()
        try await Wait.until("it is under way") { try await client.zygotes().count > 2 }
        let error = await #expect(throws: HatcheryError.self) { try await client.reload() }
        #expect(error?.kind == .overloaded)
        #expect(try await client.run(.python(code: "print(1)")).spawn.generation == 1, "the old one serves meanwhile")
        #expect(try await first.zygotes.contains { $0.generation == 2 })
    }

    @Test func aGenerationWhoseChildrenAgreeDoesNotStart() throws {
        let error = #expect(throws: TestDaemon.Refused.self) {
            try TestDaemon(Self.configuration("warmup: 'import uuid; fixed = uuid.uuid4(); uuid.uuid4 = lambda: fixed'"))
        }
        #expect(error?.description.contains("the same random numbers (uuid4)") == true)
    }
}
