import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery session [options] [--] PROGRAM [ARG...]`
struct SessionCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "Talk with a program in a sandbox, line by line.",
        usage: "hatchery session [options] [--] PROGRAM [ARG...]",
        discussion: """
            Our stdin goes to the program as it comes, to its end, and what the program says comes out as it says it. The \
            program sees pipes: one that holds back its output for a pipe needs its own switch (python3 -u, sed -u, \
            stdbuf), or a terminal, -t. Exit status as of run. What follows PROGRAM belongs to the program, dashes and all.
            """)

    @OptionGroup(title: "Sandbox") var flags: SandboxFlags
    @Option(
        name: .customShort("m"), parsing: .unconditional, help: ArgumentHelp("The same as --memory.", valueName: "size"),
        transform: ByteSize.parse)
    var memory: UInt64?
    @Argument(help: "The program, and its arguments.") var command: [String] = []

    func validate() throws {
        if command.isEmpty { throw ValidationError("which program? hatchery session [options] [--] PROGRAM [ARG...]") }
        if command[0].isEmpty { throw ValidationError("the program's name is empty") }
        if memory != nil && flags.memory != nil { throw ValidationError("-m and --memory are the same; give one") }
        if let stdin = flags.stdin, stdin != "-" {
            throw ValidationError("a session reads our own stdin; instead of --stdin write < FILE")
        }
        let misplaced = [("--json", flags.json), ("--tail", flags.tail), ("--detach", flags.detach)].filter(\.1)
        if let (name, _) = misplaced.first {
            throw ValidationError("a session's output comes as it is said: \(name) belongs to hatchery run")
        }
    }

    func perform() -> Int32 {
        var flags = flags
        flags.interactive = true
        return RunDriver.perform(flags) { options throws(HatcheryError) in
            if let memory { options.memory = memory }
            return .program(command[0], Array(command.dropFirst()))
        }
    }
}
