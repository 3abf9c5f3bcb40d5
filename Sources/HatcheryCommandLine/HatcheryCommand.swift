import ArgumentParser
import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// `hatchery VERB`
public struct HatcheryCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "hatchery",
        abstract: "Hatch sandboxed processes from warm zygotes.",
        discussion: """
            Exit status of run, python, session and script: the program's own; 124 time limit; 125 a failure of Hatchery itself; 126 not \
            executable, 127 not found; 128+N killed by signal N.
            """,
        version: "0.1.0",
        subcommands: [
            RunCommand.self, PythonCommand.self, CallCommand.self, SessionCommand.self, ScriptCommand.self,
            BuildCommand.self, PsCommand.self, KillCommand.self, ZygotesCommand.self, TopCommand.self,
            LogsCommand.self, ReloadCommand.self, ConfigCommand.self, DoctorCommand.self, SecurityTestCommand.self,
            BenchCommand.self, PolicyCommand.self,
        ])

    public init() {}

    /// The whole command line, from its words to the exit status.
    public static func main(words: [String]) -> Int32 {
        // A reader that is gone is an error of write(2) here, so that what was begun is also ended.
        signal(SIGPIPE, SIG_IGN)
        Console.openMissingStreams()
        if let verb = words.first, !verb.hasPrefix("-"), verb != "help", !isVerb(verb) {
            Console.error("hatchery: there is no verb '\(verb)'\n  hatchery --help lists those that there are")
            return ExitStatus.hatcheryFailed
        }
        if words.first == "build" { return BuildCommand.become(Array(words.dropFirst())) }
        do {
            var command = try parseAsRoot(divided(words))
            guard let verb = command as? any Verb else {
                try command.run()
                return 0
            }
            return Console.status(verb.perform())
        } catch {
            if exitCode(for: error) == .success {
                Console.output(fullMessage(for: error) + "\n")
                return Console.status(0)
            }
            Console.error(fullMessage(for: error))
            return ExitStatus.hatcheryFailed
        }
    }

    private static func isVerb(_ word: String) -> Bool {
        configuration.subcommands.contains { $0.configuration.commandName == word }
    }

    /// The words with the program's own ones behind a `--`, where the parser leaves them alone.
    static func divided(_ words: [String]) -> [String] {
        guard let verb = words.first, ["run", "python", "session", "call"].contains(verb) else { return words }
        let split = ArgumentSplit(Array(words.dropFirst()), isPython: verb == "python", isCall: verb == "call")
        return [verb] + split.options + (split.rest.isEmpty ? [] : ["--"] + split.rest)
    }
}

/// A verb that ends in an exit status.
protocol Verb: ParsableCommand {
    func perform() -> Int32
}

/// The exit statuses of section 6.
public enum ExitStatus {
    public static let timeLimit: Int32 = 124
    public static let hatcheryFailed: Int32 = 125
    public static let notExecutable: Int32 = 126
    public static let notFound: Int32 = 127
    public static func signal(_ number: Int32) -> Int32 { 128 + number }

    public static func of(_ error: HatcheryError) -> Int32 {
        switch error.kind {
        case .programNotFound: notFound
        case .programNotExecutable: notExecutable
        default: hatcheryFailed
        }
    }

    /// Of a run that came to an end.
    public static func of(_ verdict: Verdict, exitCode: Int32?, signal number: Int32?) -> Int32 {
        switch verdict {
        case .exited: exitCode ?? hatcheryFailed
        case .timedOut, .cpuLimit: timeLimit
        case .setupFailed, .lost: hatcheryFailed
        // All of these end by a signal; where the report does not say which, it was the kill of the whole sandbox.
        case .signaled, .memoryLimit, .stdinStalled, .cancelled: signal(number ?? SIGKILL)
        case .syscallDenied: signal(number ?? SIGSYS)
        }
    }
}

/// Our own words to the user.
enum Console {
    /// `hatchery run x >&-` closes our stdout; the next descriptor of ours would get its number, and the output.
    static func openMissingStreams() {
        for raw in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where hatchery_fcntl(raw, F_GETFD, 0) == -EBADF {
            // Takes the lowest free number, which is this one. Not close-on-exec, like any other standard stream.
            _ = hatchery_open("/dev/null", O_RDWR, 0)
        }
    }

    /// The first errno of writing what was asked for. One thread writes, and reads it at the end.
    nonisolated(unsafe) private(set) static var outputErrno: Int32 = 0

    static func output(_ text: String) { output(Array(text.utf8)) }

    static func output(_ bytes: [UInt8]) {
        do throws(SystemError) {
            try writeAll(STDOUT_FILENO, bytes)
        } catch {
            if outputErrno == 0 { outputErrno = error.errno }
        }
    }

    /// The exit status of a verb, unless what it had to say did not reach our caller.
    static func status(_ status: Int32) -> Int32 {
        switch outputErrno {
        case 0: return status
        // What a program that writes into a closed pipe dies of.
        case EPIPE: return ExitStatus.signal(SIGPIPE)
        default:
            error("hatchery: writing the output: \(ErrnoNames.describe(outputErrno))\n  make room there, or send it elsewhere")
            return ExitStatus.hatcheryFailed
        }
    }

    static func error(_ text: String) { try? writeAll(STDERR_FILENO, Array((text + "\n").utf8)) }

    static func failure(_ error: HatcheryError) {
        // A hint of the error's own is part of its description.
        let usual = error.hint.isEmpty && !error.mend.isEmpty ? "\n  " + error.mend : ""
        Console.error("hatchery: \(error)" + usual)
    }
}
