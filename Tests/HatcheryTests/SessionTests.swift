import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization
import Testing

@testable import Hatchery

@Suite(.timeLimit(.minutes(1)))
struct SessionTests {
    /// A front whose sandboxes do what `body` says, in a thread, and end when it returns; a kill ends them as well.
    static func front(
        _ body: @escaping @Sendable (FakeSandbox, Ending) -> Void
    ) throws -> FakeFront {
        let sandboxes = Mutex<[UInt32: Ending]>([:])
        return try FakeFront { peer, received in
            if received.frame.kind == .spawn {
                let request = received.frame.request
                let sandbox = FakeSandbox(peer, request, withStdin: wantsStdin(received.frame))
                let ending = Ending { sandbox.end(peer, request, $0, code: $1, signal: $2) }
                sandboxes.withLock { $0[request] = ending }
                inThread {
                    body(sandbox, ending)
                    ending.end()
                }
            } else {
                peer.send(.done, received.frame.request)
                for ending in sandboxes.withLock({ Array($0.values) }) {
                    ending.end(.cancelled, code: nil, signal: SIGKILL)
                }
            }
        }
    }

    private static func wantsStdin(_ frame: Frame) -> Bool {
        (try? FieldReader.reading(frame.body) { reader throws(FieldError) in try SpawnRequest(decoding: reader) })?
            .stdinPipe ?? false
    }

    /// Ends a fake sandbox once.
    final class Ending: Sendable {
        private let isOver = Mutex(false)
        private let action: @Sendable (Verdict, Int32?, Int32?) -> Void
        private let semaphore = AsyncStream<Void>.makeStream()

        init(_ action: @escaping @Sendable (Verdict, Int32?, Int32?) -> Void) { self.action = action }

        func end(_ verdict: Verdict = .exited, code: Int32? = 0, signal: Int32? = nil) {
            let isFirst = isOver.withLock { isOver in
                defer { isOver = true }
                return !isOver
            }
            if isFirst { action(verdict, code, signal) }
        }

        /// Blocks a script's thread until the sandbox was ended from outside.
        func untilOver() { while !isOver.withLock({ $0 }) { usleep(1000) } }
    }

    static func session(
        _ options: SessionOptions = SessionOptions(), _ body: @escaping @Sendable (FakeSandbox, Ending) -> Void
    ) async throws -> (Session, FakeFront) {
        let front = try front(body)
        return (try await front.client().session(.program("x"), options), front)
    }

    @Test func lineTimeOutAndEndOfFileAreToldApart() async throws {
        let (session, front) = try await SessionTests.session { sandbox, _ in
            var byte: UInt8 = 0
            sandbox.say("one\nhal")
            _ = read(sandbox.stdin, &byte, 1)
            sandbox.say("f\nrest")
            sandbox.say(Array("complaint".utf8), to: sandbox.stderr)
        }
        #expect(try await session.readLine(timeout: .seconds(30)).text == "one")
        #expect(try await session.readLine(timeout: .milliseconds(20)) == .timedOut)
        #expect(try await session.readLine(timeout: .zero) == .timedOut)
        #expect(try await session.writeLine("").isComplete)
        #expect(try await session.readLine(timeout: .seconds(30)).text == "half")
        #expect(try await session.wait().exitCode == 0)
        // After the end: what was not read yet, then the end, as often as asked.
        #expect(try await session.readLine() == .line(OutputLine(.stdout, Array("rest".utf8), isTerminated: false)))
        #expect(try await session.readLine() == .endOfFile)
        #expect(try await session.readLine(timeout: .zero) == .endOfFile)
        #expect(try await session.readErrorLine().text == "complaint")
        #expect(try await session.readErrorLine() == .endOfFile)
        _ = front
    }

    @Test func aLongLineKeepsItsLastBytes() async throws {
        var options = SessionOptions()
        options.lineLimit = 1000
        let (session, _) = try await SessionTests.session(options) { sandbox, _ in
            sandbox.say([UInt8](repeating: 120, count: 500_000) + Array("end\nnext\n".utf8))
        }
        let line = try #require(try await session.readLine(timeout: .seconds(30)).line)
        #expect(line.bytes.count == 1000 && line.text.hasSuffix("xend"))
        #expect(line.droppedBytes == 500_003 - 1000)
        #expect(try await session.readLine(timeout: .seconds(30)).text == "next")
    }

    @Test func whatIsRefusedNeverArrivesAndWhatIsTakenArrivesOnce() async throws {
        let total = Mutex<[UInt8]>([])
        let (session, _) = try await SessionTests.session { sandbox, _ in
            // The first write has given up by the time when this arrives.
            var command: [UInt8] = [0]
            sandbox.say("ready\n")
            while read(sandbox.stdin, &command, 1) == 1 { total.withLock { $0.append(command[0]) } }
        }
        _ = try await session.readLine()
        let first = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 1000 % 100) }
        let outcome = try await session.write(first, timeout: .milliseconds(1))
        // Whether all was taken by then or not, the count is the truth.
        let second: [UInt8] = [200, 201, 202]
        #expect(try await session.write(second).isComplete)
        session.closeInput()
        _ = try await session.wait()
        #expect(outcome.isComplete == (outcome.takenBytes == first.count))
        #expect(total.withLock { $0 == Array(first[..<outcome.takenBytes]) + second })
    }

    @Test func aProgramThatNeverReadsTakesAPipefull() async throws {
        let (session, _) = try await SessionTests.session { _, ending in ending.untilOver() }
        let bytes = [UInt8](repeating: 1, count: 1_000_000)
        let outcome = try await session.write(bytes, timeout: .milliseconds(20))
        #expect(outcome == WriteOutcome(.timedOut, takenBytes: outcome.takenBytes))
        #expect(outcome.takenBytes > 0 && outcome.takenBytes < bytes.count)
        #expect(try await session.write(bytes, timeout: .zero) == WriteOutcome(.timedOut, takenBytes: 0))
        #expect(try await session.write([], timeout: .zero).isComplete)
        #expect(try await session.close(grace: .zero).verdict == .cancelled)
        #expect(try await session.write(bytes) == WriteOutcome(.closed, takenBytes: 0))
    }

    @Test func aWaitingWriteEndsWhenTheInputIsClosed() async throws {
        let (session, _) = try await SessionTests.session { _, ending in ending.untilOver() }
        let writing = Task {
            // Where the probe below came first, this one is the second writer, and refused.
            while true {
                if let outcome = try? await session.write([UInt8](repeating: 1, count: 1_000_000)) { return outcome }
            }
        }
        while (try? await session.write([], timeout: .zero)) != nil { await Task.yield() }
        session.closeInput()
        session.closeInput()
        #expect(await writing.value.end == .closed)
    }

    @Test func aCancelledReadLosesNothingAndACancelledWriteTellsHowMuch() async throws {
        let (session, _) = try await SessionTests.session { sandbox, ending in
            var byte: UInt8 = 0
            sandbox.say("ab")
            _ = read(sandbox.stdin, &byte, 1)
            sandbox.say("c\n")
            ending.untilOver()
        }
        let reading = Task { try await session.readLine() }
        reading.cancel()
        let error = await #expect(throws: HatcheryError.self) { try await reading.value }
        #expect(error?.kind == .cancelled)
        let writing = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await session.write([1, 2])
        }
        #expect(try await writing.value == WriteOutcome(.cancelled, takenBytes: 0))
        #expect(try await session.write([1]).isComplete)
        #expect(try await session.readLine().text == "abc")
    }

    @Test func twoReadersOfOneStreamAreRefused() async throws {
        let (session, _) = try await SessionTests.session { _, ending in ending.untilOver() }
        async let first = session.readLine()
        async let other = session.readErrorLine()
        var error: HatcheryError?
        while error == nil {
            do throws(HatcheryError) { _ = try await session.readLine(timeout: .zero) } catch let refusal {
                error = refusal
            }
            await Task.yield()
        }
        #expect(error?.kind == .invalidRequest)
        try await session.kill()
        #expect(try await first == .endOfFile)
        #expect(try await other == .endOfFile)
    }

    @Test func closeLetsTheProgramEndByItselfAndKeepsItsLastWords() async throws {
        var options = SessionOptions()
        options.lineLimit = 100_000
        let (session, front) = try await SessionTests.session(options) { sandbox, ending in
            var byte: UInt8 = 0
            while read(sandbox.stdin, &byte, 1) > 0 {}
            // More than pipe and buffer hold: nobody reads it, and the program still ends.
            sandbox.say([UInt8](repeating: 120, count: 2_000_000) + Array("\nbye".utf8))
            ending.end(.exited, code: 3)
        }
        let end = try await session.close(grace: .seconds(50))
        #expect(end.verdict == .exited && end.exitCode == 3)
        #expect(try await session.close(grace: .zero) == end)
        #expect(try await session.close() == end)
        let line = try #require(try await session.readLine().line)
        #expect(line.bytes.count + Int(line.droppedBytes) == 2_000_000)
        #expect(try await session.readLine().text == "bye")
        #expect(try await session.readLine() == .endOfFile)
        #expect(!front.received.contains { $0.frame.kind == .kill })
    }

    @Test func cancellingACloseKillsAtOnce() async throws {
        let (session, _) = try await SessionTests.session { _, ending in ending.untilOver() }
        let closing = Task { try await session.close(grace: .seconds(1000)) }
        closing.cancel()
        #expect(try await closing.value.verdict == .cancelled)
    }

    @Test func stderrThatNobodyReadsKeepsItsLastBytesAndNeverBlocks() async throws {
        var options = SessionOptions()
        options.lineLimit = 1000
        let (session, _) = try await SessionTests.session(options) { sandbox, ending in
            sandbox.say([UInt8](repeating: 120, count: 1_000_000) + Array("\nlast\n".utf8), to: sandbox.stderr)
            sandbox.say("done\n")
            ending.untilOver()
        }
        #expect(try await session.readLine(timeout: .seconds(30)).text == "done")
        let line = try #require(try await session.readErrorLine(timeout: .seconds(30)).line)
        #expect(line.bytes.count + Int(line.droppedBytes) == 1_000_000)
        #expect(try await session.readErrorLine(timeout: .seconds(30)).text == "last")
    }

    @Test func aDroppedSessionKills() async throws {
        let front = try SessionTests.front { _, ending in ending.untilOver() }
        let client = try await front.client()
        do {
            let session = try await client.session(.program("x"))
            #expect(session.pid == 4711)
        }
        while !front.received.contains(where: { $0.frame.kind == .kill }) {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    @Test func aLostDaemonEndsTheStreamsAndIsTold() async throws {
        let front = try FakeFront { peer, received in
            let sandbox = FakeSandbox(peer, received.frame.request, withStdin: true)
            sandbox.say("so far")
            peer.hangUp()
            // The program is never told, and holds its pipes: nobody waits for that for ever.
        }
        let session = try await front.client().session(.program("x"))
        #expect(try await session.readLine(timeout: .seconds(50)).text == "so far")
        #expect(try await session.readLine(timeout: .seconds(50)) == .endOfFile)
        let error = await #expect(throws: HatcheryError.self) { try await session.close() }
        #expect(error?.kind == .lost)
    }

    @Test func aDetachedSessionIsRefused() async throws {
        let front = try FakeFront { _, _ in }
        var options = SessionOptions()
        options.detached = true
        let client = try await front.client()
        let error = await #expect(throws: HatcheryError.self) { try await client.session(.program("x"), options) }
        #expect(error?.kind == .invalidRequest)
        #expect(front.received.isEmpty)
    }
}
