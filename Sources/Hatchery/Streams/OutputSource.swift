import HatcheryProtocol
import HatcherySystem
import Synchronization

/// What stands behind an `OutputSequence`: a child, the reader of its streams, and the one iterator.
final class OutputSource: Sendable {
    let child: Child
    private let reader: OutputReader
    private let input: InputPump?
    private let isTaken = Mutex(false)

    init(
        _ child: Child, _ unit: OutputReader.Unit, limit: Int, stdin: RunOptions.Input
    ) throws(HatcheryError) {
        self.child = child
        do throws(SystemError) {
            reader = try OutputReader(child, unit, limit: limit)
            if let target = child.takeStdin() {
                input = try InputPump(
                    stdin, target: target, isTerminal: child.hasTerminal, reactor: child.connection.reactor)
            } else {
                input = nil
            }
        } catch {
            throw HatcheryError(client: error)
        }
        guard let input else { return }
        let reactor = child.connection.reactor
        reactor.perform { input.start() }
        child.end.whenKnown { [weak input] _ in
            reactor.perform { [weak input] in input?.stop() }
        }
    }

    deinit {
        // Before the child's descriptors are closed, and the sandbox killed, with the handle.
        reader.stop()
        if let input { child.connection.reactor.perform { input.stop() } }
    }

    /// The right to iterate; nil where it was given before.
    func lease() -> Lease? {
        let isFree = isTaken.withLock { isTaken in
            defer { isTaken = true }
            return !isTaken
        }
        return isFree ? Lease(self) : nil
    }

    /// - Returns: nil when both streams are at their ends and the program has ended.
    fileprivate func next(_ order: [OutputLine.Stream]) async throws(HatcheryError) -> OutputLine? {
        switch await reader.next(order, deadline: nil) {
        case .line(let line): return line
        case .endOfFile:
            _ = try await end()
            return nil
        case .cancelled:
            breakOff()
            throw HatcheryError(.cancelled, side: .client)
        case .timedOut, .busy:
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "another task is taking from this sequence")
        }
    }

    /// Cancelling kills, and waits none the less.
    private func end() async throws(HatcheryError) -> Ended {
        let outcome = await withTaskCancellationHandler {
            await child.end.wait()
        } onCancel: {
            if !child.end.isKnown { child.killSilently() }
        }
        return try outcome.get()
    }

    fileprivate func breakOff() {
        if !child.end.isKnown { child.killSilently() }
        reader.stop()
    }

    /// Held by the iterator: with it goes the sandbox.
    final class Lease: Sendable {
        private let source: OutputSource
        // The stream that has just spoken stands behind, so that a flood of one does not hide the other.
        private let order = Mutex<[OutputLine.Stream]>([.stdout, .stderr])

        fileprivate init(_ source: OutputSource) { self.source = source }

        deinit { source.breakOff() }

        func next() async throws(HatcheryError) -> OutputLine? {
            let line = try await source.next(order.withLock { $0 })
            if let line { order.withLock { $0 = line.stream == .stdout ? [.stderr, .stdout] : [.stdout, .stderr] } }
            return line
        }
    }
}
