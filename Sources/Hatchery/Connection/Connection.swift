import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// One connection to a front: many requests at once over one socket, each answer brought to the one who asked.
///
/// Requests are sent from the caller's thread where the socket takes them at once; answers are read on the reactor's
/// thread. When the connection ends, everything outstanding is told so, once.
package final class Connection: @unchecked Sendable {
    /// What came for a request.
    package enum Reply: Sendable {
        case frame(Frame, OwnedDescriptors)
        /// `failure` of the front, or the end of the connection.
        case failure(HatcheryError)
    }

    package typealias Handler = @Sendable (Reply) -> Void

    private struct Waiting {
        var handler: Handler
        /// A spawn is answered twice: `spawned`, then `ended`.
        var isSpawn: Bool
    }

    private struct Outgoing {
        var bytes: [UInt8]
        var descriptors: OwnedDescriptors
    }

    private struct State {
        var nextRequest: UInt32 = 1
        var waiting: [UInt32: Waiting] = [:]
        var queue: [Outgoing] = []
        var watch: Reactor.Watch?
        /// Why nothing can be asked any more.
        var end: HatcheryError?
    }

    /// A front that is alive greets at once; one that does not in this time is stuck.
    static let greetingLimit = Duration.seconds(10)

    package let reactor: Reactor
    private let socket: Descriptor
    private let state = Mutex(State())

    /// Connects. The first request must be `greet`; others may follow it without waiting for the answer.
    ///
    /// - Throws: `.unreachable` with the errno of connect(2).
    package static func open(socketPath: String, reactor: Reactor) throws(HatcheryError) -> Connection {
        do throws(SystemError) {
            let socket = try MessageSocket.connect(path: socketPath)
            try socket.setNonblocking()
            return try Connection(socket: socket, reactor: reactor)
        } catch {
            throw HatcheryError(client: error, kind: .unreachable, hint: ConnectHints.hint(error.errno))
        }
    }

    /// - Parameter socket: connected and nonblocking.
    package init(socket: consuming Descriptor, reactor: Reactor) throws(SystemError) {
        self.reactor = reactor
        self.socket = socket
        let raw = self.socket.raw
        let watch = try reactor.watch(raw, .read) { [weak self] ready in self?.handle(ready) }
        state.withLock { $0.watch = watch }
    }

    deinit { end(HatcheryError(.lost, side: .client, detail: "the client was closed")) }

    /// Says hello.
    package func greet(_ greeted: @escaping @Sendable (Result<Welcome, HatcheryError>) -> Void) {
        let timer = reactor.after(Connection.greetingLimit) { [weak self] in
            self?.end(
                HatcheryError(
                    .unreachable, side: .client, errno: ETIMEDOUT, detail: "the daemon did not answer",
                    hint: "see its log, or restart it"))
        }
        request(.hello) { [reactor] reply in
            reactor.cancel(timer)
            greeted(reply.decoded(as: .welcome) { reader throws(FieldError) in try Welcome(decoding: reader) })
        }
    }

    // MARK: Requests

    /// Sends a request; `handler` gets the answer, or why there is none, exactly once.
    @discardableResult
    package func request(_ kind: FrameKind, body: [UInt8] = [], _ handler: @escaping Handler) -> UInt32 {
        send(kind, body: body, descriptors: OwnedDescriptors(), isSpawn: false, handler)
    }

    /// Sends a spawn; `handler` gets `spawned` and later `ended`, or one failure at any point, which is then the last.
    /// - Returns: the number by which the sandbox can be killed, from this moment on.
    package func spawn(body: [UInt8], descriptors: OwnedDescriptors, _ handler: @escaping Handler) -> UInt32 {
        send(.spawn, body: body, descriptors: descriptors, isSpawn: true, handler)
    }

    /// Ends a sandbox of this connection, also one that does not exist yet: then it never will.
    /// - Parameter signal: SIGKILL ends the whole sandbox; another one goes to the program itself.
    package func kill(request number: UInt32, signal: Int32 = SIGKILL, _ handler: @escaping Handler = { _ in }) {
        var writer = FieldWriter()
        writer.append(tag: 2, integer: number)
        if signal != SIGKILL { writer.append(tag: 3, integer: signal) }
        request(.kill, body: writer.bytes, handler)
    }

    private func send(
        _ kind: FrameKind, body: [UInt8], descriptors: OwnedDescriptors, isSpawn: Bool, _ handler: @escaping Handler
    ) -> UInt32 {
        guard body.count <= WireLimits.frameBytes - Frame.headerBytes, descriptors.count <= WireLimits.descriptors
        else {
            handler(
                .failure(
                    HatcheryError(
                        .invalidRequest, side: .client, errno: EMSGSIZE,
                        detail: "the request is longer than a message can be (\(WireLimits.frameBytes) bytes)")))
            return 0
        }
        let (number, refusal) = state.withLock { state -> (UInt32, HatcheryError?) in
            let number = state.nextRequest
            // 0 is never a request number, also not after four billion of them.
            state.nextRequest = number == .max ? 1 : number + 1
            if let end = state.end { return (number, end) }
            state.waiting[number] = Waiting(handler: handler, isSpawn: isSpawn)
            let frame = Frame(kind: kind, request: number, descriptorCount: descriptors.count, body: body)
            state.queue.append(Outgoing(bytes: frame.encoded(), descriptors: descriptors))
            return (number, flush(&state))
        }
        if let refusal { refuseOrEnd(refusal, handler, number) }
        return number
    }

    /// The connection had ended before (the handler was not registered), or ended with this very message (it was).
    private func refuseOrEnd(_ error: HatcheryError, _ handler: Handler, _ number: UInt32) {
        let wasRegistered = state.withLock { $0.waiting[number] != nil }
        if wasRegistered { end(error) } else { handler(.failure(error)) }
    }

    /// - Returns: an error where the peer is gone.
    private func flush(_ state: inout State) -> HatcheryError? {
        while let next = state.queue.first {
            do throws(SystemError) {
                guard
                    try MessageSocket.send(
                        socket.raw, next.bytes, descriptors: next.descriptors.borrowed, dontWait: true)
                else { break }
                // They are the front's now. Whoever waits for the answer still has the request, for as long as its child lives.
                state.queue.removeFirst().descriptors.closeAll()
            } catch {
                // What the front said before it hung up may still wait to be read, and says more than EPIPE does.
                if error.errno == EPIPE || error.errno == ECONNRESET {
                    state.queue.removeAll()
                    return nil
                }
                return HatcheryError(client: error, kind: .lost)
            }
        }
        if let watch = state.watch {
            try? reactor.setInterest(watch, state.queue.isEmpty ? .read : [.read, .write])
        }
        return nil
    }

    // MARK: Answers (reactor's thread)

    private func handle(_ ready: Reactor.Interest) {
        if ready.contains(.write), let error = state.withLock({ flush(&$0) }) {
            end(error)
            return
        }
        // A bounded number for one turn, so that one busy connection does not starve the others.
        for _ in 0..<32 {
            guard receiveOne() else { return }
        }
    }

    private func receiveOne() -> Bool {
        do throws(SystemError) {
            guard
                var message = try MessageSocket.receive(
                    socket.raw, capacity: WireLimits.frameBytes, descriptorRoom: WireLimits.descriptors, dontWait: true)
            else { return false }
            if message.isEndOfStream {
                end(
                    HatcheryError(
                        .lost, side: .front, detail: "the daemon closed the connection",
                        hint: "its log says why, unless it was stopped"))
                return false
            }
            var batch = DescriptorBatch()
            swap(&batch, &message.descriptors)
            deliver(message.bytes, OwnedDescriptors(batch))
            return true
        } catch {
            end(HatcheryError(client: error, kind: .lost))
            return false
        }
    }

    private func deliver(_ bytes: [UInt8], _ descriptors: OwnedDescriptors) {
        let frame: Frame
        do throws(Frame.Malformed) {
            frame = try Frame(decoding: bytes, descriptors: descriptors.count)
        } catch {
            end(HatcheryError(.malformed, side: .client, detail: "the daemon's answer: \(error)"))
            return
        }
        // Number 0 is no request's: the daemon says why it ends the connection.
        if frame.kind == .failure && frame.request == 0 {
            end(HatcheryError(decodingFailure: frame.body))
            return
        }
        let handler = state.withLock { state -> Handler? in
            guard let waiting = state.waiting[frame.request] else { return nil }
            if !(waiting.isSpawn && frame.kind == .spawned) { state.waiting[frame.request] = nil }
            return waiting.handler
        }
        // Nobody asked: the descriptors are closed with `descriptors`.
        guard let handler else { return }
        if frame.kind == .failure {
            handler(.failure(HatcheryError(decodingFailure: frame.body)))
        } else {
            handler(.frame(frame, descriptors))
        }
    }

    // MARK: The end

    package func close() { end(HatcheryError(.lost, side: .client, detail: "the client was closed")) }

    private func end(_ error: HatcheryError) {
        let (watch, handlers) = state.withLock { state -> (Reactor.Watch?, [Handler]) in
            guard state.end == nil else { return (nil, []) }
            state.end = error
            let handlers = state.waiting.sorted { $0.key < $1.key }.map(\.value.handler)
            state.waiting.removeAll()
            state.queue.removeAll()
            let watch = state.watch
            state.watch = nil
            return (watch, handlers)
        }
        guard let watch else { return }
        reactor.cancel(watch)
        // Tells the front at once, also where a forked copy of the descriptor is still open somewhere.
        _ = shutdown(socket.raw, Int32(SHUT_RDWR))
        for handler in handlers { handler(.failure(error)) }
    }
}
