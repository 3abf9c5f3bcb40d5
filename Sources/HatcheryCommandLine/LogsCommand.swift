import ArgumentParser
import Glibc
import Hatchery
import HatcheryProtocol

/// `hatchery logs [-f]`: the last lines of the daemon's log, which it keeps itself, so that this works with and without
/// journald, and for a private daemon too.
struct LogsCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Show the last lines of the daemon's log.",
        discussion: "For root and the daemon's own user. The daemon keeps its last 2000 lines.")

    /// How often a follower asks.
    static let pauseMicroseconds: UInt32 = 250_000

    @OptionGroup var daemon: DaemonFlags
    @Flag(name: .shortAndLong, help: "Go on with the lines that come, until the daemon ends.") var follow = false
    @Option(name: .customShort("n"), help: ArgumentHelp("At most the last so many lines.", valueName: "lines")) var lines: Int?
    @Option(help: ArgumentHelp("The least level.", valueName: "level"), transform: LogsCommand.level) var level: UInt8 = 0
    @Flag(help: "A JSON object for each line.") var json = false

    func perform() -> Int32 {
        do throws(HatcheryError) {
            let reactor = try RunDriver.ownReactor()
            let connection = try DaemonLocator.connect(daemon.socket, reactor: reactor, startsDaemon: false)
            var last: UInt64 = 0
            var isFirst = true
            while true {
                let all = try read(connection, after: &last)
                let fitting = all.filter { $0.level >= level }
                let shown = isFirst && lines != nil ? Array(fitting.suffix(max(0, lines!))) : fitting
                Console.output(shown.map { json ? LogsCommand.json($0) : LogsCommand.text($0) }.joined())
                isFirst = false
                guard follow else { return 0 }
                usleep(LogsCommand.pauseMicroseconds)
            }
        } catch {
            Console.failure(error)
            return ExitStatus.hatcheryFailed
        }
    }

    /// One answer holds as many lines as a message does, so it is asked until nothing more comes.
    private func read(_ connection: Connection, after last: inout UInt64) throws(HatcheryError) -> [LogLine] {
        var all: [LogLine] = []
        while true {
            let more = try OneQuestion.ask(connection, .logs, body: Connection.logsBody(after: last)).logLines().get()
            guard let newest = more.last else { return all }
            last = newest.number
            all += more
        }
    }

    static func level(_ text: String) throws -> UInt8 {
        guard let index = LogLine.levels.firstIndex(of: text) else {
            throw ValueTextError("'\(text)' is not a level; these are: \(LogLine.levels.joined(separator: " "))")
        }
        return UInt8(index)
    }

    private static func name(_ level: UInt8) -> String { Int(level) < LogLine.levels.count ? LogLine.levels[Int(level)] : "\(level)" }

    static func text(_ line: LogLine) -> String {
        "\(RFC3339.text(line.unixNanoseconds)) \(name(line.level)) \(line.text)\n"
    }

    static func json(_ line: LogLine) -> String {
        var writer = JSONWriter()
        writer.object { object in
            object.integer("number", line.number)
            object.string("time", RFC3339.text(line.unixNanoseconds))
            object.string("level", name(line.level))
            object.string("message", line.text)
        }
        return writer.text + "\n"
    }
}
