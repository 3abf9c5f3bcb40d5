import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization
import Testing

@testable import Hatchery

/// A front that follows a script: it listens at a socket of its own and answers each frame as the test says, in a thread.
final class FakeFront: @unchecked Sendable {
    /// A frame that came from the client, with its descriptors.
    struct Received: Sendable {
        var frame: Frame
        var descriptors: OwnedDescriptors
    }

    /// What a script may do with the connection that it serves.
    struct Peer: Sendable {
        let raw: Int32

        func send(_ kind: FrameKind, _ request: UInt32, _ body: [UInt8] = [], _ descriptors: [Int32] = []) {
            let frame = Frame(kind: kind, request: request, descriptorCount: descriptors.count, body: body)
            _ = try? MessageSocket.send(raw, frame.encoded(), descriptors: descriptors)
        }

        func fail(_ request: UInt32, _ error: HatcheryError) {
            var writer = FieldWriter()
            error.encode(into: &writer)
            send(.failure, request, writer.bytes)
        }

        func hangUp() { shutdown(raw, Int32(SHUT_RDWR)) }
    }

    private final class Log: Sendable {
        let frames = Mutex<[Received]>([])
    }

    let path: String
    private let listener: Descriptor
    private let log = Log()

    /// - Parameter script: called for every frame but hello, which is answered by itself.
    init(_ script: @escaping @Sendable (Peer, Received) -> Void) throws {
        path = "/tmp/hatchery-test-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        listener = try MessageSocket.listen(path: path, mode: 0o600)
        try listener.setNonblocking(false)
        let raw = listener.raw
        let log = log
        inThread {
            while true {
                let connection = accept(raw, nil, nil)
                if connection < 0 { return }
                inThread { FakeFront.serve(Descriptor(owning: connection), log, script) }
            }
        }
    }

    deinit {
        unlink(path)
        shutdown(listener.raw, Int32(SHUT_RDWR))
    }

    private static func serve(
        _ connection: consuming Descriptor, _ log: Log, _ script: @Sendable (Peer, Received) -> Void
    ) {
        let peer = Peer(raw: connection.raw)
        while var message = try? MessageSocket.receive(peer.raw, capacity: 70_000, descriptorRoom: 60),
            !message.isEndOfStream
        {
            var batch = DescriptorBatch()
            swap(&batch, &message.descriptors)
            let count = batch.count
            let descriptors = OwnedDescriptors(batch)
            guard let frame = try? Frame(decoding: message.bytes, descriptors: count) else { return }
            if frame.kind == .hello {
                var writer = FieldWriter()
                writer.append(tag: 1, string: "fake")
                writer.append(tag: 4, integer: UInt32(7))
                peer.send(.welcome, frame.request, writer.bytes)
                continue
            }
            let received = Received(frame: frame, descriptors: descriptors)
            log.frames.withLock { $0.append(received) }
            script(peer, received)
        }
    }

    var received: [Received] { log.frames.withLock { $0 } }

    func client() async throws -> HatcheryClient { try await HatcheryClient.connect(socketPath: path) }
}

/// The front's side of one sandbox: the pipes that a child would have.
final class FakeSandbox: @unchecked Sendable {
    let stdout: Int32
    let stderr: Int32
    /// The read end of the child's stdin.
    let stdin: Int32

    /// Makes the pipes and answers a spawn with them.
    init(_ peer: FakeFront.Peer, _ request: UInt32, withStdin: Bool = false, id: String = "s1") {
        var output: [Int32] = [0, 0]
        var errors: [Int32] = [0, 0]
        var input: [Int32] = [0, 0]
        pipe(&output)
        pipe(&errors)
        pipe(&input)
        (stdout, stderr, stdin) = (output[1], errors[1], input[0])
        var receipt = Receipt(active: [LayerSet(.userns), LayerSet(.pidns)])
        receipt.missing = [Receipt.Missing(layer: .landlock, why: "the kernel has none")]
        let spawned = Spawned(
            id: id, pid: 4711, zygote: "python", generation: 4, nurseryHit: true, spawnNanoseconds: 210_000,
            receipt: receipt, wallNanoseconds: 2_000_000_000)
        let pidfd = open("/dev/null", O_RDONLY)
        peer.send(
            .spawned, request, spawned.encoded(), [pidfd, output[0], errors[0]] + (withStdin ? [input[1]] : []))
        for raw in [pidfd, output[0], errors[0], input[1]] { close(raw) }
    }

    func say(_ text: String) { say(Array(text.utf8)) }

    func say(_ bytes: [UInt8], to raw: Int32? = nil) { try? writeAll(raw ?? stdout, bytes) }

    /// Closes the pipes and reports the end.
    func end(
        _ peer: FakeFront.Peer, _ request: UInt32, _ verdict: Verdict = .exited, code: Int32? = 0, signal: Int32? = nil
    ) {
        for raw in [stdout, stderr, stdin] { close(raw) }
        var ended = Ended(id: "s1", verdict: verdict)
        ended.exitCode = code
        ended.signal = signal
        ended.wallNanoseconds = 12_300_000
        ended.cpuNanoseconds = 4_000_000
        ended.peakMemoryBytes = 1_048_576
        ended.peakProcesses = 3
        peer.send(.ended, request, ended.encoded())
    }
}

func inThread(_ body: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    pthread_create(
        &thread, nil,
        {
            Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().body()
            return nil
        }, Unmanaged.passRetained(Box(body)).toOpaque())
    pthread_detach(thread)
}
