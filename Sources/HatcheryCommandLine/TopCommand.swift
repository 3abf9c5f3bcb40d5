import ArgumentParser
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// `hatchery top`: the daemon at work, drawn anew every second.
struct TopCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Watch the daemon: sandboxes, zygotes, rates.",
        discussion: "For root and the daemon's own user. Control-C ends it; on a pipe, and with --once or --json, it shows one look.")

    @OptionGroup var daemon: DaemonFlags
    @Option(help: ArgumentHelp("Between two looks.", valueName: "sec"), transform: DurationText.parse)
    var interval = Duration.seconds(1)
    @Flag(help: "One look, after one interval, and leave.") var once = false
    @Flag(help: "One look as a JSON object.") var json = false

    func perform() -> Int32 {
        do throws(HatcheryError) {
            let reactor = try RunDriver.ownReactor()
            let connection = try DaemonLocator.connect(daemon.socket, reactor: reactor, startsDaemon: false)
            var before = try OneQuestion.ask(connection, .statistics).statistics().get()
            var since = MonotonicClock.now()
            let isLive = !once && !json && isatty(STDOUT_FILENO) == 1
            while true {
                usleep(UInt32(clamping: max(10_000, interval.components.seconds * 1_000_000 + interval.components.attoseconds / 1_000_000_000_000)))
                let now = try OneQuestion.ask(connection, .statistics).statistics().get()
                let at = MonotonicClock.now()
                let figures = TopFigures(
                    now: now, before: before, seconds: Double(at - since) / 1e9,
                    zygotes: try OneQuestion.ask(connection, .zygotes).zygotes().get(),
                    sandboxes: try OneQuestion.ask(connection, .list).sandboxes().get())
                guard isLive else {
                    Console.output(json ? figures.json : figures.text)
                    return 0
                }
                Console.output(TopScreen.drawing(figures.text))
                before = now
                since = at
            }
        } catch {
            Console.failure(error)
            return ExitStatus.hatcheryFailed
        }
    }
}

/// A text over what the terminal showed before, cut to its size: ECMA-48's cursor home, erase to end of line and of screen.
/// Nothing is switched that would have to be switched back, so that Control-C may come at any moment.
enum TopScreen {
    static func drawing(_ text: String) -> String {
        var size = winsize()
        let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 1 && size.ws_col > 1
        return drawing(text, rows: isKnown ? Int(size.ws_row) : 24, columns: isKnown ? Int(size.ws_col) : 80)
    }

    static func drawing(_ text: String, rows: Int, columns: Int) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).prefix(rows - 1)
        return "\u{1B}[H" + lines.map { $0.prefix(columns) + "\u{1B}[K\n" }.joined() + "\u{1B}[J"
    }
}
