import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// What waiting for a descriptor came to.
public enum Readiness: Sendable, Hashable {
    case ready
    case timedOut
    case cancelled
}

extension Reactor {
    /// Waits until `raw` can be read (or is at its end) without blocking.
    ///
    /// - Parameter deadline: `MonotonicClock` nanoseconds; nil waits without end.
    /// - Throws: EEXIST where another task waits for the same descriptor, EBADF.
    package func readable(_ raw: Int32, deadline: UInt64? = nil) async throws(HatcheryError) -> Readiness {
        try await wait(raw, .read, deadline)
    }

    /// Waits until `raw` can be written (or its reader is gone) without blocking.
    package func writable(_ raw: Int32, deadline: UInt64? = nil) async throws(HatcheryError) -> Readiness {
        try await wait(raw, .write, deadline)
    }

    private func wait(_ raw: Int32, _ interest: Interest, _ deadline: UInt64?) async throws(HatcheryError) -> Readiness
    {
        try await ReadinessWait(reactor: self).run(raw, interest, deadline)
    }
}

/// One wait for one descriptor: whatever comes first, readiness, deadline or cancellation, ends it, once.
final class ReadinessWait: @unchecked Sendable {
    typealias Outcome = Result<Readiness, HatcheryError>

    private struct State {
        var continuation: CheckedContinuation<Outcome, Never>?
        var outcome: Outcome?
        var watch: Reactor.Watch?
        var timer: Reactor.Timer?
    }

    private let reactor: Reactor
    private let state = Mutex(State())

    init(reactor: Reactor) { self.reactor = reactor }

    /// Waits; to be called once. `finish` from anywhere ends it early.
    func run(
        _ raw: Int32, _ interest: Reactor.Interest, _ deadline: UInt64?
    ) async throws(HatcheryError) -> Readiness {
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in start(continuation, raw, interest, deadline) }
        } onCancel: {
            finish(.success(.cancelled))
        }
        return try outcome.get()
    }

    private func start(
        _ continuation: CheckedContinuation<Outcome, Never>, _ raw: Int32, _ interest: Reactor.Interest,
        _ deadline: UInt64?
    ) {
        let early = state.withLock { state -> Outcome? in
            if state.outcome == nil { state.continuation = continuation }
            return state.outcome
        }
        if let early {
            continuation.resume(returning: early)
            return
        }
        do throws(SystemError) {
            let watch = try reactor.watch(raw, interest) { [self] _ in finish(.success(.ready)) }
            let timer = deadline.map { reactor.at($0) { [self] in finish(.success(.timedOut)) } }
            let isOver = state.withLock { state in
                if state.outcome == nil { (state.watch, state.timer) = (watch, timer) }
                return state.outcome != nil
            }
            if isOver { release(watch, timer) }
        } catch {
            finish(.failure(HatcheryError(client: error)))
        }
    }

    func finish(_ outcome: Outcome) {
        let (continuation, watch, timer) = state.withLock { state in
            if state.outcome == nil { state.outcome = outcome }
            let taken = (state.continuation, state.watch, state.timer)
            (state.continuation, state.watch, state.timer) = (nil, nil, nil)
            return taken
        }
        release(watch, timer)
        continuation?.resume(returning: outcome)
    }

    private func release(_ watch: Reactor.Watch?, _ timer: Reactor.Timer?) {
        if let watch { reactor.cancel(watch) }
        if let timer { reactor.cancel(timer) }
    }
}
