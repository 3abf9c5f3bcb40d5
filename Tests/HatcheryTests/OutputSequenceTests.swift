import Glibc
import HatcheryProtocol
import Synchronization
import Testing

@testable import Hatchery

@Suite(.timeLimit(.minutes(1)))
struct OutputSequenceTests {
    @Test func linesOfBothStreamsComeAndTheUnfinishedLastOneOnce() async throws {
        let front = try SessionTests.front { sandbox, ending in
            sandbox.say("one\ntwo\nrest")
            sandbox.say(Array("err\n".utf8), to: sandbox.stderr)
            ending.end(.exited, code: 3)
        }
        let lines = try await front.client().lines(.program("x"))
        var output: [OutputLine] = []
        for try await line in lines { output.append(line) }
        #expect(output.filter { $0.stream == .stdout }.map(\.text) == ["one", "two", "rest"])
        #expect(output.filter { !$0.isTerminated }.map(\.text) == ["rest"])
        #expect(output.filter { $0.stream == .stderr }.map(\.text) == ["err"])
        #expect(try await lines.wait().exitCode == 3)
        // Once only.
        var again = lines.makeAsyncIterator()
        let error = await #expect(throws: HatcheryError.self) { try await again.next() }
        #expect(error?.kind == .invalidRequest)
    }

    @Test func breakingOffEarlyKills() async throws {
        let front = try SessionTests.front { sandbox, ending in
            sandbox.say("one\ntwo\n")
            ending.untilOver()
        }
        let lines = try await front.client().lines(.program("x"))
        for try await line in lines {
            #expect(line.text == "one")
            break
        }
        #expect(try await lines.wait().verdict == .cancelled)
    }

    @Test func cancellingTheTaskKills() async throws {
        let front = try SessionTests.front { _, ending in ending.untilOver() }
        let lines = try await front.client().lines(.program("x"))
        let task = Task { for try await _ in lines {} }
        task.cancel()
        let error = await #expect(throws: HatcheryError.self) { try await task.value }
        #expect(error?.kind == .cancelled)
        #expect(try await lines.wait().verdict == .cancelled)
    }

    @Test func aSequenceThatNobodyIteratesKillsWhenItIsDropped() async throws {
        let front = try SessionTests.front { _, ending in ending.untilOver() }
        let client = try await front.client()
        _ = try await client.lines(.program("x"))
        while !front.received.contains(where: { $0.frame.kind == .kill }) {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    @Test func aProgramThatClosedItsStreamsIsStillWaitedFor() async throws {
        let front = try FakeFront { peer, received in
            guard received.frame.kind == .spawn else { return }
            let sandbox = FakeSandbox(peer, received.frame.request)
            let request = received.frame.request
            inThread {
                sandbox.say("last")
                for raw in [sandbox.stdout, sandbox.stderr] { close(raw) }
                usleep(20_000)
                peer.send(.ended, request, Ended(id: "s1", verdict: .timedOut).encoded())
            }
        }
        let lines = try await front.client().lines(.program("x"))
        var texts: [String] = []
        for try await line in lines { texts.append(line.text) }
        #expect(texts == ["last"])
        #expect(try await lines.wait().verdict == .timedOut)
        #expect(!front.received.contains { $0.frame.kind == .kill })
    }

    @Test func aProgramWaitsWhereNobodyTakesItsLines() async throws {
        let said = Mutex(0)
        let front = try SessionTests.front { sandbox, _ in
            for _ in 0..<100 {
                sandbox.say([UInt8](repeating: 120, count: 99_999) + [10])
                said.withLock { $0 += 1 }
            }
        }
        var options = StreamOptions()
        options.lineLimit = 200_000
        let lines = try await front.client().lines(.program("x"), options)
        var iterator = lines.makeAsyncIterator()
        #expect(try await iterator.next()?.bytes.count == 99_999)
        try await Task.sleep(for: .milliseconds(50))
        // Buffer, one read and the pipe hold less than five of these lines.
        #expect(said.withLock { $0 } < 10)
        var count = 1
        while let line = try await iterator.next() { count += line.droppedBytes == 0 ? 1 : 0 }
        #expect(count == 100)
    }

    @Test func bytesComeExactlyAndInOrderAndStdinIsWritten() async throws {
        let data = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7 / 256) }
        let front = try SessionTests.front { sandbox, _ in
            var chunk = [UInt8](repeating: 0, count: 70_000)
            while true {
                let count = read(sandbox.stdin, &chunk, chunk.count)
                if count <= 0 { return }
                sandbox.say(Array(chunk[..<count]))
            }
        }
        var options = StreamOptions()
        options.stdin = .bytes(data)
        var came: [UInt8] = []
        for try await chunk in try await front.client().bytes(.program("x"), options) {
            #expect(chunk.stream == .stdout && chunk.bytes.count <= 128 << 10 && !chunk.bytes.isEmpty)
            came += chunk.bytes
        }
        #expect(came == data)
    }
}
