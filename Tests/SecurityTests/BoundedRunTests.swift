import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Rows C1 to C11, C13 and C16 with a real daemon, each for both kinds of zygote. C9 and C13 are in `LifeAndDeathTests` as well;
/// C12 is with the limits.
@Suite struct BoundedRunTests {
    private func run(
        _ zygote: Probe.Zygote, _ code: String, _ options: RunOptions = RunOptions()
    ) async throws -> RunResult {
        try await Beds.root().client().run(Probe.payload(zygote, code: code), options)
    }

    private func options(time: Duration? = nil, stdin: [UInt8]? = nil) -> RunOptions {
        var options = RunOptions(time: time)
        if let stdin { options.stdin = .bytes(stdin) }
        return options
    }

    /// Repeats a run that its time limit is to end with more and more time, until the program has come as far as to speak: how
    /// long it takes to start is not what is tested. A run that loses its output never does.
    private func untilItSpeaks(_ attempt: (Duration) async throws -> RunResult) async throws -> RunResult {
        var limit = Duration.milliseconds(700)
        var result = try await attempt(limit)
        while result.stdout.isEmpty, limit < .seconds(10) {
            limit *= 2
            result = try await attempt(limit)
        }
        return result
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c1ASessionAndAProcessGroupOfItsOwn(_ zygote: Probe.Zygote) async throws {
        let code = "import os\nprint(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())"
        #expect(try await run(zygote, code).stdout == "True True\n")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c2StdinIsAtItsEndUnlessThereIsData(_ zygote: Probe.Zygote) async throws {
        let code = "import os\nprint(os.read(0, 10), os.read(0, 10))"
        #expect(try await run(zygote, code).stdout == "b'' b''\n")
        #expect(try await run(zygote, code, options(stdin: Array("data".utf8))).stdout == "b'data' b''\n")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c3EachStreamKeepsItsCapAndTheProgramNeitherBlocksNorDies(_ zygote: Probe.Zygote) async throws {
        let code = """
            import os, sys
            for _ in range(300): os.write(1, b"o" * 10000)
            os.write(1, b"end")
            for _ in range(200): os.write(2, b"e" * 10000)
            sys.exit(7)
            """
        for cap in [0, 1, 100_001] {
            for keepsTail in [false, true] {
                var options = RunOptions()
                options.outputLimit = cap
                options.keepsTail = keepsTail
                let result = try await run(zygote, code, options)
                #expect(result.exitCode == 7)
                #expect(result.stdoutBytes.count == cap && result.stderrBytes.count == cap)
                #expect(result.stdoutTruncatedBytes == UInt64(3_000_003 - cap))
                #expect(result.stderrTruncatedBytes == UInt64(2_000_000 - cap))
                #expect(cap == 0 || result.stdout.last == (keepsTail ? "d" : "o"))
            }
        }
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c4ACodePointSplitAtTheCapDisappears(_ zygote: Probe.Zygote) async throws {
        let code = "import os\nos.write(1, 'aé€😀'.encode())"
        for (cap, expected) in [(1, "a"), (2, "a"), (3, "aé"), (5, "aé"), (6, "aé€"), (9, "aé€"), (10, "aé€😀")] {
            var options = RunOptions()
            options.outputLimit = cap
            let result = try await run(zygote, code, options)
            #expect(result.stdout == expected)
            #expect(result.stdoutBase64 == nil)
        }
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c5ATimeLimitKeepsWhatWasPrintedSoFar(_ zygote: Probe.Zygote) async throws {
        for rest in ["while True: pass", "import time; time.sleep(1000)", "while True: print('y' * 1000)"] {
            let result = try await untilItSpeaks { limit in
                var options = options(time: limit)
                options.outputLimit = 7
                return try await run(zygote, "print('so far', flush=True)\n\(rest)", options)
            }
            #expect(result.verdict == .timedOut)
            #expect(result.stdout == "so far\n")
            #expect(result.evidence.limit == "wall")
            #expect(result.exitCode == nil)
        }
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c6AStalledStdinIsToldApartFromATimeLimit(_ zygote: Probe.Zygote) async throws {
        let code = "import time\nprint('before', flush=True)\ntime.sleep(1000)"
        let options = options(stdin: [UInt8](repeating: 65, count: 1_000_000))
        let stalled = try await untilItSpeaks { limit in
            var options = options
            options.stdinTime = limit
            return try await run(zygote, code, options)
        }
        #expect(stalled.verdict == .stdinStalled)
        #expect(!stalled.stdinWritten && stalled.stdout == "before\n")
        #expect(stalled.evidence.limit == "stdin" && stalled.evidence.observed?.hasSuffix("s") == true)
        let late = try await untilItSpeaks { limit in
            var options = options
            options.time = limit
            return try await run(zygote, code, options)
        }
        #expect(late.verdict == .timedOut)
        #expect(!late.stdinWritten && late.stdout == "before\n")
        // One that ends without reading has not stalled.
        let over = try await run(zygote, "print('no thanks')", options)
        #expect(over.verdict == .exited && !over.stdinWritten && over.stdout == "no thanks\n")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c7ClosedPipesAreNotTheEnd(_ zygote: Probe.Zygote) async throws {
        let close = "import os, time\nos.write(1, b'x')\nos.close(0); os.close(1); os.close(2)\n"
        let spinning = try await untilItSpeaks { limit in
            try await run(zygote, close + "while True: pass", options(time: limit))
        }
        #expect(spinning.verdict == .timedOut && spinning.stdout == "x")
        let ending = try await run(zygote, close + "time.sleep(0.2)\nos._exit(9)")
        #expect(ending.verdict == .exited && ending.exitCode == 9 && ending.stdout == "x")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c8ADescendantThatKeepsThePipesDoesNotHideTheExitCode(_ zygote: Probe.Zygote) async throws {
        let code = """
            import os, time
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: time.sleep(1000)
                os._exit(1)
            os.write(1, b"left")
            os._exit(5)
            """
        let result = try await run(zygote, code)
        #expect(result.verdict == .exited && result.exitCode == 5 && result.stdout == "left")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c9NothingSurvivesATimeLimit(_ zygote: Probe.Zygote) async throws {
        let seconds = zygote == .exec ? 1004 : 1005
        let code = """
            import os, time
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0: os.execv("/bin/sleep", ["sleep", "\(seconds)"])
                    os._exit(0)
            while True: time.sleep(60)
            """
        let result = try await run(zygote, code, options(time: .milliseconds(700)))
        #expect(result.verdict == .timedOut)
        #expect(!ProcessList.commandLines().contains { $0.contains("sleep \(seconds)") })
    }

    /// A daemon of its own without a nursery: what others leave for a moment, and what is parked, must not count.
    @Test func c10NoZombieAndNoDescriptorIsLeft() async throws {
        let daemon = try TestDaemon(
            """
            zygotes:
              - {name: exec, kind: exec, nursery: {min: 0, max: 0}}
              - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0}}
            """)
        defer { daemon.stop() }
        let client = try await daemon.client()
        func mix() async throws {
            for zygote in Probe.Zygote.allCases {
                for code in [
                    "import os\nif os.fork() == 0: os._exit(0)", "import os\nos.abort()", "1/0",
                    "import time\ntime.sleep(1000)",
                ] {
                    var options = RunOptions(time: .milliseconds(300))
                    options.stdin = .bytes(Array("x".utf8))
                    _ = try await client.run(Probe.payload(zygote, code: code), options)
                }
            }
        }
        try await mix()
        // Tear-down goes on after the answer: the count to compare with is one that has come to rest.
        var before = Leftovers.count(daemon: daemon.pid)
        var equal = 0
        try await Wait.until("the daemon is at rest") {
            let now = Leftovers.count(daemon: daemon.pid)
            equal = now == before && now.zombies == 0 ? equal + 1 : 0
            before = now
            return equal >= 10
        }
        let held = try await client.spawn(.program("/bin/sleep", ["1000"]))
        let during = Leftovers.count(daemon: daemon.pid)
        #expect(
            during.processes > before.processes && during.descriptors > before.descriptors, "the counter sees a leak")
        try await held.kill()
        _ = try await held.wait()
        for _ in 0..<3 { try await mix() }
        try await Wait.until("everything is gone") {
            let after = Leftovers.count(daemon: daemon.pid)
            return after.zombies == 0 && after.processes <= before.processes && after.descriptors <= before.descriptors
                && after.mounts <= before.mounts
        }
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c11CancellationAtAnyInstantEndsInOneResultAndLeavesNothing(_ zygote: Probe.Zygote) async throws {
        let client = try await Beds.root().client()
        let seconds = zygote == .exec ? 1006 : 1007
        let code = "import os\nos.write(1, b'here')\nos.execv('/bin/sleep', ['sleep', '\(seconds)'])"
        for step in 0..<15 {
            let running = Task { try await client.run(Probe.payload(zygote, code: code)) }
            try await Task.sleep(for: .milliseconds(step * 2))
            running.cancel()
            running.cancel()
            let result = try await running.value
            #expect(result.verdict == .cancelled)
            #expect(result.stdout.isEmpty || result.stdout == "here")
        }
        #expect(!ProcessList.commandLines().contains { $0.contains("sleep \(seconds)") })
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c13DeathBySignalIsToldWithNumberAndName(_ zygote: Probe.Zygote) async throws {
        for (number, name) in [(Int32(1), "SIGHUP"), (10, "SIGUSR1"), (13, "SIGPIPE"), (7, "SIGBUS")] {
            let code = """
                import os, signal
                signal.signal(\(number), signal.SIG_DFL)
                os.write(1, b"x")
                os.kill(os.getpid(), \(number))
                """
            let result = try await run(zygote, code)
            #expect(result.verdict == .signaled, "\(name)")
            #expect(result.signal == number && result.signalName == name)
            #expect(result.exitCode == nil && result.stdout == "x")
        }
    }

    /// The program would leave a file in a directory of ours.
    @Test(arguments: Probe.Zygote.allCases)
    func c16ACancelledRunNeverStartsLater(_ zygote: Probe.Zygote) async throws {
        var template = Array("/tmp/hatchery-c16-XXXXXX".utf8CString)
        #expect(mkdtemp(&template) != nil)
        let place = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: place) }
        chmod(place, 0o777)
        let client = try await Beds.root().client()
        var options = RunOptions()
        options.mounts = [.init(place, at: "/mnt/out", writable: true)]
        let payload = Probe.payload(
            zygote, code: "import sys\nopen('/mnt/out/' + sys.argv[-1], 'w').close()", ["ran"])
        // First that it would be seen.
        #expect(try await client.run(payload, options).exitCode == 0)
        #expect(unlink(place + "/ran") == 0)
        var never = 0
        for _ in 0..<10 {
            let running = Task { [options] in try await client.run(payload, options) }
            running.cancel()
            let result = try await running.value
            // The answer has come: what has not started by now never does. One that was faster than the cancellation has an id.
            if result.spawn.id == nil { never += 1 } else { unlink(place + "/ran") }
        }
        #expect(never > 0)
        // Whatever came later would have passed this one, which asked last and is over.
        #expect(try await client.run(.program("/bin/true")).exitCode == 0)
        #expect(access(place + "/ran", F_OK) != 0)
    }
}
