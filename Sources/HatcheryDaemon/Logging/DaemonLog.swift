import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem
import Logging
import Synchronization

/// Where every line of the daemon's log goes: stderr or journald, and the ring for `hatchery logs`.
public final class DaemonLog: Sendable {
    private struct State: ~Copyable {
        var settings = LogConfiguration()
        var journal: Descriptor?
        var ring = LogRing()
        var counts = [UInt64](repeating: 0, count: Logger.Level.allCases.count)
    }

    private let state = Mutex(State())

    public init() {}

    /// What is in force from here on. journald that cannot be reached leaves stderr.
    public func configure(_ settings: LogConfiguration) {
        state.withLock { state in
            state.settings = settings
            state.journal = nil
            let isWanted = settings.to == .journald || (settings.to == .auto && DaemonLog.stderrIsJournal)
            if isWanted { state.journal = try? DatagramSocket.connect(JournalSocket.path) }
        }
    }

    /// systemd.exec(5): JOURNAL_STREAM has device and inode of the stderr that it gave us.
    private static var stderrIsJournal: Bool {
        guard let text = getenv("JOURNAL_STREAM").map({ String(cString: $0) }), let status = try? Files.status(STDERR_FILENO)
        else { return false }
        return text == "\(status.st_dev):\(status.st_ino)"
    }

    func write(_ level: Logger.Level, _ message: String, _ metadata: [(name: String, value: String)]) {
        let now = UnixClock.now()
        let number = UInt8(Logger.Level.allCases.firstIndex(of: level) ?? 0)
        let text = metadata.reduce(message) { "\($0) \($1.name)=\($1.value)" }
        state.withLock { state in
            state.counts[Int(number)] += 1
            state.ring.append(time: now, level: number, text: text)
            if let raw = state.journal?.raw {
                let sent = try? JournalSocket.send(JournalSocket.encode(DaemonLog.fields(level, message, metadata)), to: raw)
                // Where journald is being restarted or too slow, a line on stderr is better than none.
                if sent == true { return }
                state.journal = nil
                state.journal = try? DatagramSocket.connect(JournalSocket.path)
            }
            let line = state.settings.format == .json ? DaemonLog.json(now, level, message, metadata) : "\(RFC3339.text(now)) \(level) \(text)"
            try? writeAll(STDERR_FILENO, Array((line + "\n").utf8))
        }
    }

    private static func fields(
        _ level: Logger.Level, _ message: String, _ metadata: [(name: String, value: String)]
    ) -> [(name: String, value: String)] {
        // syslog(3) counts from 0, an emergency, to 7.
        let priority: Int
        switch level {
        case .trace, .debug: priority = 7
        case .info: priority = 6
        case .notice: priority = 5
        case .warning: priority = 4
        case .error: priority = 3
        case .critical: priority = 2
        }
        return [("MESSAGE", message), ("PRIORITY", "\(priority)"), ("SYSLOG_IDENTIFIER", "hatcheryd")]
            + metadata.map { ("HATCHERY_" + $0.name.uppercased(), $0.value) }
    }

    private static func json(
        _ now: UInt64, _ level: Logger.Level, _ message: String, _ metadata: [(name: String, value: String)]
    ) -> String {
        var writer = JSONWriter()
        writer.object { object in
            object.string("time", RFC3339.text(now))
            object.string("level", level.rawValue)
            object.string("message", message)
            for (name, value) in metadata { object.string(name, value) }
        }
        return writer.text
    }

    func lines(after number: UInt64) -> [LogLine] { state.withLock { $0.ring.lines(after: number) } }

    var counts: [(level: String, count: UInt64)] {
        let counts = state.withLock { $0.counts }
        return zip(Logger.Level.allCases, counts).map { ($0.rawValue, $1) }
    }

    /// A logger that writes here.
    public func logger(level: Logger.Level) -> Logger {
        var logger = Logger(label: "hatcheryd") { _ in Handler(log: self) }
        logger.logLevel = level
        return logger
    }

    private struct Handler: LogHandler {
        let log: DaemonLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }
            // SECURITY: one line each, whatever a name in it holds. Test: aLineOfTheLogIsOneLine.
            log.write(
                event.level, event.message.description.oneLine,
                all.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)".oneLine) })
        }
    }
}

extension String {
    /// With blanks for what would end the line or move the cursor. A traceback keeps its lines, one after the other.
    var oneLine: String {
        func isControl(_ scalar: Unicode.Scalar) -> Bool { scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) }
        guard unicodeScalars.contains(where: isControl) else { return self }
        return String(UnicodeScalarView(unicodeScalars.map { isControl($0) ? " " : $0 }))
    }
}

/// The wall clock, for what people read. No limit is measured by it.
enum UnixClock {
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
