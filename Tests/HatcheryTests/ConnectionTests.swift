import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization
import Testing

@testable import Hatchery

@Suite(.timeLimit(.minutes(1)))
struct ConnectionTests {
    @Test func answersInAnotherOrderReachTheirAskers() async throws {
        // Holds the first question back until the second one has come.
        let held = Mutex<UInt32?>(nil)
        let front = try FakeFront { peer, received in
            let first = held.withLock { held in
                defer { held = held ?? received.frame.request }
                return held
            }
            guard let first else { return }
            peer.send(.zygoteListing, received.frame.kind == .zygotes ? received.frame.request : first)
            peer.send(.done, received.frame.kind == .ping ? received.frame.request : first)
        }
        let client = try await front.client()
        async let zygotes = client.zygotes()
        async let ping: Void = client.ping()
        #expect(try await zygotes.isEmpty)
        try await ping
        #expect(client.welcome.version == "fake")
        #expect(client.welcome.pid == 7)
    }

    @Test func aLostConnectionFailsEverythingThatIsOutstanding() async throws {
        let count = Mutex(0)
        let front = try FakeFront { peer, received in
            if count.withLock({
                $0 += 1
                return $0
            }) == 3 {
                peer.hangUp()
            }
        }
        let client = try await front.client()
        await withTaskGroup(of: HatcheryError.Kind?.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    do throws(HatcheryError) {
                        try await client.ping()
                        return nil
                    } catch {
                        return error.kind
                    }
                }
            }
            for await kind in group { #expect(kind == .lost) }
        }
        // And so does everything that is asked later.
        await #expect { try await client.ping() } throws: { ($0 as? HatcheryError)?.kind == .lost }
    }

    @Test func aFailureOfTheFrontKeepsStepErrnoAndHint() async throws {
        let sent = HatcheryError(
            .setupFailed, side: .child, step: .capabilities, errno: EPERM, detail: "cap_sys_admin", hint: "mend it so")
        let front = try FakeFront { peer, received in peer.fail(received.frame.request, sent) }
        let client = try await front.client()
        await #expect { _ = try await client.run(.program("/bin/true")) } throws: { $0 as? HatcheryError == sent }
    }

    @Test func anAbsentDaemonIsUnreachableAndSaysHowToMendIt() async throws {
        await #expect { _ = try await HatcheryClient.connect(socketPath: "/nowhere/at/all") } throws: {
            let error = $0 as? HatcheryError
            return error?.kind == .unreachable && error?.errno == ENOENT && error?.hint.isEmpty == false
        }
    }

    @Test func garbageFromTheFrontEndsTheConnectionOnly() async throws {
        let front = try FakeFront { peer, _ in _ = try? MessageSocket.send(peer.raw, Array("nonsense".utf8)) }
        let client = try await front.client()
        await #expect { try await client.ping() } throws: { ($0 as? HatcheryError)?.kind == .malformed }
    }

    @Test func aSpawnCarriesItsDescriptorsInTheOrderOfTheContract() async throws {
        let front = try FakeFront { peer, received in
            peer.fail(received.frame.request, HatcheryError(.notFound, side: .front))
        }
        let client = try await front.client()
        var options = SandboxOptions()
        options.rootFileSystem = "/"
        options.mounts = [.init("/usr", at: "/data")]
        options.filesIn = [.init("/etc/hostname")]
        _ = try? await client.spawn(.python(code: "1"), options)
        let spawn = try #require(front.received.first)
        let request = try FieldReader.reading(spawn.frame.body) { reader throws(FieldError) in
            try SpawnRequest(decoding: reader)
        }
        #expect(request.rootFileSystem)
        #expect(request.filesIn.map(\.destination) == ["hostname"])
        let raws = spawn.descriptors.borrowed
        try #require(raws.count == 4)
        #expect(SealedMemory.sealedSize(raws[0]) != nil)
        #expect(Files.isDirectory(raws[1]) && Files.isDirectory(raws[2]))
        #expect(Files.isRegular(raws[3]))
    }

    /// Whoever waits for a child's end holds its request; the descriptors that came with that are the front's once they are sent.
    @Test func aLivingChildHoldsNothingOfItsRequestOpen() async throws {
        let front = try FakeFront { peer, received in
            peer.fail(received.frame.request, HatcheryError(.notFound, side: .front))
        }
        let client = try await front.client()
        var options = SandboxOptions()
        options.filesIn = [.init("/etc/hostname")]
        let prepared = try PreparedSpawn(.python(code: "1"), options, stdinPipe: false)
        #expect(prepared.descriptors.borrowed.allSatisfy { fcntl($0, F_GETFD) >= 0 })
        await withCheckedContinuation { continuation in
            _ = client.connection.spawn(body: prepared.body, descriptors: prepared.descriptors) { _ in continuation.resume() }
        }
        #expect(prepared.descriptors.borrowed == [-1, -1])
        #expect(front.received.first?.descriptors.count == 2)
    }

    @Test func readinessEndsByReadinessDeadlineAndCancellation() async throws {
        let reactor = try Reactor.shared()
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        defer { for raw in ends { close(raw) } }
        let raw = ends[0]
        #expect(try await reactor.readable(raw, deadline: MonotonicClock.now() + 5_000_000) == .timedOut)
        let waiting = Task { try await reactor.readable(raw) }
        waiting.cancel()
        #expect(try await waiting.value == .cancelled)
        write(ends[1], "x", 1)
        #expect(try await reactor.readable(raw) == .ready)
        #expect(try await reactor.writable(ends[1]) == .ready)
    }
}
