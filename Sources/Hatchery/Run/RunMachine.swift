import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// What came out of a run, before files are copied and text is made of it.
package struct RunOutcome: Sendable {
    package var spawned: Spawned?
    package var ended: Ended?
    /// Why there is no `ended`.
    package var failure: HatcheryError?
    package var verdict: Verdict
    package var stdout: OutputCollector
    package var stderr: OutputCollector
    package var stdinWritten: Bool
    package var files: OwnedDescriptors
    /// Bytes of each stream that were kept or passed on at most; nil where there was no cap.
    package var stdoutLimit: Int?
    package var stderrLimit: Int?
    /// errno of a caller's descriptor that took no more of a stream that was passed through.
    package var brokenTarget: Int32?
}

/// One bounded run from the request to the last byte.
///
/// Asked: the spawn is on its way. Running: the streams flow. Draining: the sandbox is dead, the pipes are read to their ends.
/// Over. All of it happens on the reactor's thread; `start` and `cancel` may be called from anywhere, in any order, and
/// cancelling may be repeated.
package final class RunMachine: @unchecked Sendable {
    /// After the end of a sandbox every writer of its pipes is dead. A pipe that is empty and still open then is held by
    /// somebody outside, to whom the program sent it; nobody waits for that.
    static let drainGrace = Duration.milliseconds(500)

    /// Where the connection was lost, the sandbox may still be dying.
    static let lostGrace = Duration.seconds(2)

    /// Where the daemon does not say how much of a stream may be kept.
    static let usualOutputBytes: UInt64 = 10 << 20

    private enum Start {
        case notYet
        case asked(UInt32)
        case cancelled
    }

    private let connection: Connection
    private let reactor: Reactor
    private let prepared: PreparedSpawn
    private let options: RunOptions
    private let completion: @Sendable (RunOutcome) -> Void
    private let start = Mutex(Start.notYet)

    // Reactor's thread only.
    private var spawned: Spawned?
    private var pidfd: Descriptor?
    private var terminal: Descriptor?
    private var stdout: OutputPump?
    private var stderr: OutputPump?
    private var stdin: InputPump?
    private var stdinTimer: Reactor.Timer?
    private var drainTimer: Reactor.Timer?
    private var ending: (ended: Ended?, failure: HatcheryError?)?
    private var endedFiles = OwnedDescriptors()
    private var wasCancelled = false
    private var stdinStalled = false
    private var brokenTarget: Int32?
    private var isOver = false
    /// Called once where the program starts, on the reactor's thread. Set before `begin`.
    package var onSpawned: (Spawned) -> Void = { _ in }
    /// Called before output is passed on to a descriptor of the caller's. Set before `begin`.
    package var willForward: () -> Void = {}
    /// From the end of the sandbox to the last byte nobody else need hold the machine.
    private var itself: RunMachine?

    /// - Parameter completion: called exactly once, on the reactor's thread.
    package init(
        _ prepared: PreparedSpawn, _ options: RunOptions, on connection: Connection,
        completion: @escaping @Sendable (RunOutcome) -> Void
    ) {
        self.connection = connection
        self.reactor = connection.reactor
        self.prepared = prepared
        self.options = options
        self.completion = completion
    }

    package func begin() {
        let number: UInt32? = start.withLock { start in
            guard case .notYet = start else { return nil }
            let number = connection.spawn(body: prepared.body, descriptors: prepared.descriptors) { [self] reply in
                reactor.perform { [self] in handle(reply) }
            }
            start = .asked(number)
            return number
        }
        if number == nil {
            reactor.perform { [self] in
                wasCancelled = true
                finish()
            }
        }
    }

    /// Kills the sandbox, or makes sure that it never exists.
    package func cancel() {
        let number: UInt32? = start.withLock { start in
            if case .asked(let number) = start { return number }
            start = .cancelled
            return nil
        }
        guard let number else { return }
        reactor.perform { [self] in
            guard ending == nil, !wasCancelled else { return }
            wasCancelled = true
            connection.kill(request: number)
        }
    }

    /// Sends a signal to the program.
    package func signal(_ signal: Int32) {
        let number: UInt32? = start.withLock { if case .asked(let number) = $0 { number } else { nil } }
        if let number { connection.kill(request: number, signal: signal) }
    }

    /// Changes the size of the program's terminal, where it has one. On the reactor's thread.
    package func resize(to size: TerminalSize) {
        guard let raw = terminal?.raw else { return }
        try? Terminal.resize(raw, to: size)
    }

    /// Bytes that the program has written so far. On the reactor's thread, as `endsLine`.
    package var outputBytes: UInt64 { (stdout?.collector.total ?? 0) + (stderr?.collector.total ?? 0) }

    /// Whether what was passed on of both streams ends with a whole line.
    package var endsLine: Bool { (stdout?.endsLine ?? true) && (stderr?.endsLine ?? true) }

    // MARK: Answers

    private func handle(_ reply: Connection.Reply) {
        if isOver || ending != nil { return }
        switch reply {
        case .failure(let error): sandboxEnded(nil, error)
        case .frame(let frame, let descriptors) where frame.kind == .spawned:
            switch reply.decoded(as: .spawned, { reader throws(FieldError) in try Spawned(decoding: reader) }) {
            case .success(let spawned): running(spawned, descriptors)
            case .failure(let error): misunderstood(error)
            }
        case .frame(_, let descriptors):
            switch reply.decoded(as: .ended, { reader throws(FieldError) in try Ended(decoding: reader) }) {
            case .success(let ended):
                endedFiles = descriptors
                sandboxEnded(ended, nil)
            case .failure(let error): misunderstood(error)
            }
        }
    }

    /// The front says something that makes no sense: the sandbox must not live on unwatched.
    private func misunderstood(_ error: HatcheryError) {
        cancel()
        sandboxEnded(nil, error)
    }

    private func running(_ spawned: Spawned, _ descriptors: OwnedDescriptors) {
        self.spawned = spawned
        do throws(HatcheryError) {
            try connect(ChildStreams(descriptors, of: prepared.request))
        } catch {
            misunderstood(error)
            return
        }
        if let stdin {
            stdin.onEnd = { [weak self] in self?.stopStdinTimer() }
            if let limit = options.stdinTime {
                stdinTimer = reactor.after(limit) { [weak self] in self?.stdinTimeOver() }
            }
            stdin.start()
        }
        onSpawned(spawned)
    }

    private func connect(_ streams: consuming ChildStreams) throws(HatcheryError) {
        let hasTerminal = prepared.request.terminal != nil
        do throws(SystemError) {
            if hasTerminal { terminal = try streams.stdout.duplicate() }
            let input = streams.stdin.take()
            let handle = streams.pidfd
            pidfd = consume handle
            stdout = try makePump(streams.stdout, options.stdoutTarget, limit: stdoutLimit)
            stderr = try makePump(streams.stderr, options.stderrTarget, limit: stderrLimit)
            if options.stdin != .none, let input {
                stdin = try InputPump(options.stdin, target: input, isTerminal: hasTerminal, reactor: reactor)
            }
        } catch {
            throw HatcheryError(client: error)
        }
    }

    private var stdoutLimit: Int? { limit(options.outputLimit, options.stdoutTarget, ceiling: options.ceiling?.stdout) }

    private var stderrLimit: Int? {
        limit(options.stderrLimit ?? options.outputLimit, options.stderrTarget, ceiling: options.ceiling?.stderr)
    }

    /// What was asked for, else what the profile has for those who do not ask. What is passed on is not kept, and so bounded
    /// only where that was asked for.
    private func limit(_ asked: Int?, _ target: RunOptions.Output, ceiling: Int?) -> Int? {
        let usual = target == .collect ? Int(clamping: spawned?.outputBytes ?? RunMachine.usualOutputBytes) : nil
        return [asked ?? usual, ceiling].compactMap { $0 }.min()
    }

    private func makePump(
        _ source: consuming Descriptor, _ target: RunOptions.Output, limit: Int?
    ) throws(SystemError) -> OutputPump {
        let pump = try OutputPump(
            source: source, target: target, limit: limit, part: options.keepsTail ? .tail : .head,
            reactor: reactor)
        pump.onEnd = { [weak self] in self?.streamEnded() }
        pump.willForward = willForward
        pump.onBrokenTarget = { [weak self] errno in
            self?.brokenTarget = errno
            self?.cancel()
        }
        return pump
    }

    // MARK: stdin's own budget

    private func stdinTimeOver() {
        stdinTimer = nil
        guard let stdin, !stdin.isFinished, ending == nil else { return }
        stdin.stop()
        stdinStalled = true
        if case .asked(let number) = start.withLock({ $0 }) { connection.kill(request: number) }
    }

    private func stopStdinTimer() {
        if let stdinTimer { reactor.cancel(stdinTimer) }
        stdinTimer = nil
    }

    // MARK: The end

    private func sandboxEnded(_ ended: Ended?, _ failure: HatcheryError?) {
        guard ending == nil else { return }
        ending = (ended, failure)
        itself = self
        stopStdinTimer()
        stdin?.stop()
        drain()
    }

    private func drain() {
        for pump in [stdout, stderr] { _ = pump?.drain() }
        finishIfDone()
        if !isOver { scheduleDrain(after: ending?.failure == nil ? RunMachine.drainGrace : RunMachine.lostGrace) }
    }

    private func scheduleDrain(after grace: Duration) {
        drainTimer = reactor.after(grace) { [weak self] in
            guard let self else { return }
            // What waits for a slow reader of ours is finished, however long that takes.
            for pump in [stdout, stderr] where pump?.drain() == false { pump?.abandon() }
            if !isOver { scheduleDrain(after: grace) }
        }
    }

    private func streamEnded() {
        if ending != nil { finishIfDone() }
    }

    private func finishIfDone() {
        if stdout?.isFinished ?? true, stderr?.isFinished ?? true { finish() }
    }

    private func finish() {
        guard !isOver else { return }
        isOver = true
        if let drainTimer { reactor.cancel(drainTimer) }
        let none = OutputCollector(limit: 0, part: .head)
        let outcome = RunOutcome(
            spawned: spawned, ended: ending?.ended, failure: ending?.failure, verdict: verdict,
            stdout: stdout?.collector ?? none, stderr: stderr?.collector ?? none,
            stdinWritten: stdin?.tookEverything ?? true, files: endedFiles, stdoutLimit: stdoutLimit,
            stderrLimit: stderrLimit, brokenTarget: brokenTarget)
        stdout = nil
        stderr = nil
        stdin = nil
        pidfd = nil
        terminal = nil
        itself = nil
        completion(outcome)
    }

    private var verdict: Verdict {
        if let ended = ending?.ended {
            // The front knows of a kill only; why it was asked for is known here.
            return ended.verdict == .cancelled && stdinStalled ? .stdinStalled : ended.verdict
        }
        guard let failure = ending?.failure else { return .cancelled }
        if failure.kind == .cancelled { return .cancelled }
        return spawned == nil && failure.kind != .lost ? .setupFailed : .lost
    }
}
