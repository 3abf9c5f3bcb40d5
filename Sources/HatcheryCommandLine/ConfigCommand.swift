import ArgumentParser
import Glibc
import HatcheryProtocol

/// `hatchery config check [FILE]`, `hatchery config show [--origin] [FILE]`
///
/// The daemon's own program answers: to link its configuration into this one would slow down every start of it.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check or show a configuration of the daemon.",
        subcommands: [Check.self, Show.self])

    struct Source: ParsableArguments {
        @Option(
            name: .customLong("set"),
            help: ArgumentHelp("Override one key, such as socket.mode=0600.", valueName: "key=value"))
        var overrides: [String] = []
        @Argument(help: "The file. Default: /etc/hatchery/hatchery.yaml where it exists.") var file: String?

        var words: [String] {
            overrides.flatMap { ["--set", $0] } + (file.map { ["--config", $0] } ?? [])
        }
    }

    struct Check: Verb {
        static let configuration = CommandConfiguration(
            abstract: "Say whether a configuration is right, and what is wrong with it.",
            discussion: "Exit status 0 where the daemon would take it, 1 where it would not.")

        @OptionGroup var source: Source

        func perform() -> Int32 { ConfigCommand.ask(["--check-config"] + source.words) }
    }

    struct Show: Verb {
        static let configuration = CommandConfiguration(
            abstract: "Print every key with the value that would be in force.")

        @OptionGroup var source: Source
        @Flag(help: "Where each value was written.") var origin = false
        @Flag(help: "A JSON array instead of lines; it has the origins.") var json = false

        func perform() -> Int32 {
            ConfigCommand.ask(["--show-config"] + (origin ? ["--origin"] : []) + (json ? ["--json"] : []) + source.words)
        }
    }

    /// Becomes hatcheryd.
    static func ask(_ words: [String]) -> Int32 {
        do throws(HatcheryError) {
            let program = try PrivateDaemon.program()
            var arguments: [UnsafeMutablePointer<CChar>?] = ([program] + words).map { strdup($0) } + [nil]
            defer { for argument in arguments { free(argument) } }
            signal(SIGPIPE, SIG_DFL)
            execv(program, &arguments)
            throw HatcheryError(.unreachable, side: .client, errno: errno, detail: program)
        } catch {
            Console.failure(error)
            return ExitStatus.hatcheryFailed
        }
    }
}
