import Foundation
import Hatchery
import HatcheryProtocol
import HatcheryTestSupport
import Testing

/// Before it serves, a zygote has the way of a child walked in its own memory (Sources/HatcheryZygote/Practice.swift).
@Suite struct PracticeTests {
    @Test func itIsWalkedToItsEndAndLeavesTheZygoteAsItWas() async throws {
        let daemon = try TestDaemon(
            """
            zygotes:
              - {name: exec, kind: exec, nursery: {min: 0, max: 0}}
              - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0}}
            """)
        defer { daemon.stop() }
        let client = try await daemon.client()
        for zygote in try await client.zygotes() {
            // A practice that ends early is told.
            #expect(zygote.findings == [], "\(zygote.name)")
            // Its children write their title over that of the process whose memory they share.
            let title = try String(contentsOfFile: "/proc/\(zygote.pid)/cmdline", encoding: .utf8)
            #expect(title.hasPrefix(zygote.name == "exec" ? "hatchery-zygote\0" : Beds.python), "\(title)")
            // They drop every right, and what they set counts for them alone.
            let status = try String(contentsOfFile: "/proc/\(zygote.pid)/status", encoding: .utf8)
            #expect(status.contains("NoNewPrivs:\t0") && status.contains("Seccomp:\t0"), "\(zygote.name)")
            // Whatever they were, they are reaped.
            let children = try String(contentsOfFile: "/proc/\(zygote.pid)/task/\(zygote.pid)/children", encoding: .utf8)
            #expect(children == "")
        }
    }

    /// A request finds nothing of it: no environment, no argument, no file of the sandbox that was built.
    @Test func nothingOfItIsInAChild() async throws {
        let daemon = try TestDaemon(
            "zygotes: [{name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0}}]")
        defer { daemon.stop() }
        let client = try await daemon.client()
        let result = try await client.run(
            .python(code: "import os; print(sorted(os.environ), os.listdir('.'), os.path.exists('/practice'), open('/proc/self/cmdline').read().count('practice'))"))
        #expect(result.stdout.hasSuffix(" [] False 0\n"), "\(result)")
        #expect(!result.stdout.contains("PATH"), "\(result.stdout)")
    }

    /// What a parked child does ahead of its request, one whose request waits does not do.
    @Test func aMissRehearsesNothing() async throws {
        let daemon = try TestDaemon(
            """
            zygotes:
              - {name: python, kind: python, interpreter: \(Beds.python), rehearsal: "import sys; sys.rehearsed = True", nursery: {min: 1, max: 1}}
            """)
        defer { daemon.stop() }
        let client = try await daemon.client()
        var seen: [Bool: String] = [:]
        for number in 0..<40 where seen.count < 2 {
            var options = RunOptions()
            // A file system of its own makes a miss.
            if number % 2 == 1 { options.temporaryFileSystems = [.init(destination: "/own")] }
            let result = try await client.run(.python(code: "import sys; print(hasattr(sys, 'rehearsed'))"), options)
            seen[result.spawn.nurseryHit == true] = result.stdout
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(seen == [true: "True\n", false: "False\n"])
    }
}
