import ArgumentParser

/// `hatchery policy [--profile NAME] [--syscall NAME] [--json]`
///
/// What happens to each system call. Like `config`, the daemon's own program answers.
struct PolicyCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Print what a profile's seccomp policy says to every system call.",
        discussion: """
            One line for each line of the policy: number, call, verdict, condition, reason. Of the lines of one call the first
            whose condition holds decides.
            """)

    @OptionGroup var source: ConfigCommand.Source
    @Option(help: "A profile of the configuration.") var profile = "default"
    @Option(help: "Only this call.") var syscall: String?
    @Flag(help: "A JSON array instead of lines.") var json = false

    func perform() -> Int32 {
        ConfigCommand.ask(
            ["--show-policy", profile] + (syscall.map { ["--syscall", $0] } ?? []) + (json ? ["--json"] : []) + source.words)
    }
}
