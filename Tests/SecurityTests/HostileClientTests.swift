import Foundation
import Glibc
import CHatchery
import Hatchery
import HatcheryProtocol
import HatcherySystem
import HatcheryTestSupport
import Testing

/// Row A19: a bad request gets a typed error, and everybody else goes on.
@Suite struct HostileClientTests {
    /// A connection that can say anything.
    private final class RawConnection {
        let socket: Descriptor

        init(_ daemon: TestDaemon, hello: Bool = true) throws {
            socket = try MessageSocket.connect(path: daemon.socketPath)
            guard hello else { return }
            try send(Frame(kind: .hello, request: 1).encoded())
            _ = try receive()
        }

        func send(_ bytes: [UInt8], _ descriptors: [Int32] = []) throws {
            try MessageSocket.send(socket.raw, bytes, descriptors: descriptors)
        }

        func receive() throws -> (kind: FrameKind, body: [UInt8])? {
            guard let message = try MessageSocket.receive(socket.raw, capacity: 70_000, descriptorRoom: 16),
                !message.isEndOfStream
            else { return nil }
            let frame = try Frame(decoding: message.bytes, descriptors: message.descriptors.count)
            return (frame.kind, frame.body)
        }

        func failure() throws -> HatcheryError? {
            guard let answer = try receive(), answer.kind == .failure else { return nil }
            return try FieldReader.reading(answer.body) { reader throws(FieldError) in try HatcheryError(decoding: reader) }
        }
    }

    private func frame(_ body: [UInt8], count: Int, version: UInt16 = 1, magic: [UInt8] = Array("HTCH".utf8)) -> [UInt8] {
        var bytes = Frame(kind: .spawn, request: 9, descriptorCount: count, body: body).encoded()
        bytes.replaceSubrange(0..<4, with: magic)
        bytes.replaceSubrange(4..<6, with: [UInt8(version & 0xFF), UInt8(version >> 8)])
        return bytes
    }

    private func plan(_ bytes: [UInt8]? = nil) throws -> Descriptor {
        try SealedMemory.make(
            name: "plan", bytes: bytes ?? LaunchPlan(mode: .program, target: Array("/bin/true".utf8)).encoded())
    }

    static let good = SpawnRequest(zygote: "exec").encoded()

    @Test func garbledFramesAreAnsweredAndOthersGoOn() async throws {
        let daemon = try Beds.root()
        let other = try await daemon.client()
        let wrong: [[UInt8]] = [
            [1], Array(repeating: 0xFF, count: 19), Array(repeating: 0xFF, count: 200),
            frame(Self.good, count: 0, magic: Array("HTTP".utf8)), frame(Self.good, count: 0, version: 99),
            frame(Self.good, count: 3), Array(frame(Self.good, count: 0).dropLast(2)), frame(Self.good, count: 0) + [0],
            // A length that would be negative as a signed number.
            {
                var bytes = frame(Self.good, count: 0)
                bytes.replaceSubrange(12..<16, with: [0xFF, 0xFF, 0xFF, 0xFF])
                return bytes
            }(),
            {
                var bytes = frame(Self.good, count: 0)
                bytes[6] = 250
                return bytes
            }(),
            Array(repeating: 0x41, count: WireLimits.frameBytes + 1),
        ]
        for bytes in wrong {
            let connection = try RawConnection(daemon)
            try connection.send(bytes)
            #expect(try connection.failure()?.kind == .malformed, "\(bytes.prefix(24))")
        }
        #expect(try await other.run(.program("/bin/echo", ["fine"])).stdout == "fine\n")
    }

    @Test func theFirstMessageMustBeHello() throws {
        let connection = try RawConnection(try Beds.root(), hello: false)
        try connection.send(Frame(kind: .list, request: 3).encoded())
        #expect(try connection.failure()?.kind == .malformed)
    }

    @Test func wrongDescriptorsAreAnswered() async throws {
        let daemon = try Beds.root()
        let connection = try RawConnection(daemon)
        let sealed = try plan()
        // None, too many, not a memfd, not sealed.
        try connection.send(frame(Self.good, count: 0))
        #expect(try connection.failure()?.detail.contains("needs 1 descriptors") == true)
        try connection.send(frame(Self.good, count: 3), [sealed.raw, sealed.raw, sealed.raw])
        #expect(try connection.failure()?.detail.contains("3 came") == true)
        try connection.send(frame(Self.good, count: 1), [0])
        #expect(try connection.failure()?.detail.contains("sealed memfd") == true)
        let open = hatchery_memfd_create("open", hatchery_mfd_flags)
        try connection.send(frame(Self.good, count: 1), [open])
        #expect(try connection.failure()?.detail.contains("sealed memfd") == true)
        close(open)
        // One with nothing in it but a size.
        let hollow = hatchery_memfd_create("hollow", hatchery_mfd_flags)
        ftruncate(hollow, 1 << 20)
        #expect(hatchery_fcntl(hollow, Int32(hatchery_f_add_seals), hatchery_all_seals) == 0)
        try connection.send(frame(Self.good, count: 1), [hollow])
        #expect(try connection.failure()?.detail.contains("without holes") == true)
        close(hollow)
        // A root that is no directory, a file that is none.
        var root = SpawnRequest(zygote: "exec")
        root.rootFileSystem = true
        try connection.send(frame(root.encoded(), count: 2), [sealed.raw, sealed.raw])
        #expect(try connection.failure()?.kind == .invalidRequest)
    }

    @Test func impossibleRequestsAreAnswered() async throws {
        let daemon = try Beds.root()
        let connection = try RawConnection(daemon)
        let sealed = try plan()
        func expect(_ kind: HatcheryError.Kind, _ change: (inout SpawnRequest) -> Void) throws {
            var request = SpawnRequest(zygote: "exec")
            change(&request)
            try connection.send(frame(request.encoded(), count: 1), [sealed.raw])
            #expect(try connection.failure()?.kind == kind)
        }
        try expect(.notFound) { $0.zygote = "nobody" }
        try expect(.notFound) { $0.profile = "nobody" }
        try expect(.malformed) { $0.zygote = String(repeating: "x", count: 65) }
        try expect(.malformed) { $0.wallNanoseconds = 0 }
        try expect(.malformed) { $0.wallNanoseconds = .max }
        try expect(.invalidRequest) { $0.memoryBytes = 1 << 49 }
        try expect(.invalidRequest) { $0.processes = 100_000 }
        try expect(.invalidRequest) { $0.filesOut = ["../../etc/passwd"] }
        for place in ["/proc", "/./proc", "//.//dev/null", "/sys/./x", "/.", "/x/../proc", "relative"] {
            try expect(.invalidRequest) { $0.temporaryFileSystems = [.init(destination: place)] }
        }
    }

    @Test func badLaunchPlansAreAnswered() async throws {
        let connection = try RawConnection(try Beds.root())
        var wrong: [[UInt8]] = [[], [1, 0], [1, 0, 255, 255, 255, 255]]
        wrong.append(LaunchPlan(mode: .program).encoded())
        wrong.append(LaunchPlan(mode: .program, target: [65, 0, 66]).encoded())
        wrong.append(LaunchPlan(mode: .program, target: [65], arguments: [[0]]).encoded())
        wrong.append(LaunchPlan(mode: .program, target: [65], environment: [Array("novalue".utf8)]).encoded())
        wrong.append(LaunchPlan(mode: .program, target: [65], environment: [Array("=x".utf8)]).encoded())
        wrong.append(LaunchPlan(mode: .program, target: [65]).encoded() + LaunchPlan(mode: .program, target: [65]).encoded())
        for bytes in wrong {
            let sealed = try plan(bytes)
            try connection.send(frame(Self.good, count: 1), [sealed.raw])
            #expect(try connection.failure()?.kind == .malformed, "\(bytes.prefix(40))")
        }
        // Well-formed, and for another kind of zygote: a mistake of people rather than of programs.
        let script = try plan(LaunchPlan(mode: .script, target: [65], source: [65]).encoded())
        try connection.send(frame(Self.good, count: 1), [script.raw])
        let error = try connection.failure()
        #expect(error?.kind == .invalidRequest && error?.description.contains("of kind exec, which runs no Python") == true)
    }

    @Test func aFloodOfConnectionsLeavesTheDaemonServing() async throws {
        let daemon = try Beds.root()
        let before = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.pid)/fd").count
        for _ in 0..<300 {
            let connection = try RawConnection(daemon, hello: false)
            try connection.send([0])
        }
        #expect(try await daemon.client().run(.program("/bin/echo", ["fine"])).stdout == "fine\n")
        try await Wait.until("their descriptors are closed") {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.pid)/fd").count <= before + 40
        }
    }

    /// close(2) of such a descriptor waits for its peer, minutes if need be. Whose last copy is the daemon's makes it wait.
    @Test(arguments: ["empty", "too many", "malformed", "left unread"])
    func descriptorsWhoseClosingWaitsHoldNobodyUp(_ way: String) async throws {
        let daemon = try Beds.root()
        let other = try await daemon.client()
        let hostile = try RawConnection(daemon)
        let waiting = try LingeringSocket()
        let garbage: [UInt8] = Array(repeating: 1, count: 32)
        switch way {
        case "empty": try hostile.send([], [waiting.raw])
        case "too many": try hostile.send(garbage, Array(repeating: 0, count: WireLimits.descriptors + 30) + [waiting.raw])
        case "malformed": try hostile.send(garbage, [waiting.raw])
        default:
            // An empty message has the connection closed, and the one behind it is never read, if it comes in time: while what is
            // before is answered.
            var isSent = false
            for _ in 0..<50 where !isSent {
                let connection = try RawConnection(daemon)
                for number in UInt32(0)..<8 { try connection.send(Frame(kind: .ping, request: number).encoded()) }
                try connection.send([])
                isSent = (try? connection.send(garbage, [waiting.raw])) != nil
            }
            try #require(isSent)
        }
        waiting.letGo()
        let start = ContinuousClock.now
        for _ in 0..<5 { try await other.ping() }
        #expect(ContinuousClock.now - start < Beds.time(.seconds(20)))
        // Nor do other requests' descriptors pile up behind it.
        #expect(try await other.run(.program("/bin/echo", ["fine"])).stdout == "fine\n")
        try await Wait.until("what came is closed") {
            let names = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.pid)/fd")
            let links = names.map { try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(daemon.pid)/fd/\($0)") }
            return !links.contains(waiting.link)
        }
        withExtendedLifetime((hostile, waiting)) {}
    }

    @Test func onePeerThatNeverReadsHarmsItselfOnly() async throws {
        let daemon = try Beds.root()
        let mute = try RawConnection(daemon)
        try mute.socket.setNonblocking()
        for number in 0..<20_000 {
            guard try MessageSocket.send(
                mute.socket.raw, Frame(kind: .zygotes, request: UInt32(number)).encoded(), dontWait: true)
            else { break }
        }
        #expect(try await daemon.client().run(.program("/bin/echo", ["fine"])).stdout == "fine\n")
    }

    /// What it asks waits in its own socket, and is answered when it reads.
    @Test func whoDoesNotReadIsNotHeard() throws {
        let mute = try RawConnection(try Beds.root())
        var asked = 0
        for _ in 0..<50 {
            while try MessageSocket.send(
                mute.socket.raw, Frame(kind: .ping, request: UInt32(asked)).encoded(), dontWait: true)
            { asked += 1 }
            usleep(20_000)
        }
        #expect(asked > 20 && asked < 2_000)
        for number in 0..<asked {
            let answer = try mute.receive()
            try #require(answer?.kind == .done, "answer \(number) of \(asked)")
        }
    }

    @Test(.enabled(if: Beds.available(Beds.isRoot, "needs another user")))
    func anotherUsersDaemonIsNotServed() async throws {
        // Root is another user to an ordinary user's daemon, and is not mapped in its namespace.
        let connection = try RawConnection(try Beds.user(), hello: false)
        try connection.send(Frame(kind: .hello, request: 1).encoded())
        #expect(try connection.failure()?.kind == .notPermitted)
    }
}
