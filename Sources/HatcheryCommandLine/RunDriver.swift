import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// Takes one run from the flags to the exit status, on one thread: the reactor is turned by this very call, so nothing is
/// handed from thread to thread on the way.
enum RunDriver {
    static func perform(
        _ flags: SandboxFlags, plots: String? = nil, tellsImports: Bool = false,
        payload makePayload: (inout SandboxOptions) throws(HatcheryError) -> Payload
    ) -> Int32 {
        var zygote = flags.zygote ?? ""
        do throws(HatcheryError) {
            var options = RunOptions()
            options.sandbox = try sandboxOptions(flags)
            let payload = try makePayload(&options.sandbox)
            zygote = options.sandbox.zygote ?? payload.usualZygote
            try streams(&options, flags)
            options.filesOut = flags.filesOut
            options.plots = plots
            options.tellsImports = tellsImports
            let prepared = try PreparedSpawn(payload, options)
            let reactor = try ownReactor()
            let connection = try DaemonLocator.connect(flags.daemon.socket, reactor: reactor, startsDaemon: true)
            if flags.detach { return try DetachedSpawn.perform(prepared, connection) }
            return try run(prepared, options, connection, flags)
        } catch {
            if flags.json { Console.output(RunResult(failure: error, zygote: zygote).json + "\n") }
            Console.failure(error)
            return ExitStatus.of(error)
        }
    }

    static func ownReactor() throws(HatcheryError) -> Reactor {
        do throws(SystemError) {
            let reactor = try Reactor()
            reactor.adoptCallingThread()
            return reactor
        } catch {
            throw HatcheryError(client: error)
        }
    }

    static func sandboxOptions(_ flags: SandboxFlags) throws(HatcheryError) -> SandboxOptions {
        do {
            return try flags.sandbox()
        } catch let error as HatcheryError {
            throw error
        } catch {
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "\(error)", hint: "hatchery run --help shows the form of every option")
        }
    }

    private static func streams(_ options: inout RunOptions, _ flags: SandboxFlags) throws(HatcheryError) {
        options.keepsTail = flags.tail
        options.stdinTime = flags.stdinTime
        options.outputLimit = flags.output.map { Int($0) }
        // The last bytes are known at the end only, so they are not passed through as they come.
        if !flags.json && !(flags.tail && flags.output != nil) {
            options.stdoutTarget = .forward(STDOUT_FILENO)
            options.stderrTarget = .forward(STDERR_FILENO)
        }
        if flags.interactive || flags.stdin == "-" {
            options.stdin = .descriptor(STDIN_FILENO)
        } else if let path = flags.stdin {
            do throws(SystemError) {
                let file = try Files.open(path, flags: O_RDONLY | O_NOCTTY)
                // read(2) of one fails, which would look like an empty stdin.
                if Files.isDirectory(file.raw) { throw SystemError("open", errno: EISDIR, subject: path) }
                // Held to the end of the process.
                options.stdin = .descriptor(file.release())
            } catch {
                throw HatcheryError(.invalidRequest, side: .client, errno: error.errno, detail: "--stdin \"\(path)\"",
                    hint: "give a file that this user may read, or - for our own stdin")
            }
        }
    }

    private static func run(
        _ prepared: PreparedSpawn, _ options: RunOptions, _ connection: Connection, _ flags: SandboxFlags
    ) throws(HatcheryError) -> Int32 {
        let reactor = connection.reactor
        let finished = Slot<RunOutcome>()
        let machine = RunMachine(prepared, options, on: connection) { finished.value = $0 }
        let signals = try Interruptions(reactor) { machine.cancel() }
        let terminal =
            flags.tty
            ? try CallersTerminal(reactor, passesInput: options.stdin == .descriptor(STDIN_FILENO)) { machine.resize(to: $0) }
            : nil
        let progress = flags.progress ? ProgressLine(connection, machine) : nil
        machine.onSpawned = { spawned in
            terminal?.enter()
            progress?.begin(id: spawned.id)
        }
        machine.willForward = { progress?.clear() }
        machine.begin()
        while finished.value == nil { reactor.turn() }
        // Before anything is said: the words are for a terminal in its usual mode.
        progress?.end()
        terminal?.leave()
        let outcome = finished.value!
        let result = try outcome.result(of: prepared, options)
        if flags.json {
            Console.output(result.json + "\n")
        } else {
            if options.stdoutTarget == .collect {
                Console.output(result.stdoutBytes)
                try? writeAll(STDERR_FILENO, result.stderrBytes)
            }
            Remarks.print(result, limit: outcome.spawned?.wallNanoseconds)
        }
        for file in result.files {
            if let error = file.error { Console.error("hatchery: out: \(FileName.text(file.path.utf8CString.map { $0 })): \(error)") }
        }
        if let signal = signals.received { return ExitStatus.signal(signal) }
        // Our reader is gone: what a program that writes into a closed pipe dies of.
        if outcome.brokenTarget == EPIPE { return ExitStatus.signal(SIGPIPE) }
        if let errno = outcome.brokenTarget {
            Console.error("hatchery: writing the output: \(ErrnoNames.describe(errno))")
            return ExitStatus.hatcheryFailed
        }
        let status = ExitStatus.of(result.verdict, exitCode: result.exitCode, signal: result.signal)
        // A file that was asked for and did not come is a failure of ours only where the program itself had none.
        return status == 0 && result.files.contains { $0.error != nil } ? ExitStatus.hatcheryFailed : status
    }
}

/// A value that the reactor's handlers write and its turner reads: both on one thread.
final class Slot<Value>: @unchecked Sendable {
    var value: Value?
}

/// What the user should know beside the exit status.
enum Remarks {
    static func print(_ result: RunResult, limit wallNanoseconds: UInt64?) {
        switch result.verdict {
        case .exited, .signaled, .cancelled: return
        case .timedOut:
            let limit = wallNanoseconds.map { " of " + DurationText.format(.nanoseconds(Int64($0))) } ?? ""
            Console.error("hatchery: the time limit\(limit) was reached")
        case .cpuLimit: Console.error("hatchery: the CPU time limit was reached")
        case .memoryLimit: Console.error("hatchery: the memory limit was reached\(observed(result))")
        case .syscallDenied: Console.error("hatchery: a refused system call ended the program\(observed(result))")
        case .stdinStalled: Console.error("hatchery: the program did not take its stdin in time")
        case .setupFailed, .lost:
            Console.error("hatchery: \(result.evidence.observed ?? "the daemon is gone")")
        }
    }

    private static func observed(_ result: RunResult) -> String { result.evidence.observed.map { " (\($0))" } ?? "" }
}
