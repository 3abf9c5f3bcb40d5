import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// Reads a program's stdout and stderr on the reactor's thread into bounded buffers, and hands out lines or bytes to tasks
/// that wait for them.
///
/// A stream whose buffer is full is read no further, so that the program waits at its pipe; one that is set to keep the last
/// bytes is always read. The descriptors are borrowed: `stop` comes before they are closed.
final class OutputReader: Sendable {
    enum Unit: Sendable { case lines, bytes }

    enum Taken: Sendable {
        case line(OutputLine)
        /// The streams that were asked for are at their ends, and empty.
        case endOfFile
        case timedOut
        case cancelled
        /// Another task waits for the same stream.
        case busy
    }

    /// Reads in one go, so that a program that writes without end does not keep the reactor's thread.
    private static let readsInOneTurn = 16

    fileprivate struct Stream {
        var raw: Int32
        var watch: Reactor.Watch?
        var buffer: LineBuffer
        var keepsLast: Bool
        var atEnd = false
        var isPaused = false
    }

    private struct Waiter {
        var id: UInt64
        var streams: [OutputLine.Stream]
        var continuation: CheckedContinuation<Taken, Never>
        var timer: Reactor.Timer?
    }

    private struct State {
        var streams: [Stream]
        var waiters: [Waiter] = []
        var nextWaiter: UInt64 = 1
        /// Nobody who may write is alive: a pipe that is empty and open is held by somebody outside.
        var emptyMeansEnd = false
    }

    private typealias Settled = (waiter: Waiter, taken: Taken)

    private let reactor: Reactor
    private let unit: Unit
    private let state: Mutex<State>

    /// - Parameters:
    ///   - unit: what is handed out. Bytes are never dropped, unless a stream keeps its last ones only.
    ///   - limit: bytes of a line that are kept, and about what is buffered of each stream.
    ///   - keepsLast: streams that are read whether or not anybody takes their lines.
    init(
        _ child: Child, _ unit: Unit, limit: Int, keepsLast: Set<OutputLine.Stream> = []
    ) throws(SystemError) {
        reactor = child.connection.reactor
        self.unit = unit
        try child.stdout.setNonblocking()
        try child.stderr.setNonblocking()
        state = Mutex(
            State(
                streams: [
                    Stream(
                        raw: child.stdout.raw, buffer: LineBuffer(limit: limit), keepsLast: keepsLast.contains(.stdout)),
                    Stream(
                        raw: child.stderr.raw, buffer: LineBuffer(limit: limit), keepsLast: keepsLast.contains(.stderr)),
                ]))
        for stream in OutputLine.Stream.allCases {
            let raw = stream == .stdout ? child.stdout.raw : child.stderr.raw
            let watch = try reactor.watch(raw, .read) { [weak self] _ in self?.handle(stream) }
            state.withLock { $0.streams[stream.index].watch = watch }
        }
        child.end.whenKnown { [weak self] outcome in
            let isLost = (try? outcome.get()) == nil
            self?.sandboxEnded(grace: isLost ? RunMachine.lostGrace : RunMachine.drainGrace)
        }
    }

    deinit { stop() }

    // MARK: Taking

    /// The next line (or piece) of any of `streams`.
    ///
    /// - Parameters:
    ///   - streams: in the order in which they are looked at.
    ///   - deadline: `MonotonicClock` nanoseconds; one that has passed still takes what is there. nil waits without end.
    func next(_ streams: [OutputLine.Stream], deadline: UInt64?) async -> Taken {
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waiter = Waiter(id: id, streams: streams, continuation: continuation)
                if let taken = begin(waiter, deadline) { continuation.resume(returning: taken) }
                // Cancellation may have come before there was anything to cancel.
                if Task.isCancelled { giveUp(id, .cancelled) }
            }
        } onCancel: {
            giveUp(id, .cancelled)
        }
    }

    /// From here on nothing waits for a taker any more: of what nobody takes, the last bytes are kept.
    func keepLast() {
        let settled = state.withLock { state in
            for index in state.streams.indices { state.streams[index].keepsLast = true }
            return refill(&state)
        }
        finish(settled)
    }

    /// Ends all reading. When this returns, the descriptors are not used again; what is buffered can still be taken.
    func stop() {
        let settled = state.withLock { state in
            for index in state.streams.indices { end(&state, index) }
            return settle(&state)
        }
        finish(settled)
    }

    // MARK: Under the lock

    private func begin(_ waiter: Waiter, _ deadline: UInt64?) -> Taken? {
        state.withLock { state in
            if state.waiters.contains(where: { !Set($0.streams).isDisjoint(with: waiter.streams) }) { return .busy }
            if let taken = take(&state, waiter) { return taken }
            // Registered first: somebody who waits for the end of a long line keeps the reading going.
            state.waiters.append(waiter)
            for stream in waiter.streams { fill(&state, stream.index) }
            if let taken = take(&state, waiter) {
                state.waiters.removeAll { $0.id == waiter.id }
                return taken
            }
            guard let deadline else { return nil }
            if deadline <= MonotonicClock.now() {
                state.waiters.removeAll { $0.id == waiter.id }
                return .timedOut
            }
            let timer = reactor.at(deadline) { [weak self] in self?.giveUp(waiter.id, .timedOut) }
            state.waiters[state.waiters.count - 1].timer = timer
            return nil
        }
    }

    private func take(_ state: inout State, _ waiter: Waiter) -> Taken? {
        for stream in waiter.streams {
            guard let line = state.streams[stream.index].take(stream, unit) else { continue }
            if state.streams[stream.index].isPaused { fill(&state, stream.index) }
            return .line(line)
        }
        return waiter.streams.allSatisfy { state.streams[$0.index].atEnd } ? .endOfFile : nil
    }

    private func wantsMore(_ state: inout State, _ index: Int) -> Bool {
        if state.streams[index].atEnd { return false }
        if state.streams[index].keepsLast { return true }
        if state.streams[index].buffer.count < max(1, state.streams[index].buffer.limit) { return true }
        // Somebody waits for the end of a line that is longer than the buffer.
        return unit == .lines && !state.streams[index].buffer.hasLine()
            && state.waiters.contains { $0.streams.contains { $0.index == index } }
    }

    /// Reads what is there and wanted, and sets whether the reactor looks for more.
    private func fill(_ state: inout State, _ index: Int) {
        for _ in 0..<OutputReader.readsInOneTurn {
            guard wantsMore(&state, index), readOnce(&state, index) else { break }
        }
        guard let watch = state.streams[index].watch else { return }
        let wants = wantsMore(&state, index)
        state.streams[index].isPaused = !wants
        try? reactor.setInterest(watch, wants ? .read : [])
    }

    /// - Returns: false where nothing was there.
    private func readOnce(_ state: inout State, _ index: Int) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: OutputPump.chunkBytes, alignment: 16) { chunk in
            let count = read(state.streams[index].raw, chunk.baseAddress, chunk.count)
            if count > 0 {
                let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(chunk)[..<count])
                state.streams[index].buffer.append(bytes)
                let hasRoom = state.streams[index].buffer.count <= state.streams[index].buffer.limit
                // One line that is longer than the buffer, or lines that nobody takes: only the last bytes are kept.
                if !hasRoom,
                    state.streams[index].keepsLast || (unit == .lines && !state.streams[index].buffer.hasLine())
                {
                    state.streams[index].buffer.dropOldest()
                }
                return true
            }
            let saved = count < 0 ? hatchery_errno() : 0
            if saved == EINTR { return true }
            if saved == EAGAIN && !state.emptyMeansEnd { return false }
            end(&state, index)
            return false
        }
    }

    private func end(_ state: inout State, _ index: Int) {
        state.streams[index].atEnd = true
        if let watch = state.streams[index].watch { reactor.cancel(watch) }
        state.streams[index].watch = nil
    }

    private func refill(_ state: inout State) -> [Settled] {
        for index in state.streams.indices { fill(&state, index) }
        return settle(&state)
    }

    /// Gives what has come to those who wait.
    private func settle(_ state: inout State) -> [Settled] {
        var settled: [Settled] = []
        for waiter in state.waiters {
            guard let taken = take(&state, waiter) else { continue }
            settled.append((waiter, taken))
            state.waiters.removeAll { $0.id == waiter.id }
        }
        return settled
    }

    // MARK: Events

    private func handle(_ stream: OutputLine.Stream) {
        let settled = state.withLock { state in
            fill(&state, stream.index)
            return settle(&state)
        }
        finish(settled)
    }

    private func sandboxEnded(grace: Duration) {
        _ = reactor.after(grace) { [weak self] in
            guard let self else { return }
            let settled = state.withLock { state in
                state.emptyMeansEnd = true
                return refill(&state)
            }
            finish(settled)
        }
    }

    private func giveUp(_ id: UInt64, _ why: Taken) {
        let waiter = state.withLock { state -> Waiter? in
            guard let place = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
            return state.waiters.remove(at: place)
        }
        if let waiter { finish([(waiter, why)]) }
    }

    private func finish(_ settled: [Settled]) {
        for (waiter, taken) in settled {
            if let timer = waiter.timer { reactor.cancel(timer) }
            waiter.continuation.resume(returning: taken)
        }
    }
}

extension OutputLine.Stream {
    fileprivate var index: Int { self == .stdout ? 0 : 1 }
}

extension OutputReader.Stream {
    fileprivate mutating func take(_ stream: OutputLine.Stream, _ unit: OutputReader.Unit) -> OutputLine? {
        switch unit {
        case .lines:
            guard let cut = buffer.takeLine() ?? (atEnd ? buffer.takeRest() : nil) else { return nil }
            return OutputLine(stream, cut.bytes, droppedBytes: cut.droppedBytes, isTerminated: cut.isTerminated)
        case .bytes:
            return buffer.takeBytes().map { OutputLine(stream, $0, isTerminated: false) }
        }
    }
}
