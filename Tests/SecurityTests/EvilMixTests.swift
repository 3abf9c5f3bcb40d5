import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// The evil programs, each alone for its verdict and a thousand together for what they leave behind.
@Suite struct EvilMixTests {
    @Test(arguments: EvilProgram.all, Probe.Zygote.allCases)
    func eachEndsAsItMust(_ program: EvilProgram, _ zygote: Probe.Zygote) async throws {
        let (options, descriptors) = program.options(limit: Beds.time(.seconds(1)), patience: Beds.time(.seconds(20)))
        defer { for raw in descriptors { close(raw) } }
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: program.code), options)
        #expect(result.verdict == program.verdict, "\(result.stderr)")
        #expect(result.exitCode == program.exitCode)
        if let signal = program.signal { #expect(result.signal == signal) }
        if let output = program.output { #expect(result.stdout == output) }
        #expect(result.stdoutBytes.count <= 100_000)
    }

    /// What runs may leave behind in this daemon and in this client. Other tests share this process, so of the client only what
    /// a thousand leaks would stand out of is looked at.
    private struct Count: Equatable, CustomStringConvertible {
        var daemon: Leftovers
        var cgroups: Int
        var clientDescriptors: Int
        var deadPIDFDs: Int

        init(_ bed: TestDaemon) {
            daemon = Leftovers.count(daemon: bed.pid)
            daemon.files = (try? FileManager.default.contentsOfDirectory(atPath: bed.directory).count) ?? -1
            cgroups = CgroupBed.tree(of: bed.pid).map { CgroupBed.leaves(below: $0).count } ?? 0
            let raws = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
            clientDescriptors = raws.count
            deadPIDFDs = raws.count {
                (try? String(contentsOfFile: "/proc/self/fdinfo/\($0)", encoding: .utf8))?.contains("\nPid:\t-1\n") == true
            }
        }

        var description: String {
            "\(daemon), \(cgroups) cgroups, \(clientDescriptors) descriptors here, \(deadPIDFDs) of them of the dead"
        }

        func isNoMore(than before: Count) -> Bool {
            daemon.processes <= before.daemon.processes && daemon.zombies == 0 && daemon.descriptors <= before.daemon.descriptors
                && daemon.mounts <= before.daemon.mounts && daemon.files <= before.daemon.files && cgroups <= before.cgroups
                && clientDescriptors < before.clientDescriptors + 250 && deadPIDFDs < 100
        }
    }

    @Test func aThousandRunsLeaveNothing() async throws {
        let bed = try TestDaemon(
            """
            zygotes:
              - {name: exec, kind: exec, nursery: {min: 0, max: 0}}
              - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0}}
            """)
        defer { bed.stop() }
        let client = try await bed.client()
        // The first runs make what is kept for the next ones: buffers, a pool of cgroups.
        try await EvilMixTests.mix(client, 30)
        let before = try await atRest(bed)
        let held = try await client.spawn(.program("/bin/sleep", ["1000"]))
        let during = Count(bed)
        #expect(!during.isNoMore(than: before), "the counter sees one that is left")
        #expect(during.daemon.processes > before.daemon.processes && during.daemon.descriptors > before.daemon.descriptors)
        try await held.kill()
        _ = try await held.wait()
        try await EvilMixTests.mix(client, 1000)
        var after = Count(bed)
        try await Wait.until("everything is gone") {
            after = Count(bed)
            return after.isNoMore(than: before)
        }
        #expect(after.isNoMore(than: before), "before: \(before); after: \(after)")
        #expect(try await client.sandboxes().isEmpty)
    }

    /// A count that has come to rest: tear-down goes on after an answer.
    private func atRest(_ bed: TestDaemon) async throws -> Count {
        var last = Count(bed)
        var equal = 0
        try await Wait.until("the daemon is at rest") {
            let now = Count(bed)
            equal = now.daemon == last.daemon && now.cgroups == last.cgroups && now.daemon.zombies == 0 ? equal + 1 : 0
            last = now
            return equal >= 10
        }
        return last
    }

    /// Runs of all programs in turn, eight at once; every eleventh is cancelled at some instant.
    private static func mix(_ client: HatcheryClient, _ count: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<count {
                if number >= 8 { try await group.next() }
                group.addTask { try await one(client, number) }
            }
            try await group.waitForAll()
        }
    }

    private static func one(_ client: HatcheryClient, _ number: Int) async throws {
        let program = EvilProgram.all[number % EvilProgram.all.count]
        // Mostly warm ones: how long an interpreter takes to start is not what is looked for.
        let zygote = number % 7 == 0 ? Probe.Zygote.exec : .python
        let (options, descriptors) = program.options(limit: .milliseconds(100), patience: .seconds(2))
        defer { for raw in descriptors { close(raw) } }
        let payload = Probe.payload(zygote, code: program.code)
        let running = Task { try await client.run(payload, options) }
        if number % 11 == 0 {
            try await Task.sleep(for: .milliseconds(number % 40))
            running.cancel()
        }
        let result = try await running.value
        #expect(![.setupFailed, .lost].contains(result.verdict), "\(program.name): \(result.verdict.name)")
    }
}
