import ArgumentParser
import Glibc
import Hatchery
import HatcheryJobs
import HatcheryProtocol
import HatcherySystem

/// `hatchery script [options] SCRIPT [--args-json JSON|@FILE|-]`
struct ScriptCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "script", abstract: "Run a script that somebody else supplied.",
        usage: "hatchery script [options] SCRIPT [--args-json JSON|@FILE|-]",
        discussion: """
            SCRIPT is named below the base directory and reached through no link. Its suffix says which interpreter runs it: \
            .py .sh .js .rb .pl. It reads its arguments, one JSON value, from its stdin. 30 seconds unless --time says \
            otherwise, 600 at most; 10M of stdout and 1M of stderr. Exit status as of run.
            """)

    @OptionGroup(title: "Sandbox") var flags: SandboxFlags
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("The arguments: a JSON text, the file that holds it, or - for our stdin.", valueName: "json|@file|-"))
    var argsJson: String?
    @Option(help: ArgumentHelp("Scripts lie below this directory.", valueName: "dir")) var base = "."
    @Option(
        help: ArgumentHelp("Which interpreter runs a suffix: .py=/usr/bin/python3.12. May be repeated.", valueName: "suffix=path"))
    var interpreter: [String] = []
    @Flag(help: "Refuse scripts and directories that everybody can change, instead of a warning.")
    var refuseWorldWritable = false
    @Option(
        help: ArgumentHelp("A line about every run: a file, stderr, or journal.", valueName: "file|stderr|journal"))
    var audit: String?
    @Argument(help: "The script.") var script: String

    func validate() throws {
        if flags.interactive || flags.stdin != nil {
            throw ValidationError("a script's stdin is its arguments: use --args-json instead of -i and --stdin")
        }
        if flags.tty { throw ValidationError("a script reads its arguments, not a terminal: not with -t") }
        if flags.detach { throw ValidationError("a script is waited for: not with --detach") }
        for text in interpreter {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0].hasPrefix("."), parts[0].count > 1, parts[1].hasPrefix("/") else {
                throw ValidationError("--interpreter: '\(text)' is not .SUFFIX=/ABSOLUTE/PATH")
            }
        }
    }

    func perform() -> Int32 { ScriptDriver.perform(self) }

    var policy: ScriptPolicy {
        var policy = ScriptPolicy(baseDirectory: base)
        for text in interpreter {
            let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
            policy.interpreters[parts[0]] = parts[1]
        }
        policy.worldWritable = refuseWorldWritable ? .refuse : .warn
        return policy
    }

    /// The bytes of the arguments; one more than allowed where there are more.
    func arguments() throws(HatcheryError) -> [UInt8]? {
        guard let argsJson else { return nil }
        let limit = ScriptPolicy.maximumArgumentBytes + 1
        do throws(SystemError) {
            if argsJson == "-" { return try readAll(STDIN_FILENO, limit: limit) }
            guard argsJson.hasPrefix("@") else { return Array(argsJson.utf8) }
            let file = try Files.open(String(argsJson.dropFirst()), flags: O_RDONLY | O_NOCTTY)
            return try readAll(file.raw, limit: limit)
        } catch {
            throw HatcheryError(.invalidRequest, side: .client, errno: error.errno, detail: "--args-json \"\(argsJson)\"",
                hint: "@FILE names a file that this user may read")
        }
    }
}

/// A script from the flags to the exit status, on one thread, as RunDriver does it for a program.
enum ScriptDriver {
    static func perform(_ command: ScriptCommand) -> Int32 {
        var record = AuditRecord(.script, name: command.script.plain(limitBytes: 4096))
        var log: AuditLog?
        do throws(HatcheryError) {
            log = try command.audit.map { text throws(HatcheryError) in try AuditLog(AuditLog.Destination(text: text)) }
            return try perform(command, &record, log)
        } catch {
            if record.verdict == "refused", let log {
                record.error = error.description
                do throws(HatcheryError) { try log.write(record) } catch { Console.failure(error) }
            }
            if command.flags.json { Console.output(RunResult(failure: error, zygote: command.flags.zygote ?? "").json + "\n") }
            Console.failure(error)
            return ExitStatus.of(error)
        }
    }

    private static func perform(
        _ command: ScriptCommand, _ record: inout AuditRecord, _ log: AuditLog?
    ) throws(HatcheryError) -> Int32 {
        let flags = command.flags
        let arguments = try command.arguments()
        if let arguments { try ScriptRun.check(arguments) }
        let file = try ScriptFile(command.script, policy: command.policy)
        record.sha256 = file.sha256
        for warning in file.warnings { Console.error("hatchery: warning: \(warning)") }
        let asked = try options(flags)
        _ = try ScriptRun.bounded(asked, command.policy)
        let reactor = try RunDriver.ownReactor()
        let connection = try DaemonLocator.connect(flags.daemon.socket, reactor: reactor, startsDaemon: true)
        let zygotes = file.isPython ? try OneQuestion.ask(connection, .zygotes).zygotes().get() : []
        var run = try ScriptRun(file, arguments: arguments, options: asked, policy: command.policy, zygotes: zygotes)
        if !flags.json && !flags.tail { run.forward(stdout: STDOUT_FILENO, stderr: STDERR_FILENO) }
        record = run.record(user: nil)

        let prepared = try PreparedSpawn(run.payload, run.options)
        let finished = Slot<RunOutcome>()
        let machine = RunMachine(prepared, run.options, on: connection) { finished.value = $0 }
        let signals = try Interruptions(reactor) { machine.cancel() }
        machine.begin()
        while finished.value == nil { reactor.turn() }
        let outcome = finished.value!
        let result = ScriptResult(try outcome.result(of: prepared, run.options), file)
        record.ended(result.run)
        try log?.write(record)
        show(result, outcome, run, flags)
        if let signal = signals.received { return ExitStatus.signal(signal) }
        if outcome.brokenTarget != nil { return ExitStatus.signal(SIGPIPE) }
        let status = ExitStatus.of(result.run.verdict, exitCode: result.run.exitCode, signal: result.run.signal)
        return status == 0 && result.run.files.contains { $0.error != nil } ? ExitStatus.hatcheryFailed : status
    }

    private static func options(_ flags: SandboxFlags) throws(HatcheryError) -> RunOptions {
        var options = RunOptions()
        options.sandbox = try RunDriver.sandboxOptions(flags)
        options.keepsTail = flags.tail
        options.stdinTime = flags.stdinTime
        options.filesOut = flags.filesOut
        options.outputLimit = flags.output.map { Int($0) }
        return options
    }

    private static func show(_ result: ScriptResult, _ outcome: RunOutcome, _ run: ScriptRun, _ flags: SandboxFlags) {
        if flags.json {
            Console.output(result.json + "\n")
            return
        }
        if flags.tail {
            Console.output(result.run.stdoutBytes)
            try? writeAll(STDERR_FILENO, result.run.stderrBytes)
        }
        Remarks.print(result.run, limit: outcome.spawned?.wallNanoseconds)
        for (name, total, limit) in [
            ("stdout", outcome.stdout.total, outcome.stdoutLimit), ("stderr", outcome.stderr.total, outcome.stderrLimit),
        ] {
            guard let limit, total > UInt64(limit) else { continue }
            Console.error("hatchery: \(total - UInt64(limit)) bytes of \(name) were dropped, \(limit) were kept")
        }
        if result.run.verdict == .signaled, let name = result.run.signalName, let meaning = result.signalMeaning {
            Console.error("hatchery: the script was ended by \(name): \(meaning)")
        }
        for file in result.run.files {
            if let error = file.error { Console.error("hatchery: --out \(file.path): \(error)") }
        }
    }
}
