import CHatchery
import Glibc
import HatcherySystem

/// Takes one stream of a program to its end: into memory, or on to a descriptor of the caller's. The program is never killed
/// for talking, and blocks only where it is passed through to somebody slower.
///
/// Lives on the reactor's thread.
final class OutputPump: @unchecked Sendable {
    /// What one system call moves, and a pipe holds.
    static let chunkBytes = 65_536
    /// Reads that empty the largest pipe (1 MiB, /proc/sys/fs/pipe-max-size) several times over.
    static let drainReads = 64
    /// A pipe that poll(2) calls writable takes this much without blocking. The caller's own descriptor stays as it is: making
    /// it nonblocking would change it for every process that shares it.
    static let forwardBytes = 4096

    private let reactor: Reactor
    private var source: Descriptor?
    private var sourceWatch: Reactor.Watch?
    private var target: Int32?
    private var targetWatch: Reactor.Watch?
    /// Read, and not yet passed on.
    private var pending: ArraySlice<UInt8> = []
    /// Bytes that may still be passed on; nil means no cap.
    private var forwardRoom: Int?
    private var atEnd = false
    private(set) var collector: OutputCollector
    /// Whether what was passed on so far ends with a whole line.
    private(set) var endsLine = true
    /// Called before something is passed on.
    var willForward: () -> Void = {}
    /// Called once, when nothing more will come out of this stream.
    var onEnd: () -> Void = {}
    /// Called once where the caller's descriptor takes no more (its reader is gone).
    var onBrokenTarget: (Int32) -> Void = { _ in }

    init(
        source: consuming Descriptor, target: RunOptions.Output, limit: Int?, part: OutputCollector.Part,
        reactor: Reactor
    ) throws(SystemError) {
        self.reactor = reactor
        try source.setNonblocking()
        let raw = source.raw
        self.source = consume source
        if case .forward(let target) = target {
            self.target = target
            forwardRoom = limit
            collector = OutputCollector(limit: 0, part: .head)
        } else {
            collector = OutputCollector(limit: limit, part: part)
        }
        sourceWatch = try reactor.watch(raw, .read) { [weak self] _ in _ = self?.readSome() }
    }

    deinit { release() }

    var isFinished: Bool { atEnd && pending.isEmpty }

    /// The writers are dead: reads what is there.
    /// - Returns: false where the pipe is still open after all that a pipe can hold, so that some process outside holds it.
    func drain() -> Bool {
        for _ in 0..<OutputPump.drainReads {
            if atEnd || !pending.isEmpty { return true }
            if !readSome() { return false }
        }
        return false
    }

    /// Gives up on the rest.
    func abandon() {
        pending = []
        finish()
    }

    /// - Returns: false where nothing was there.
    private func readSome() -> Bool {
        guard pending.isEmpty, let raw = source?.raw else { return true }
        return withUnsafeTemporaryAllocation(byteCount: OutputPump.chunkBytes, alignment: 16) { buffer in
            let count = read(raw, buffer.baseAddress, buffer.count)
            if count < 0 {
                let saved = hatchery_errno()
                if saved == EAGAIN || saved == EINTR { return false }
                finish()
                return true
            }
            if count == 0 {
                finish()
                return true
            }
            take(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
            return true
        }
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        collector.append(bytes)
        guard target != nil else { return }
        let room = forwardRoom ?? bytes.count
        pending = Array(bytes.prefix(room))[...]
        forwardRoom = forwardRoom.map { $0 - min($0, bytes.count) }
        forward()
    }

    private func forward() {
        while let target, !pending.isEmpty {
            var poller = pollfd(fd: target, events: Int16(POLLOUT), revents: 0)
            guard poll(&poller, 1, 0) > 0 else {
                pauseForTarget(target)
                return
            }
            willForward()
            let written = pending.withUnsafeBytes {
                write(target, $0.baseAddress, min($0.count, OutputPump.forwardBytes))
            }
            if written >= 0 {
                if written > 0 { endsLine = pending[pending.startIndex + written - 1] == UInt8(ascii: "\n") }
                pending = pending.dropFirst(written)
                continue
            }
            let saved = hatchery_errno()
            if saved == EINTR { continue }
            if saved == EAGAIN {
                pauseForTarget(target)
                return
            }
            self.target = nil
            pending = []
            resume()
            onBrokenTarget(saved)
        }
        resume()
    }

    /// Stops reading until the target takes more.
    private func pauseForTarget(_ target: Int32) {
        if let sourceWatch { try? reactor.setInterest(sourceWatch, []) }
        if let targetWatch {
            try? reactor.setInterest(targetWatch, .write)
        } else {
            targetWatch = try? reactor.watch(target, .write) { [weak self] _ in self?.targetReady() }
        }
    }

    private func targetReady() {
        if let targetWatch { try? reactor.setInterest(targetWatch, []) }
        forward()
    }

    private func resume() {
        if atEnd {
            if pending.isEmpty { finish() }
            return
        }
        if let sourceWatch { try? reactor.setInterest(sourceWatch, .read) }
    }

    private func finish() {
        atEnd = true
        if let sourceWatch { reactor.cancel(sourceWatch) }
        sourceWatch = nil
        source = nil
        guard pending.isEmpty else { return }
        release()
        let callback = onEnd
        onEnd = {}
        callback()
    }

    private func release() {
        if let sourceWatch { reactor.cancel(sourceWatch) }
        if let targetWatch { reactor.cancel(targetWatch) }
        sourceWatch = nil
        targetWatch = nil
    }
}
