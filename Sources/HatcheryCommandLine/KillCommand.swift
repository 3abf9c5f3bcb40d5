import ArgumentParser
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// `hatchery kill ID [--signal NAME]`
struct KillCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "kill", abstract: "End a sandbox, or send a signal to its program.")

    @OptionGroup var daemon: DaemonFlags
    @Option(
        help: ArgumentHelp("A name or number; KILL, the default, ends everything in the sandbox.", valueName: "name"),
        transform: KillCommand.signal)
    var signal: Int32 = SIGKILL
    @Argument(help: "The id, as `hatchery ps` shows it.") var id: String

    func perform() -> Int32 {
        OneQuestion.ask(daemon, .kill, body: Connection.killBody(id: id, signal: signal), { $0.acknowledged() }) { 0 }
    }

    static func signal(_ text: String) throws -> Int32 {
        guard let number = Signals.number(text) else { throw ValueTextError("'\(text)' is not a signal") }
        return number
    }
}
