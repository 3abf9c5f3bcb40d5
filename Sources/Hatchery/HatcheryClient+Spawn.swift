import HatcheryProtocol
import Synchronization

extension HatcheryClient {
    /// Hatches a child and hands its streams over; nothing is read, written or bounded here beyond the sandbox's own limits.
    ///
    /// Returns when the sandbox is ready and the program's own code begins. Cancelling the task before that makes sure that
    /// it never begins, and throws `.cancelled`.
    ///
    /// - Parameters:
    ///   - stdinPipe: whether the program's stdin is a pipe from here; otherwise it is /dev/null.
    ///   - filesOut: paths in the sandbox's writable places whose files come with the end (`Child.takeFileOut`).
    /// - Throws: `HatcheryError` naming the step and the errno where the set-up failed.
    public func spawn(
        _ payload: Payload, _ options: SandboxOptions = SandboxOptions(), stdinPipe: Bool = false,
        filesOut: [String] = []
    ) async throws(HatcheryError) -> Child {
        let prepared = try PreparedSpawn(payload, options, stdinPipe: stdinPipe, filesOut: filesOut)
        let pending = PendingSpawn(prepared, isDetached: options.detached, connection)
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { pending.begin($0) }
        } onCancel: {
            pending.cancel()
        }
        return try outcome.get()
    }
}

/// A spawn from the request to the handle.
private final class PendingSpawn: Sendable {
    typealias Outcome = Result<Child, HatcheryError>

    private struct State {
        var continuation: CheckedContinuation<Outcome, Never>?
        var request: UInt32?
        var isCancelled = false
    }

    private let prepared: PreparedSpawn
    private let isDetached: Bool
    private let connection: Connection
    private let end = EndOfChild()
    private let state = Mutex(State())

    init(_ prepared: PreparedSpawn, isDetached: Bool, _ connection: Connection) {
        self.prepared = prepared
        self.isDetached = isDetached
        self.connection = connection
    }

    func begin(_ continuation: CheckedContinuation<Outcome, Never>) {
        let isCancelled = state.withLock { state in
            if !state.isCancelled { state.continuation = continuation }
            return state.isCancelled
        }
        if isCancelled {
            continuation.resume(returning: .failure(HatcheryError(.cancelled, side: .client)))
            return
        }
        let number = connection.spawn(body: prepared.body, descriptors: prepared.descriptors) { [self] in handle($0) }
        let cancelledMeanwhile = state.withLock { state in
            state.request = number
            return state.isCancelled
        }
        if cancelledMeanwhile { connection.kill(request: number) }
    }

    func cancel() {
        let request = state.withLock { state in
            state.isCancelled = true
            return state.request
        }
        if let request { connection.kill(request: request) }
    }

    private func handle(_ reply: Connection.Reply) {
        switch reply {
        case .failure(let error):
            end.set(.failure(error))
            finish(.failure(error))
        case .frame(let frame, let descriptors) where frame.kind == .spawned:
            // The number may not have been noted yet, but the frame carries it.
            finish(makeChild(reply, descriptors, request: frame.request))
        case .frame(_, let descriptors):
            end.set(
                reply.decoded(as: .ended) { reader throws(FieldError) in try Ended(decoding: reader) },
                files: descriptors)
            // An end without a beginning: nobody has a handle.
            finish(
                .failure(HatcheryError(.malformed, side: .client, detail: "the daemon told of an end without a spawn")))
        }
    }

    private func makeChild(
        _ reply: Connection.Reply, _ descriptors: OwnedDescriptors, request: UInt32
    ) -> Outcome {
        let spawned = reply.decoded(as: .spawned) { reader throws(FieldError) in try Spawned(decoding: reader) }
        do throws(HatcheryError) {
            let streams = try ChildStreams(descriptors, of: prepared.request)
            let child = Child(
                try spawned.get(), streams, hasTerminal: prepared.request.terminal != nil, isDetached: isDetached,
                request: request, connection: connection, end: end)
            if state.withLock({ $0.isCancelled }) {
                // Cancelled in the last moment. The handle ends here, and the sandbox with it.
                throw HatcheryError(.cancelled, side: .client)
            }
            return .success(child)
        } catch {
            connection.kill(request: request)
            return .failure(error)
        }
    }

    private func finish(_ outcome: Outcome) {
        let continuation = state.withLock { state in
            defer { state.continuation = nil }
            return state.continuation
        }
        continuation?.resume(returning: outcome)
    }
}
