import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery reload [ZYGOTE]`
struct ReloadCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "reload", abstract: "Have the daemon read its configuration again and replace its zygotes.",
        discussion: """
            New zygotes start beside the old ones and take over together when all are ready; no request is lost, and children \
            of the old ones go on. Where one cannot serve, or the configuration is wrong, nothing is changed.
            """)

    /// The daemon answers when the last zygote is ready or its start_timeout is over; this is above the longest.
    static let patience = Duration.seconds(25 * 3600)

    @OptionGroup var daemon: DaemonFlags
    @Flag(help: "A JSON array of the zygotes instead of a table.") var json = false
    @Argument(help: "This zygote alone; the rest of the configuration stays.") var zygote: String?

    func perform() -> Int32 {
        OneQuestion.ask(
            daemon, .reload, body: Connection.reloadBody(zygote: zygote), within: ReloadCommand.patience, { $0.reloaded() }
        ) { reloaded in
            Console.output(json ? ZygotesCommand.json(reloaded.zygotes) : ZygotesCommand.table(reloaded.zygotes))
            for note in reloaded.notes { Console.error("hatchery: \(note)") }
            return 0
        }
    }
}
