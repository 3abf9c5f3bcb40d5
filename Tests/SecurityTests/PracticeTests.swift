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
}
