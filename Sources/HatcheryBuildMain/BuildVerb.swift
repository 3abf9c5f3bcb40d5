import ArgumentParser
import Glibc
import Hatchery
import HatcheryBuildSpec
import HatcheryCommandLine
import HatcheryConfigurationText
import HatcheryJobs
import HatcheryProtocol
import HatcherySystem

/// `hatchery build [options] SPEC.yml`
struct BuildVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hatchery build", abstract: "Run the steps of a build, each phase in a sandbox.",
        usage: "hatchery build [options] SPEC.yml",
        discussion: "Exit status: that of the first step that failed, or 0; 125 where the spec, the request or the daemon is at fault.")

    @Option(help: ArgumentHelp("Run this stage's section as well: staging or production.", valueName: "stage"))
    var stage: String?
    @Option(help: ArgumentHelp("Run only these sections.", valueName: "section,..."))
    var only: String?
    @Flag(help: "Say who may do what, when, and run nothing.") var explain = false
    @Flag(help: "Check everything, say what would run, and run nothing.") var dryRun = false
    @Option(
        name: .customLong("directory"),
        help: ArgumentHelp("The repository; the build runs in a copy of it (default: the working directory).", valueName: "dir"))
    var directory = "."
    @Flag(help: "Write what the build leaves back to the repository, .git excepted.") var inPlace = false
    @Option(
        name: .customLong("out"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A file or directory of the work directory that is brought out at the end.", valueName: "path[:dest]"))
    var outputs: [String] = []

    @Option(help: ArgumentHelp("Of the pull request (default: $FORGE_OWNER).", valueName: "name")) var owner: String?
    @Option(help: ArgumentHelp("Of the pull request (default: $FORGE_REPOSITORY).", valueName: "name")) var repository: String?
    @Option(help: ArgumentHelp("Of the pull request (default: $FORGE_COMMIT).", valueName: "id")) var commit: String?
    @Option(help: ArgumentHelp("Of the pull request (default: $FORGE_COMMIT_COUNT).", valueName: "n")) var commitCount: UInt64?

    @Flag(help: "One JSON object on stdout instead of the output as it comes.") var json = false
    @Option(help: ArgumentHelp("A report in JUnit's XML.", valueName: "file")) var junit: String?
    @Option(help: ArgumentHelp("A line about every step: a file, stderr, or journal.", valueName: "file|stderr|journal"))
    var audit: String?
    @Option(help: ArgumentHelp("Colours: auto, always or never.", valueName: "when")) var color = "auto"
    @Option(help: ArgumentHelp("The daemon's socket.", valueName: "path")) var socket: String?
    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Fail instead of running with one of these layers missing.", valueName: "layer,..."),
        transform: FlagValues.layers)
    var require: [LayerSet] = []
    @Argument(help: "The spec.") var spec: String

    /// The whole verb, from its words to the exit status.
    static func main(words: [String]) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        do {
            // With --help the parser's answer is another command of its own.
            var command = try parseAsRoot(words)
            guard let verb = command as? BuildVerb else {
                try command.run()
                return 0
            }
            return try verb.perform()
        } catch let error as HatcheryError {
            return fail("\(error)", ExitStatus.of(error))
        } catch let error as ConfigurationError {
            return fail("\(error)", ExitStatus.hatcheryFailed)
        } catch {
            let message = fullMessage(for: error)
            if exitCode(for: error) == .success {
                try? writeAll(STDOUT_FILENO, Array((message + "\n").utf8))
                return 0
            }
            try? writeAll(STDERR_FILENO, Array((message + "\n").utf8))
            return ExitStatus.hatcheryFailed
        }
    }

    private static func fail(_ message: String, _ status: Int32) -> Int32 {
        try? writeAll(STDERR_FILENO, Array("hatchery: \(message)\n".utf8))
        return status
    }

    private func perform() throws -> Int32 {
        let read = try BuildSpec(file: spec)
        if explain {
            try writeAll(STDOUT_FILENO, Array(BuildText.explanation(of: read).utf8))
            return 0
        }
        let plan = try BuildPlan(read, try options())
        if dryRun {
            try writeAll(STDOUT_FILENO, Array(BuildText.listing(of: plan).utf8))
            return 0
        }
        return try BuildDriver(verb: self, plan: plan).run()
    }

    private func options() throws -> BuildOptions {
        var options = BuildOptions(repository: directory, stepsProgram: try StepsProgram.find())
        options.callersEnvironment = CallersEnvironment.all()
        let caller = options.callersEnvironment
        options.stage = try stage.map { try phase($0, "--stage", [.staging, .production]) }
        options.only = Set(try (only ?? "").split(separator: ",").map { try phase(String($0), "--only", BuildPhase.allCases) })
        options.pullRequest.owner = owner ?? caller["FORGE_OWNER"]
        options.pullRequest.repository = repository ?? caller["FORGE_REPOSITORY"]
        options.pullRequest.commit = commit ?? caller["FORGE_COMMIT"]
        if let text = caller["FORGE_COMMIT_COUNT"], !text.isEmpty, commitCount == nil {
            guard let count = UInt64(text) else { throw ValidationError("FORGE_COMMIT_COUNT is '\(text)', which is not a number") }
            options.pullRequest.commitCount = count
        } else {
            options.pullRequest.commitCount = commitCount
        }
        options.isInPlace = inPlace
        options.required = require.reduce([]) { $0.union($1) }
        options.outputs = try outputs.map { text in
            let out = try FlagValues.fileOut(text)
            let parts = out.path.split(separator: "/")
            guard !out.path.hasPrefix("/"), !parts.contains(".."), !parts.isEmpty else {
                throw ValidationError("--out: '\(out.path)' is not a path below the work directory")
            }
            return BuildOptions.Output(out.path, to: out.destination)
        }
        guard ["auto", "always", "never"].contains(color) else { throw ValidationError("--color is auto, always or never") }
        return options
    }

    private func phase(_ text: String, _ flag: String, _ known: [BuildPhase]) throws -> BuildPhase {
        guard let phase = BuildPhase(rawValue: text), known.contains(phase) else {
            let names = known.map(\.rawValue)
            let meant = nearestName(to: text, in: names).map { "; did you mean '\($0)'?" } ?? ""
            throw ValidationError("\(flag): '\(text)' is not one of \(names.joined(separator: ", "))\(meant)")
        }
        return phase
    }
}

/// The variables of this process.
enum CallersEnvironment {
    static func all() -> [String: String] {
        var variables: [String: String] = [:]
        // Set by the C library before main; never nil.
        var entry: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = environ
        while let pointer = entry.pointee {
            let parts = String(cString: pointer).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { variables[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        return variables
    }
}

/// `hatchery-steps`, beside this program.
enum StepsProgram {
    static func find() throws(HatcheryError) -> String {
        var buffer = [CChar](repeating: 0, count: 4097)
        let count = readlink("/proc/self/exe", &buffer, 4096)
        let own = count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
        let folder = own.split(separator: "/").dropLast().joined(separator: "/")
        let path = "/\(folder)/hatchery-steps"
        guard access(path, R_OK | X_OK) == 0 else {
            throw HatcheryError(
                .unreachable, side: .client, errno: ENOENT, detail: "hatchery-steps, which runs inside, is not at \(path)",
                hint: "install it beside hatchery-build")
        }
        return path
    }
}
