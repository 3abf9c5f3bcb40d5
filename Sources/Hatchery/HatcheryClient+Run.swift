import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

extension HatcheryClient {
    /// Runs a payload in a sandbox of its own, to its end.
    ///
    /// The run is bounded: by the wall clock and the other limits of `options`, which the daemon enforces, by `outputLimit`
    /// bytes for each stream in memory here, and by `stdinTime`. When this returns, no process of the sandbox is alive, every
    /// descriptor is closed, and what the program wrote before its end is in the result, whatever the verdict.
    ///
    /// Cancelling the task at any moment kills the sandbox, waits until it is gone, and returns a result with the verdict
    /// `.cancelled` and the output so far; a sandbox that was only asked for by then never starts, and `spawn.id` is nil. So a
    /// cancelled run is a result, not an error: the output so far would be lost otherwise.
    ///
    /// - Throws: `HatcheryError` where no program ever ran: an impossible request, a failed step of the set-up, a missing
    ///   program, an unreachable or lost daemon. A daemon that is lost later is the verdict `.lost`.
    public func run(_ payload: Payload, _ options: RunOptions = RunOptions()) async throws(HatcheryError) -> RunResult {
        let prepared = try PreparedSpawn(payload, options)
        let machine = Mutex<RunMachine?>(nil)
        let outcome: RunOutcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let run = RunMachine(prepared, options, on: connection) { continuation.resume(returning: $0) }
                machine.withLock { $0 = run }
                // Cancellation may have come before there was anything to cancel.
                if Task.isCancelled { run.cancel() }
                run.begin()
            }
        } onCancel: {
            machine.withLock { $0 }?.cancel()
        }
        return try outcome.result(of: prepared, options)
    }

    /// The same for callers without async: blocks the calling thread until the run is over.
    ///
    /// Not for a thread of Swift's own pool, that is, not inside a `Task`; use `run` there.
    public func runBlocking(
        _ payload: Payload, _ options: RunOptions = RunOptions()
    ) throws(HatcheryError) -> RunResult {
        let prepared = try PreparedSpawn(payload, options)
        let box = BlockingBox<RunOutcome>()
        RunMachine(prepared, options, on: connection) { box.put($0) }.begin()
        return try box.take().result(of: prepared, options)
    }
}

extension PreparedSpawn {
    package init(_ payload: Payload, _ options: RunOptions) throws(HatcheryError) {
        var payload = payload
        var filesOut = options.filesOut.map(\.path)
        if options.plots != nil {
            guard payload.plan.mode != .program else {
                throw HatcheryError(
                    .invalidRequest, side: .client, detail: "plots: only Python saves its figures",
                    hint: "run it with `hatchery python`, or save them in the program and take them out with --out")
            }
            payload.plan.plots = Plots.directory
            filesOut.append(Plots.directory)
        }
        if options.tellsImports {
            guard payload.plan.mode != .program else {
                throw HatcheryError(
                    .invalidRequest, side: .client, detail: "imports: only Python tells its imports", hint: "run it with `hatchery python`")
            }
            payload.plan.tellsImports = true
        }
        // The profile allows or refuses the larger of both streams' caps.
        let asked = [options.outputLimit, options.stderrLimit].compactMap { $0 }.max()
        try self.init(
            payload, options.sandbox, stdinPipe: options.stdin != .none, filesOut: filesOut,
            outputBytes: asked.map { UInt64(max(0, $0)) })
    }
}

extension RunOutcome {
    /// Copies the files out and makes the result. Blocks for the time of the copying.
    ///
    /// - Throws: where no program ever ran, unless that was wished.
    package func result(of prepared: PreparedSpawn, _ options: RunOptions) throws(HatcheryError) -> RunResult {
        if spawned == nil, verdict != .cancelled, var failure {
            // The front never reads what is to run; which program was missing is known here alone.
            if failure.detail.isEmpty && (failure.kind == .programNotFound || failure.kind == .programNotExecutable) {
                failure.detail = prepared.programName
            }
            throw failure
        }
        return RunResult(
            self, zygote: prepared.request.zygote, files: FilesOut.copy(options, from: ended, files))
    }
}

/// Hands one value from the reactor's thread to a blocked one.
package final class BlockingBox<Value: Sendable>: @unchecked Sendable {
    private let value = Mutex<Value?>(nil)
    private let semaphore: UnsafeMutablePointer<sem_t>

    package init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    package func put(_ newValue: Value) {
        value.withLock { $0 = newValue }
        sem_post(semaphore)
    }

    package func take() -> Value {
        while sem_wait(semaphore) != 0 {}  // EINTR
        return value.withLock { $0! }
    }
}
