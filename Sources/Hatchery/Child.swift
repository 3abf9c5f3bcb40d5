import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// A program in a sandbox, with its streams in the caller's own hands: nothing of them passes through the daemon.
///
/// The child lives as long as this handle: dropping it ends the whole sandbox, unless it was spawned detached. The descriptors
/// are closed with the handle. A handle keeps its connection alive.
public final class Child: Sendable {
    /// Identity, receipt, time of the spawn, and the limits in force.
    public let spawned: Spawned
    /// Readable when the program has ended. Not for waitid(2): the parent is the daemon.
    public let pidfd: Descriptor
    /// The read ends of the program's pipes; blocking, until somebody changes that. With a terminal `stdout` is the end of it
    /// that one sits at, for reading and writing, and `stderr` is empty.
    public let stdout: Descriptor
    public let stderr: Descriptor

    /// Whether the program runs in a terminal of its own.
    public let hasTerminal: Bool
    private let stdinSlot: Mutex<Int32>
    let connection: Connection
    let end: EndOfChild
    private let request: UInt32
    private let isDetached: Bool

    public var id: String { spawned.id }
    /// As the daemon's pid namespace counts.
    public var pid: Int32 { spawned.pid }

    init(
        _ spawned: Spawned, _ streams: consuming ChildStreams, hasTerminal: Bool, isDetached: Bool, request: UInt32,
        connection: Connection, end: EndOfChild
    ) {
        self.spawned = spawned
        self.hasTerminal = hasTerminal
        let input = streams.stdin.take()?.release() ?? -1
        pidfd = streams.pidfd
        stdout = streams.stdout
        stderr = streams.stderr
        stdinSlot = Mutex(input)
        self.connection = connection
        self.request = request
        self.isDetached = isDetached
        self.end = end
    }

    deinit {
        closeStdin()
        if !isDetached && !end.isKnown { connection.kill(request: request) }
    }

    /// The write end of the program's stdin, borrowed for the time of `body`; nil where it is /dev/null or closed already.
    ///
    /// The reactor of this library blocks SIGPIPE; other threads that write here must expect it.
    public func withStdin<Result>(_ body: (Int32) throws -> Result) rethrows -> Result? {
        let raw = stdinSlot.withLock { $0 }
        return raw < 0 ? nil : try body(raw)
    }

    /// Gives the program the end of its stdin. May be repeated.
    public func closeStdin() {
        _ = takeStdin()
    }

    /// Moves the write end of the program's stdin out; nil where it is /dev/null, closed or taken.
    func takeStdin() -> Descriptor? {
        let raw = stdinSlot.withLock { raw in
            defer { raw = -1 }
            return raw
        }
        return raw >= 0 ? Descriptor(owning: raw) : nil
    }

    /// Waits until the program has ended and the whole sandbox is gone. May be awaited again, and by many at once; every
    /// caller gets the same answer. Cancelling the waiting task does not end the wait, since `kill` does that at once.
    ///
    /// - Throws: `.lost` where the daemon is gone, so that nothing is known.
    public func wait() async throws(HatcheryError) -> Ended {
        try await end.wait().get()
    }

    /// Changes the size of the program's terminal; the programs of its foreground get SIGWINCH.
    ///
    /// - Throws: `.invalidRequest` where it has none.
    public func resize(to size: TerminalSize) throws(HatcheryError) {
        guard hasTerminal else {
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "the program has no terminal",
                hint: "ask for one with `options.terminal`")
        }
        do throws(SystemError) {
            try Terminal.resize(stdout.raw, to: size)
        } catch {
            throw HatcheryError(client: error)
        }
    }

    /// The same as `kill`, for callers that cannot wait for the answer.
    func killSilently() { connection.kill(request: request) }

    /// Ends the whole sandbox (verdict `cancelled`), or sends another signal to the program itself. Does not wait.
    ///
    /// A program that has ended already is no error.
    public func kill(signal: Int32 = 9) async throws(HatcheryError) {
        let answer = await withCheckedContinuation { continuation in
            connection.kill(request: request, signal: signal) { continuation.resume(returning: $0) }
        }
        if case .failure(let error) = answer.expect(.done), error.kind != .notFound { throw error }
    }

    /// The files that came out, once `wait` has returned: for every entry of `Ended.filesOut` with errno 0 a descriptor, in
    /// their order. Each can be taken once; the rest is closed with the handle.
    public func takeFileOut(_ index: Int) -> Descriptor? { end.files?.take(index) }
}

/// How a child ended: written once, awaited by many.
final class EndOfChild: Sendable {
    typealias Outcome = Result<Ended, HatcheryError>

    private struct State {
        var outcome: Outcome?
        var files: OwnedDescriptors?
        var waiters: [@Sendable (Outcome) -> Void] = []
    }

    private let state = Mutex(State())

    var isKnown: Bool { state.withLock { $0.outcome != nil } }
    var files: OwnedDescriptors? { state.withLock { $0.files } }

    func set(_ outcome: Outcome, files: OwnedDescriptors? = nil) {
        let waiters = state.withLock { state in
            guard state.outcome == nil else { return [@Sendable (Outcome) -> Void]() }
            state.outcome = outcome
            state.files = files
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter(outcome) }
    }

    func wait() async -> Outcome {
        await withCheckedContinuation { continuation in whenKnown { continuation.resume(returning: $0) } }
    }

    /// Calls `body` once, here and now where the end is known already, otherwise on the reactor's thread.
    func whenKnown(_ body: @escaping @Sendable (Outcome) -> Void) {
        let known = state.withLock { state in
            if state.outcome == nil { state.waiters.append(body) }
            return state.outcome
        }
        if let known { body(known) }
    }
}
