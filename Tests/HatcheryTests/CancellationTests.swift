import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization
import Testing

@testable import Hatchery

@Suite(.timeLimit(.minutes(1)))
struct CancellationTests {
    private static func killed(_ frame: Frame) -> UInt32? {
        var number: UInt32?
        try? FieldReader.reading(frame.body) { reader throws(FieldError) in
            var reader = reader
            while let field = try reader.next() {
                if field.tag == 2 { number = try field.integer() }
            }
        }
        return number
    }

    @Test func cancellingBeforeTheChildExistsKillsByRequestNumber() async throws {
        let asked = AsyncStream<UInt32>.makeStream()
        let front = try FakeFront { peer, received in
            if received.frame.kind == .spawn {
                asked.continuation.yield(received.frame.request)
            } else if let number = CancellationTests.killed(received.frame) {
                peer.send(.done, received.frame.request)
                peer.fail(number, HatcheryError(.cancelled, side: .front))
            }
        }
        let client = try await front.client()
        let running = Task { try await client.run(.program("x")) }
        var requests = asked.stream.makeAsyncIterator()
        let request = try #require(await requests.next())
        running.cancel()
        let result = try await running.value
        #expect(result.verdict == .cancelled)
        #expect(result.spawn.id == nil)
        #expect(front.received.last.flatMap { CancellationTests.killed($0.frame) } == request)
    }

    @Test func aTaskThatIsCancelledAlreadyNeverAsks() async throws {
        let front = try FakeFront { _, _ in }
        let client = try await front.client()
        let result = try await Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await client.run(.program("x"))
        }.value
        #expect(result.verdict == .cancelled)
        #expect(front.received.isEmpty)
        await #expect {
            _ = try await Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await client.spawn(.program("x"))
            }.value
        } throws: { ($0 as? HatcheryError)?.kind == .cancelled }
        #expect(front.received.isEmpty)
    }

    @Test func cancellingARunKeepsTheOutputSoFar() async throws {
        let sandbox = Mutex<(FakeSandbox, UInt32)?>(nil)
        let said = AsyncStream<Void>.makeStream()
        let front = try FakeFront { peer, received in
            if received.frame.kind == .spawn {
                let made = FakeSandbox(peer, received.frame.request)
                made.say("so far")
                sandbox.withLock { $0 = (made, received.frame.request) }
                said.continuation.yield()
            } else if let (made, request) = sandbox.withLock({ $0 }) {
                peer.send(.done, received.frame.request)
                made.end(peer, request, .cancelled, code: nil, signal: SIGKILL)
            }
        }
        let client = try await front.client()
        let running = Task { try await client.run(.program("x")) }
        var lines = said.stream.makeAsyncIterator()
        await lines.next()
        running.cancel()
        running.cancel()
        let result = try await running.value
        #expect(result.verdict == .cancelled && result.stdout == "so far")
        #expect(front.received.filter { $0.frame.kind == .kill }.count == 1)
    }

    @Test func cancellingAtAnyInstantAlwaysEndsInOneResult() async throws {
        let sandboxes = Mutex<[UInt32: FakeSandbox]>([:])
        let front = try FakeFront { peer, received in
            if received.frame.kind == .spawn {
                let made = FakeSandbox(peer, received.frame.request)
                sandboxes.withLock { $0[received.frame.request] = made }
            } else if let number = CancellationTests.killed(received.frame) {
                peer.send(.done, received.frame.request)
                sandboxes.withLock { $0.removeValue(forKey: number) }?.end(peer, number, .cancelled, code: nil)
            }
        }
        let client = try await front.client()
        for step in 0..<200 {
            let running = Task { try await client.run(.program("x")) }
            usleep(UInt32(step * 5))
            running.cancel()
            #expect(try await running.value.verdict == .cancelled)
        }
        #expect(sandboxes.withLock { $0.isEmpty })
    }

    @Test func aDroppedChildIsKilled() async throws {
        let killed = AsyncStream<UInt32?>.makeStream()
        let front = try FakeFront { peer, received in
            if received.frame.kind == .spawn {
                _ = FakeSandbox(peer, received.frame.request)
            } else {
                killed.continuation.yield(CancellationTests.killed(received.frame))
            }
        }
        let client = try await front.client()
        do {
            let child = try await client.spawn(.program("x"))
            #expect(child.pid == 4711)
        }
        var kills = killed.stream.makeAsyncIterator()
        #expect(await kills.next() == 2)
    }

    @Test func manyMayWaitForOneChild() async throws {
        let front = try FakeFront { peer, received in
            guard received.frame.kind == .spawn else { return }
            let sandbox = FakeSandbox(peer, received.frame.request)
            inThread {
                usleep(20_000)
                sandbox.end(peer, received.frame.request, code: 3)
            }
        }
        let child = try await front.client().spawn(.program("x"))
        async let first = child.wait()
        async let second = child.wait()
        #expect(try await first.exitCode == 3)
        #expect(try await second.exitCode == 3)
        #expect(try await child.wait().exitCode == 3)
    }
}
