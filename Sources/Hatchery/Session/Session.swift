import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// A conversation with a program in a sandbox: lines go in, lines come out, each with its own deadline.
///
/// ```swift
/// let session = try await client.session(.program("/usr/bin/bc"))
/// _ = try await session.writeLine("6 * 7", timeout: .seconds(1))
/// switch try await session.readLine(timeout: .seconds(1)) {
/// case .line(let line): print(line.text)
/// case .timedOut, .endOfFile: break
/// }
/// let end = try await session.close()
/// ```
///
/// With `options.terminal` the program runs in a terminal of its own: its lines end in \\r\\n as a terminal's do (the \\r is part of
/// the line), what is written to it is echoed unless it turns that off, and stderr comes with stdout.
///
/// One task may write, one may read stdout and one may read stderr at the same time; a second one of a kind is refused.
///
/// Of stdout about `lineLimit` bytes are read ahead; then the program waits at its pipe until somebody reads. stderr never
/// makes the program wait: where nobody reads it, the last `lineLimit` bytes are kept, and the next line tells how many are
/// missing.
///
/// A cancelled task leaves the session as it is and usable: a read throws `.cancelled` and loses nothing, a write tells how
/// much was taken. Only cancelling `close` ends the session, at once. Dropping the session kills everything in the sandbox.
public final class Session: Sendable {
    private struct Input {
        /// Owned; -1 when it is closed.
        var raw: Int32
        var isWriting = false
        var isClosing = false
        var wait: ReadinessWait?
        /// Whether what was taken so far ends with a whole line.
        var endsLine = true
    }

    private let child: Child
    private let reader: OutputReader
    private let input: Mutex<Input>

    /// Identity, receipt, time of the spawn, and the limits in force.
    public var spawned: Spawned { child.spawned }
    public var id: String { child.id }
    /// As the daemon's pid namespace counts.
    public var pid: Int32 { child.pid }

    init(_ child: Child, lineLimit: Int) throws(HatcheryError) {
        self.child = child
        do throws(SystemError) {
            guard let stdin = child.takeStdin() else { throw SystemError("spawn", errno: EBADF, subject: "no stdin") }
            try stdin.setNonblocking()
            reader = try OutputReader(child, .lines, limit: lineLimit, keepsLast: [.stderr])
            input = Mutex(Input(raw: stdin.release()))
        } catch {
            throw HatcheryError(client: error)
        }
    }

    deinit {
        // Before the child's descriptors are closed, and the sandbox killed, with the handle.
        reader.stop()
        closeInput()
    }

    // MARK: Writing

    /// Writes to the program's stdin, and waits while its pipe is full.
    ///
    /// A program that does not read takes what its pipe holds (64 KiB as a rule). No signal comes of a program that is gone.
    ///
    /// - Parameter timeout: nil waits as long as the program lives; zero writes what fits now.
    /// - Returns: how much was taken, and why not all.
    /// - Throws: `.invalidRequest` where another task is writing; a failure of the client's own system calls.
    public func write(_ bytes: [UInt8], timeout: Duration? = nil) async throws(HatcheryError) -> WriteOutcome {
        let deadline = timeout.map { MonotonicClock.now() &+ $0.clampedNanoseconds }
        let entered = input.withLock { input in
            defer { input.isWriting = true }
            return !input.isWriting
        }
        guard entered else { throw Session.busy("another task is writing to this session") }
        defer { leaveWriting() }
        var taken = 0
        while taken < bytes.count {
            if Task.isCancelled { return WriteOutcome(.cancelled, takenBytes: taken) }
            switch try writeSome(bytes[taken...]) {
            case .took(let count):
                taken += count
                let endsLine = taken > 0 && bytes[taken - 1] == UInt8(ascii: "\n")
                if count > 0 { input.withLock { $0.endsLine = endsLine } }
            case .gone: return WriteOutcome(.closed, takenBytes: taken)
            case .full(let raw, let wait):
                switch try await wait.run(raw, .write, deadline) {
                case .ready: break
                case .timedOut: return WriteOutcome(.timedOut, takenBytes: taken)
                case .cancelled: return WriteOutcome(.cancelled, takenBytes: taken)
                }
            }
        }
        return WriteOutcome(.complete, takenBytes: taken)
    }

    /// Writes a line of text and its newline. See `write`.
    public func writeLine(_ text: String, timeout: Duration? = nil) async throws(HatcheryError) -> WriteOutcome {
        try await write(Array(text.utf8) + [0x0A], timeout: timeout)
    }

    /// Gives the program the end of its stdin. May be repeated; a write that waits at this moment ends with `.closed`.
    public func closeInput() {
        let wait = input.withLock { input in
            input.isClosing = true
            return input.wait
        }
        wait?.finish(.success(.ready))
        closeIfUnused()
    }

    /// The descriptor is closed by the task that uses it, or at once where none does: never under anybody's hands.
    private func closeIfUnused() {
        let raw = input.withLock { input -> Int32 in
            guard input.isClosing, !input.isWriting else { return -1 }
            defer { input.raw = -1 }
            if input.raw >= 0 && child.hasTerminal {
                // Closing one of several descriptors of a terminal tells its programs nothing. Where it is full, nobody reads.
                let end = InputPump.endOfInput(after: input.endsLine ? nil : 0)
                _ = end.withUnsafeBytes { writeWithoutSignal(input.raw, $0) }
            }
            return input.raw
        }
        if raw >= 0 { _ = Descriptor(owning: raw) }
    }

    private enum Step {
        case took(Int)
        case full(Int32, ReadinessWait)
        case gone
    }

    private func writeSome(_ bytes: ArraySlice<UInt8>) throws(HatcheryError) -> Step {
        let (raw, isClosing) = input.withLock { ($0.raw, $0.isClosing) }
        if isClosing { return .gone }
        let result = bytes.withUnsafeBytes { writeWithoutSignal(raw, $0) }
        if result >= 0 { return .took(result) }
        switch Int32(-result) {
        case EINTR: return .took(0)
        case EPIPE: return .gone
        case EAGAIN:
            let wait = ReadinessWait(reactor: child.connection.reactor)
            let isClosing = input.withLock { input in
                input.wait = wait
                return input.isClosing
            }
            return isClosing ? .gone : .full(raw, wait)
        default: throw HatcheryError(client: SystemError("write", errno: Int32(-result)))
        }
    }

    private func leaveWriting() {
        input.withLock { input in
            input.isWriting = false
            input.wait = nil
        }
        closeIfUnused()
    }

    // MARK: Reading

    /// The next line of the program's stdout. Lines of a program that has ended can still be read, the last one also where no
    /// newline ended it.
    ///
    /// - Parameter timeout: nil waits as long as the program lives; zero takes what is there.
    /// - Throws: `.cancelled` where the task was cancelled while it waited (nothing is lost), `.invalidRequest` where another
    ///   task is reading the same stream.
    public func readLine(timeout: Duration? = nil) async throws(HatcheryError) -> ReadOutcome {
        try await read(.stdout, timeout)
    }

    /// The next line of the program's stderr. See `readLine`.
    public func readErrorLine(timeout: Duration? = nil) async throws(HatcheryError) -> ReadOutcome {
        try await read(.stderr, timeout)
    }

    private func read(_ stream: OutputLine.Stream, _ timeout: Duration?) async throws(HatcheryError) -> ReadOutcome {
        let deadline = timeout.map { MonotonicClock.now() &+ $0.clampedNanoseconds }
        switch await reader.next([stream], deadline: deadline) {
        case .line(let line): return .line(line)
        case .timedOut: return .timedOut
        case .endOfFile: return .endOfFile
        case .cancelled: throw HatcheryError(.cancelled, side: .client)
        case .busy: throw Session.busy("another task is reading this stream of the session")
        }
    }

    // MARK: The terminal

    /// Changes the size of the program's terminal; the programs of its foreground get SIGWINCH.
    ///
    /// - Throws: `.invalidRequest` where it has none.
    public func resize(to size: TerminalSize) throws(HatcheryError) { try child.resize(to: size) }

    // MARK: The end

    /// Ends the session: closes the program's stdin, gives it `grace` to end by itself, then kills the sandbox, and waits until
    /// all of it is gone. May be repeated, and called by many at once; every caller gets the same end.
    ///
    /// What the program still writes meanwhile can be read afterwards, of each stream the last `lineLimit` bytes; so it never
    /// waits at a full pipe. Cancelling the task kills at once.
    ///
    /// - Returns: `exited` or `signaled` where the program ended by itself, `cancelled` where it was killed here, a limit's verdict
    ///   where one was reached.
    /// - Throws: `.lost` where the daemon is gone, so that nothing is known.
    @discardableResult
    public func close(grace: Duration = .seconds(1)) async throws(HatcheryError) -> Ended {
        closeInput()
        reader.keepLast()
        let child = child
        let reactor = child.connection.reactor
        let timer = child.end.isKnown ? nil : reactor.after(grace) { [weak child] in child?.killSilently() }
        defer { if let timer { reactor.cancel(timer) } }
        let outcome = await withTaskCancellationHandler {
            await child.end.wait()
        } onCancel: {
            if !child.end.isKnown { child.killSilently() }
        }
        return try outcome.get()
    }

    /// Waits for the end of the program without bringing it about; see `Child.wait`.
    public func wait() async throws(HatcheryError) -> Ended { try await child.wait() }

    /// Ends the whole sandbox at once (verdict `cancelled`), or sends another signal to the program itself. Does not wait.
    public func kill(signal: Int32 = 9) async throws(HatcheryError) { try await child.kill(signal: signal) }

    private static func busy(_ detail: String) -> HatcheryError {
        HatcheryError(
            .invalidRequest, side: .client, detail: detail, hint: "let one task at a time read a stream, and one write")
    }
}
