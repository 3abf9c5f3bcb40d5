import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery run [options] [--] PROGRAM [ARG...]`
struct RunCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run a program in a sandbox.",
        usage: "hatchery run [options] [--] PROGRAM [ARG...]",
        discussion: "What follows PROGRAM belongs to the program, dashes and all.")

    @OptionGroup(title: "Sandbox") var flags: SandboxFlags
    @Option(
        name: .customShort("m"), parsing: .unconditional, help: ArgumentHelp("The same as --memory.", valueName: "size"),
        transform: ByteSize.parse)
    var memory: UInt64?
    @Argument(help: "The program, and its arguments.") var command: [String] = []

    func validate() throws {
        if command.isEmpty { throw ValidationError("which program? hatchery run [options] [--] PROGRAM [ARG...]") }
        if command[0].isEmpty { throw ValidationError("the program's name is empty") }
        if memory != nil && flags.memory != nil { throw ValidationError("-m and --memory are the same; give one") }
    }

    func perform() -> Int32 {
        RunDriver.perform(flags) { options throws(HatcheryError) in
            if let memory { options.memory = memory }
            return .program(command[0], Array(command.dropFirst()))
        }
    }
}
