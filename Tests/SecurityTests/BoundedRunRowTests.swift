import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// The rows of ACCEPTANCE section B that are not in `BoundedRunTests`: C12, C14 and C15. `SessionTests` and `OutputStreamTests` go
/// further into the last two.
@Suite struct BoundedRunRowTests {
    private let patience = Duration.seconds(15)

    /// Also while stdin is written, and after the direct child's own child has gone.
    @Test(arguments: Probe.Zygote.allCases)
    func c12MemoryOfTheWholeTreeIsLimited(_ zygote: Probe.Zygote) async throws {
        let grow = "held = [b'x' * (1 << 20) for _ in range(300)]; time.sleep(1000)"
        let programs: [(code: String, hasInput: Bool)] = [
            ("import time\n\(grow)", false),
            // It never reads, so its stdin is being written all the while.
            ("import time\n\(grow)", true),
            ("import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: \(grow)\n    os._exit(0)\nos.wait(); time.sleep(1000)", false),
        ]
        for program in programs {
            var options = RunOptions(time: Beds.time(.seconds(20)))
            options.memory = 64 << 20
            if program.hasInput { options.stdin = .bytes([UInt8](repeating: 65, count: 4 << 20)) }
            let result = try await Beds.root().client().run(Probe.payload(zygote, code: program.code), options)
            #expect(result.verdict == .memoryLimit, "\(program)")
            #expect(result.evidence.limit == "memory" && result.evidence.observed != nil)
            #expect(result.stdinWritten == !program.hasInput)
        }
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c14ASessionTellsTimeOutsFromTheEndAndLosesNothing(_ zygote: Probe.Zygote) async throws {
        let code = """
            import sys
            for line in iter(sys.stdin.readline, ""): print(line.strip().upper(), flush=True)
            sys.stdout.write("unfinished")
            """
        var options = SessionOptions()
        options.lineLimit = 10
        let session = try await Beds.root().client().session(Probe.payload(zygote, code: code), options)
        #expect(try await session.writeLine("one", timeout: patience).isComplete)
        #expect(try await session.readLine(timeout: patience).text == "ONE")
        #expect(try await session.readLine(timeout: .milliseconds(20)) == .timedOut)
        #expect(try await session.writeLine("a line that is too long", timeout: patience).isComplete)
        let long = try await session.readLine(timeout: patience).line
        #expect(long?.text == "S TOO LONG" && long?.droppedBytes == 13)
        session.closeInput()
        _ = try await session.wait()
        let last = try await session.readLine(timeout: patience).line
        #expect(last?.text == "unfinished" && last?.isTerminated == false)
        #expect(try await session.readLine(timeout: patience) == .endOfFile)
        let end = try await session.close()
        #expect(try await session.close() == end)
        #expect(end.verdict == .exited)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func c15StreamedLinesEndWithTheProgramAndBreakingOffKills(_ zygote: Probe.Zygote) async throws {
        let client = try await Beds.root().client()
        var texts: [String] = []
        let finite = try await client.lines(Probe.payload(zygote, code: "print('a'); print('b'); print('c', end='')"))
        for try await line in finite { texts.append(line.text) }
        #expect(texts == ["a", "b", "c"])
        #expect(try await finite.wait().verdict == .exited)

        let endless = try await client.lines(Probe.payload(zygote, code: "while True: print('more')"))
        for try await _ in endless { break }
        #expect(try await endless.wait().verdict == .cancelled)

        let silent = try await client.lines(
            Probe.payload(zygote, code: "import time; time.sleep(1000)"), StreamOptions(time: Beds.time(.milliseconds(700))))
        for try await _ in silent { Issue.record("it said something") }
        #expect(try await silent.wait().verdict == .timedOut)
    }
}
