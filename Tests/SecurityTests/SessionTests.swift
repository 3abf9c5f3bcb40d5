import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Row C14, with programs that do not want to talk.
@Suite struct SessionTests {
    private func session(
        _ zygote: Probe.Zygote, _ code: String, lineLimit: Int = 1 << 20
    ) async throws -> Session {
        var options = SessionOptions()
        options.lineLimit = lineLimit
        return try await Beds.root().client().session(Probe.payload(zygote, code: code), options)
    }

    /// What outlives every mistake of these tests, and is never waited for where things go well.
    private let patience = Duration.seconds(15)

    @Test(arguments: Probe.Zygote.allCases)
    func itAnswersLineByLineOnBothStreams(_ zygote: Probe.Zygote) async throws {
        let code = """
            import sys
            for line in iter(sys.stdin.readline, ""):
                print("<" + line.strip() + ">", flush=True)
                print("heard", len(line), file=sys.stderr, flush=True)
            sys.exit(7)
            """
        let session = try await session(zygote, code)
        for word in ["one", "two", "drei"] {
            #expect(try await session.writeLine(word, timeout: patience).isComplete)
            #expect(try await session.readLine(timeout: patience).text == "<\(word)>")
            #expect(try await session.readErrorLine(timeout: patience).text == "heard \(word.count + 1)")
        }
        #expect(try await session.readLine(timeout: .milliseconds(10)) == .timedOut)
        // It ends by itself within its moment of grace.
        let end = try await session.close(grace: patience)
        #expect(end.verdict == .exited && end.exitCode == 7)
        #expect(try await session.close() == end)
        #expect(try await session.readLine() == .endOfFile)
        #expect(try await session.write([1]) == WriteOutcome(.closed, takenBytes: 0))
    }

    @Test(arguments: Probe.Zygote.allCases)
    func aProgramThatNeverReadsTakesAPipefullAndIsKilled(_ zygote: Probe.Zygote) async throws {
        let session = try await session(zygote, "import time\nprint('here', flush=True)\nwhile True: time.sleep(60)")
        #expect(try await session.readLine(timeout: patience).text == "here")
        let bytes = [UInt8](repeating: 65, count: 1_000_000)
        let outcome = try await session.write(bytes, timeout: .milliseconds(20))
        #expect(outcome.end == .timedOut)
        #expect(outcome.takenBytes > 0 && outcome.takenBytes < bytes.count)
        #expect(try await session.write([66], timeout: .zero) == WriteOutcome(.timedOut, takenBytes: 0))
        #expect(try await session.close(grace: .milliseconds(1)).verdict == .cancelled)
        #expect(try await session.readLine() == .endOfFile)
    }

    /// It reads nothing until a signal comes, and then tells what came: exactly what was taken, and nothing twice.
    @Test(arguments: Probe.Zygote.allCases)
    func whatWasRefusedNeverArrivesAndWhatWasTakenArrivesOnce(_ zygote: Probe.Zygote) async throws {
        let code = """
            import signal, sys
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
            print("ready", flush=True)
            signal.sigwait([signal.SIGUSR1])
            data = sys.stdin.buffer.read()
            print(len(data), data[-4:], data[:-4] == bytes(n // 251 % 256 for n in range(len(data) - 4)), flush=True)
            """
        let session = try await session(zygote, code)
        #expect(try await session.readLine(timeout: patience).text == "ready")
        let first = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 / 251) }
        let outcome = try await session.write(first, timeout: .milliseconds(20))
        #expect(outcome.end == .timedOut)
        try await session.kill(signal: SIGUSR1)
        #expect(try await session.write(Array("last".utf8), timeout: patience).isComplete)
        session.closeInput()
        #expect(try await session.readLine(timeout: patience).text == "\(outcome.takenBytes + 4) b'last' True")
        #expect(try await session.wait().exitCode == 0)
    }

    @Test func anEchoThatNobodyReadsStopsTakingAndGoesOnWhenRead() async throws {
        let session = try await session(.exec, "import os\nwhile True: os.write(1, os.read(0, 65536))", lineLimit: 1000)
        let line = [UInt8](repeating: 97, count: 999) + [10]
        let bytes = Array(repeatElement(line, count: 2000).joined())
        let outcome = try await session.write(bytes, timeout: .milliseconds(50))
        #expect(outcome.end == .timedOut)
        // Writing the rest and reading side by side, nothing is lost.
        async let rest = session.write(Array(bytes[outcome.takenBytes...]), timeout: patience)
        var count = 0
        for _ in 0..<2000 {
            guard let line = try await session.readLine(timeout: patience).line else { break }
            count += line.bytes.count == 999 && line.droppedBytes == 0 ? 1 : 0
        }
        #expect(count == 2000)
        #expect(try await rest.isComplete)
        #expect(try await session.close(grace: .zero).verdict == .cancelled)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func oneLineAndThenSilenceIsATimeOutAndNoEnd(_ zygote: Probe.Zygote) async throws {
        let session = try await session(zygote, "import time\nprint(input()[::-1], flush=True)\ntime.sleep(1000)")
        #expect(try await session.writeLine("abc", timeout: patience).isComplete)
        #expect(try await session.readLine(timeout: patience).text == "cba")
        #expect(try await session.readLine(timeout: .milliseconds(20)) == .timedOut)
        #expect(try await session.readErrorLine(timeout: .milliseconds(20)) == .timedOut)
        // Still taken: the pipe has room.
        #expect(try await session.writeLine("more", timeout: .zero).isComplete)
        #expect(try await session.close(grace: .zero).verdict == .cancelled)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func aProgramThatDiesWhileItIsWrittenToClosesAndRaisesNoSignal(_ zygote: Probe.Zygote) async throws {
        let session = try await session(
            zygote, "import os, sys\nos.read(0, 10)\nprint('bye', end='', flush=True)\nos._exit(3)")
        let outcome = try await session.write([UInt8](repeating: 65, count: 5_000_000), timeout: patience)
        #expect(outcome.end == .closed && outcome.takenBytes >= 10)
        #expect(try await session.wait().exitCode == 3)
        #expect(try await session.write([65], timeout: .zero) == WriteOutcome(.closed, takenBytes: 0))
        // Lines of one that has ended can still be read, the unfinished one too.
        let line = try #require(try await session.readLine(timeout: patience).line)
        #expect(line == OutputLine(.stdout, Array("bye".utf8), isTerminated: false))
        #expect(try await session.readLine(timeout: .zero) == .endOfFile)
        #expect(try await session.close().exitCode == 3)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func aLineWithoutEndKeepsItsLastBytes(_ zygote: Probe.Zygote) async throws {
        let code = "import os\nfor _ in range(50): os.write(1, b'x' * 10000)\nos.write(1, b'the end\\nnext\\n')"
        let session = try await session(zygote, code, lineLimit: 100)
        let line = try #require(try await session.readLine(timeout: patience).line)
        #expect(line.bytes.count == 100 && line.text.hasSuffix("xxthe end"))
        #expect(line.droppedBytes == 500_007 - 100)
        #expect(try await session.readLine(timeout: patience).text == "next")
        #expect(try await session.readLine(timeout: patience) == .endOfFile)
    }

    @Test func closedOutputsAreTheEndOfTheStreamsAndNotOfTheProgram() async throws {
        let session = try await session(.exec, "import os\nos.close(1); os.close(2)\nwhile True: pass")
        #expect(try await session.readLine(timeout: patience) == .endOfFile)
        #expect(try await session.readErrorLine(timeout: patience) == .endOfFile)
        #expect(try await Beds.root().client().sandboxes().contains { $0.id == session.id })
        #expect(try await session.close(grace: .milliseconds(1)).verdict == .cancelled)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func closeEndsWhatIgnoresEverySignalAndItsGrandchild(_ zygote: Probe.Zygote) async throws {
        let code = """
            import os, signal, time
            for sig in range(1, 65):
                try: signal.signal(sig, signal.SIG_IGN)
                except (OSError, ValueError): pass
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: time.sleep(1002)
                os._exit(0)
            print(os.getpid(), flush=True)
            while True: time.sleep(1002)
            """
        let session = try await session(zygote, code)
        #expect(try await session.readLine(timeout: patience).text != nil)
        try await session.kill(signal: SIGTERM)
        #expect(try await session.readLine(timeout: .milliseconds(20)) == .timedOut)
        let end = try await session.close(grace: .milliseconds(1))
        #expect(end.verdict == .cancelled)
        // The grandchild held the pipe: it is gone too, or this would be a time-out.
        #expect(try await session.readLine(timeout: patience) == .endOfFile)
        #expect(kill(session.pid, 0) != 0)
    }

    @Test func aGrandchildThatStaysDoesNotKeepTheSession() async throws {
        let code =
            "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(1003)\nprint('left', flush=True)\nos._exit(4)"
        let session = try await session(.exec, code)
        #expect(try await session.readLine(timeout: patience).text == "left")
        #expect(try await session.readLine(timeout: patience) == .endOfFile)
        #expect(try await session.wait().exitCode == 4)
    }

    @Test func aStoppedProgramIsClosedLikeAnyOther() async throws {
        let session = try await session(
            .exec, "import os, signal\nprint('x', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)")
        #expect(try await session.readLine(timeout: patience).text == "x")
        #expect(try await session.close(grace: .milliseconds(1)).verdict == .cancelled)
    }

    @Test func aSessionEndsAtItsTimeLimit() async throws {
        let client = try await Beds.root().client()
        let session = try await client.session(
            .program("/bin/sleep", ["1000"]), SessionOptions(time: .milliseconds(300)))
        #expect(try await session.readLine() == .endOfFile)
        #expect(try await session.close().verdict == .timedOut)
    }

    @Test func aDroppedSessionEndsItsSandbox() async throws {
        let client = try await Beds.root().client()
        var id = ""
        do {
            let session = try await client.session(.program("/bin/sleep", ["1000"]))
            id = session.id
            #expect(try await client.sandboxes().contains { $0.id == id })
        }
        try await Wait.until("the sandbox is gone") { try await !client.sandboxes().contains { $0.id == id } }
    }

    // MARK: The command line

    @Test func theCommandLineTalksLineByLine() async throws {
        let daemon = try Beds.root()
        let talk = try await CommandLineTalk.run(
            [
                "session", "--socket", daemon.socketPath, Beds.python, "-u", "-c",
                "import sys\nfor line in iter(input, 'end'): print('<' + line + '>')\nsys.exit(5)",
            ],
            ["one", "two"], last: "end\n")
        #expect(talk.answers == ["<one>", "<two>"])
        #expect(talk.status == 5)
    }

    @Test func theCommandLineEndsAsRunDoes() async throws {
        let daemon = try Beds.root()
        let socket = ["--socket", daemon.socketPath]
        #expect(
            try await CommandLineTalk.run(["session"] + socket + ["--time", "0.3", "/bin/sleep", "100"]).status == 124)
        #expect(try await CommandLineTalk.run(["session"] + socket + ["/bin/sh", "-c", "kill -9 $$"]).status == 137)
        let missing = try await CommandLineTalk.run(["session"] + socket + ["nonesuch"])
        #expect(missing.status == 127 && missing.message.contains("nonesuch"))
        let terminal = try await CommandLineTalk.run(["session"] + socket + ["-t", "/bin/sh", "-c", "test -t 0 || exit 9"])
        #expect(terminal.status == 0)
        // The end of our stdin is the end of the program's.
        #expect(try await CommandLineTalk.run(["session"] + socket + ["/bin/cat"], ["x"]).status == 0)
    }
}

/// Row C15.
@Suite struct OutputStreamTests {
    @Test(arguments: Probe.Zygote.allCases)
    func linesOfBothStreamsAndTheUnfinishedLastOneOnce(_ zygote: Probe.Zygote) async throws {
        let code = "import sys\nprint('one'); print('err', file=sys.stderr); print('two'); sys.stdout.write('rest')"
        let lines = try await Beds.root().client().lines(Probe.payload(zygote, code: code))
        var output: [OutputLine] = []
        for try await line in lines { output.append(line) }
        #expect(output.filter { $0.stream == .stdout }.map(\.text) == ["one", "two", "rest"])
        #expect(output.filter { !$0.isTerminated }.map(\.text) == ["rest"])
        #expect(output.filter { $0.stream == .stderr }.map(\.text) == ["err"])
        #expect(try await lines.wait().exitCode == 0)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func breakingOffEarlyKills(_ zygote: Probe.Zygote) async throws {
        let client = try await Beds.root().client()
        let code = "n = 0\nwhile True:\n    print(n, flush=True)\n    n += 1"
        let lines = try await client.lines(Probe.payload(zygote, code: code))
        var count = 0
        for try await line in lines {
            #expect(line.text == "\(count)")
            count += 1
            if count == 1000 { break }
        }
        #expect(try await lines.wait().verdict == .cancelled)
        let id = lines.spawned.id
        #expect(try await !client.sandboxes().contains { $0.id == id })
    }

    @Test func aSilentProgramEndsAtItsLimit() async throws {
        let client = try await Beds.root().client()
        for payload in [
            Payload.program("/bin/sleep", ["1000"]),
            // Silent in another way: its streams are at their ends long before.
            .program(Beds.python, ["-c", "import os\nos.close(1); os.close(2)\nwhile True: pass"]),
        ] {
            let lines = try await client.lines(payload, StreamOptions(time: .milliseconds(300)))
            for try await line in lines { Issue.record("said \(line.text)") }
            #expect(try await lines.wait().verdict == .timedOut)
        }
    }

    @Test func aLineWithoutEndIsCappedUntilTheLimit() async throws {
        let client = try await Beds.root().client()
        let code = "import os\nwhile True: os.write(1, b'x' * 10000)"
        var output: [OutputLine] = []
        // More and more time, until the program has started within it: how long that takes is not what is tested.
        for milliseconds in [500, 1000, 2000, 4000, 8000] where output.isEmpty {
            var options = StreamOptions(time: .milliseconds(milliseconds))
            options.lineLimit = 1000
            let lines = try await client.lines(.program(Beds.python, ["-c", code]), options)
            for try await line in lines { output.append(line) }
            #expect(try await lines.wait().verdict == .timedOut)
        }
        #expect(output.count == 1)
        #expect(output.first?.bytes == [UInt8](repeating: 120, count: 1000))
        #expect((output.first?.droppedBytes ?? 0) > 0)
    }

    @Test func cancellingTheTaskKills() async throws {
        let lines = try await Beds.root().client().lines(
            .program("/bin/sh", ["-c", "echo here; sleep 1000"]), StreamOptions(time: .seconds(500)))
        let said = AsyncStream<Void>.makeStream()
        let task = Task {
            for try await _ in lines { said.continuation.yield() }
        }
        var waiting = said.stream.makeAsyncIterator()
        await waiting.next()
        task.cancel()
        await #expect(throws: HatcheryError.self) { try await task.value }
        #expect(try await lines.wait().verdict == .cancelled)
    }

    @Test func bytesComeExactly() async throws {
        var options = StreamOptions()
        let data = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7 / 256) }
        options.stdin = .bytes(data)
        var came: [UInt8] = []
        let bytes = try await Beds.root().client().bytes(.program("/bin/cat"), options)
        for try await chunk in bytes { came += chunk.bytes }
        #expect(came == data)
        #expect(try await bytes.wait().exitCode == 0)
    }
}

/// `hatchery session` as a user at a pipe has it: a line in, its answer out, the next line in.
enum CommandLineTalk {
    struct Outcome: Sendable {
        var answers: [String] = []
        var message = ""
        var status: Int32 = -1
    }

    /// - Parameters:
    ///   - lines: each is written, and one line of answer read, before the next one.
    ///   - last: written before the end of stdin.
    static func run(_ arguments: [String], _ lines: [String] = [], last: String = "") async throws -> Outcome {
        try await withCheckedThrowingContinuation { continuation in
            // Blocking reads belong in a thread of their own.
            Thread.detachNewThread { continuation.resume(with: Result { try talk(arguments, lines, last) }) }
        }
    }

    private static func talk(_ arguments: [String], _ lines: [String], _ last: String) throws -> Outcome {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: TestDaemon.binaries + "/hatchery")
        process.arguments = arguments
        let (input, output, errors) = (Foundation.Pipe(), Foundation.Pipe(), Foundation.Pipe())
        (process.standardInput, process.standardOutput, process.standardError) = (input, output, errors)
        try process.run()
        var outcome = Outcome()
        for line in lines {
            input.fileHandleForWriting.write(Data((line + "\n").utf8))
            var answer: [UInt8] = []
            while let byte = try output.fileHandleForReading.read(upToCount: 1)?.first, byte != 10 {
                answer.append(byte)
            }
            outcome.answers.append(String(decoding: answer, as: UTF8.self))
        }
        if !last.isEmpty { input.fileHandleForWriting.write(Data(last.utf8)) }
        try input.fileHandleForWriting.close()
        outcome.message = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        outcome.status = process.terminationStatus
        return outcome
    }
}
