import CHatchery
import Glibc
import HatcherySystem

/// Writes a program's stdin: bytes, or what a descriptor of the caller's gives, to its end. A program that closes its stdin
/// or dies is no error; what it did not take is told.
///
/// Lives on the reactor's thread.
final class InputPump: @unchecked Sendable {
    private let reactor: Reactor
    /// The caller's descriptor, borrowed; nil where the bytes are at hand.
    private let source: Int32?
    private var sourceWatch: Reactor.Watch?
    private var target: Descriptor?
    private var targetWatch: Reactor.Watch?
    private var pending: [UInt8]
    private var offset = 0
    private var atEnd: Bool
    /// Whether the program reads a terminal, which a closed descriptor does not bring to its end.
    private let isTerminal: Bool
    /// Whether everything that there was has been taken so far.
    private(set) var tookEverything = true
    /// Called once when the pipe is closed.
    var onEnd: () -> Void = {}

    init(
        _ input: RunOptions.Input, target: consuming Descriptor, isTerminal: Bool = false, reactor: Reactor
    ) throws(SystemError) {
        self.reactor = reactor
        self.isTerminal = isTerminal
        try target.setNonblocking()
        self.target = consume target
        switch input {
        case .none: (source, pending, atEnd) = (nil, [], true)
        case .bytes(let bytes):
            let end = isTerminal ? InputPump.endOfInput(after: bytes.last) : []
            (source, pending, atEnd) = (nil, bytes + end, true)
        case .descriptor(let raw): (source, pending, atEnd) = (raw, [], false)
        case .joined(let bytes, let raw): (source, pending, atEnd) = (raw, bytes, false)
        }
    }

    deinit { release() }

    /// Whether nothing is left to write.
    var isFinished: Bool { target == nil || repetition != nil }

    /// Between two ends of input, for a terminal.
    static let repetitionPause = Duration.milliseconds(250)
    private var repetition: Reactor.Timer?

    func start() {
        if let source {
            do throws(SystemError) {
                sourceWatch = try reactor.watch(source, pending.isEmpty ? .read : []) { [weak self] _ in
                    self?.readSome()
                }
            } catch {
                // A closed stdin, for example: nothing will come.
                atEnd = true
            }
        }
        if sourceWatch == nil || !pending.isEmpty { writeSome() }
    }

    /// Closes the pipe; what was not written by now will not be.
    func stop() { finish(tookEverything: offset == pending.count) }

    /// A terminal has no end of input that lasts, as a pipe has: each one is used up by the read that sees it, and one that comes while a
    /// program (readline for example) switches the terminal's mode is lost. So it is said again until the program is gone.
    private func repeatEndOfInput() {
        repetition = reactor.after(InputPump.repetitionPause) { [weak self] in
            guard let self, let raw = target?.raw else { return }
            // A full queue means that nobody reads: the next one will do.
            var end = Terminal.endOfInput
            _ = write(raw, &end, 1)
            repeatEndOfInput()
        }
    }

    private func noteEnd() {
        let callback = onEnd
        onEnd = {}
        callback()
    }

    private func readSome() {
        guard let source, offset == pending.count else { return }
        var count = 0
        let chunk = [UInt8](unsafeUninitializedCapacity: OutputPump.chunkBytes) { buffer, initialized in
            count = read(source, buffer.baseAddress, buffer.count)
            initialized = max(0, count)
        }
        if count < 0 {
            let saved = hatchery_errno()
            if saved == EAGAIN || saved == EINTR { return }
        }
        if count <= 0 {
            atEnd = true
            pending = isTerminal ? InputPump.endOfInput(after: pending.last) : []
        } else {
            pending = chunk
        }
        offset = 0
        writeSome()
    }

    /// What tells a terminal that nothing more comes: in the middle of a line the first one ends the line only.
    static func endOfInput(after last: UInt8?) -> [UInt8] {
        let newline = UInt8(ascii: "\n")
        return [UInt8](repeating: Terminal.endOfInput, count: last ?? newline == newline ? 1 : 2)
    }

    private func writeSome() {
        while let raw = target?.raw, offset < pending.count {
            let written = pending.withUnsafeBytes { write(raw, $0.baseAddress! + offset, $0.count - offset) }
            if written >= 0 {
                offset += written
                continue
            }
            let saved = hatchery_errno()
            if saved == EINTR { continue }
            if saved == EAGAIN {
                waitForTarget(raw)
                return
            }
            // EPIPE: nobody will read this.
            finish(tookEverything: false)
            return
        }
        if atEnd && isTerminal {
            releaseWatches()
            repeatEndOfInput()
            noteEnd()
            return
        }
        if atEnd {
            finish(tookEverything: true)
            return
        }
        if let targetWatch { try? reactor.setInterest(targetWatch, []) }
        if let sourceWatch { try? reactor.setInterest(sourceWatch, .read) }
    }

    private func waitForTarget(_ raw: Int32) {
        if let sourceWatch { try? reactor.setInterest(sourceWatch, []) }
        if let targetWatch {
            try? reactor.setInterest(targetWatch, .write)
        } else {
            targetWatch = try? reactor.watch(raw, .write) { [weak self] _ in self?.writeSome() }
        }
    }

    private func finish(tookEverything: Bool) {
        guard target != nil else { return }
        release()
        target = nil
        self.tookEverything = tookEverything
        noteEnd()
    }

    private func release() {
        if let repetition { reactor.cancel(repetition) }
        repetition = nil
        releaseWatches()
    }

    private func releaseWatches() {
        if let sourceWatch { reactor.cancel(sourceWatch) }
        if let targetWatch { reactor.cancel(targetWatch) }
        sourceWatch = nil
        targetWatch = nil
    }
}
