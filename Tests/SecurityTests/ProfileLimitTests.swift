import Hatchery
import HatcheryProtocol
import HatcheryTestSupport
import Testing

/// What a profile says where a request does not, and what it allows at most.
@Suite struct ProfileLimitTests {
    private static let configuration = """
        zygotes:
          - {name: exec, kind: exec, nursery: {min: 1, max: 1}}
          - {name: narrow, kind: exec, profile: narrow, nursery: {min: 1, max: 1}}
        profiles:
          default: {}
          narrow:
            environment: {WHICH: narrow}
            limits: {output: {default: 10, max: 20}, files: {default: 32, max: 64}}
        """

    private func run(_ daemon: TestDaemon, _ script: String, zygote: String = "narrow", _ change: (inout RunOptions) -> Void = { _ in })
        async throws -> RunResult
    {
        var options = RunOptions(time: Beds.time(.seconds(20)))
        options.zygote = zygote
        change(&options)
        return try await daemon.client().run(.program("/bin/sh", ["-c", script]), options)
    }

    @Test func aRequestWithoutAProfileGetsItsZygotes() async throws {
        let daemon = try TestDaemon(Self.configuration)
        defer { daemon.stop() }
        // The nursery of a zygote is filled for its own profile, and such a request is served from it.
        let client = try await daemon.client()
        while try await client.zygotes().contains(where: { $0.parked == 0 }) { try await Task.sleep(for: .milliseconds(10)) }
        let own = try await run(daemon, "echo $WHICH")
        #expect(own.stdout == "narrow\n" && own.spawn.nurseryHit == true)
        let other = try await run(daemon, "echo $WHICH") { $0.profile = "default" }
        #expect(other.stdout == "\n" && other.spawn.nurseryHit == false)
        #expect(try await run(daemon, "echo $WHICH", zygote: "exec").stdout == "\n")
        #expect(try await run(daemon, "echo $WHICH", zygote: "exec") { $0.profile = "narrow" }.stdout == "narrow\n")
    }

    @Test func theProfileSaysHowMuchOutputIsKept() async throws {
        let daemon = try TestDaemon(Self.configuration)
        defer { daemon.stop() }
        let script = "printf 0123456789012345678901234567890; printf 0123456789012345 >&2"
        let usual = try await run(daemon, script)
        #expect(usual.stdout == "0123456789" && usual.stdoutTruncatedBytes == 21)
        #expect(usual.stderr == "0123456789" && usual.stderrTruncatedBytes == 6)
        #expect(try await run(daemon, script) { $0.outputLimit = 20 }.stdout.count == 20)
        #expect(try await run(daemon, script) { $0.stderrLimit = 12 }.stderr.count == 12)
        for change: (inout RunOptions) -> Void in [{ $0.outputLimit = 21 }, { $0.stderrLimit = 21 }] {
            let error = await #expect(throws: HatcheryError.self) { try await run(daemon, script, change) }
            #expect(error?.kind == .invalidRequest && error?.description.contains("output: 21 is above") == true)
            #expect(error?.hint.contains("profiles.narrow.limits.output.max") == true)
        }
    }

    @Test func descriptorsAreLimitedAsAskedAndAtMostAsTheProfileSays() async throws {
        let daemon = try TestDaemon(Self.configuration)
        defer { daemon.stop() }
        #expect(try await run(daemon, "ulimit -n; ulimit -Hn").stdout == "32\n32\n")
        #expect(try await run(daemon, "ulimit -n; ulimit -Hn") { $0.openFiles = 64 }.stdout == "64\n64\n")
        let error = await #expect(throws: HatcheryError.self) { try await run(daemon, "true") { $0.openFiles = 65 } }
        #expect(error?.kind == .invalidRequest && error?.description.contains("files: 65 is above") == true)
    }
}
