import Glibc
import Hatchery
import HatcheryProtocol

/// One line of the audit: who ran what, under which limits, and how it ended. There is no field for content: what ran is named by
/// its digest, arguments and output are not told at all.
public struct AuditRecord: Sendable, Hashable {
    /// What kind of thing ran.
    public enum Event: String, Sendable, Hashable, CaseIterable { case script, command, step }

    public var event: Event
    /// Nanoseconds since 1970.
    public var time: Int64
    /// The user of this process, or on whose behalf it says that it acts.
    public var user: String
    public var uid: UInt32
    /// The sandbox; nil where none came about.
    public var id: String?
    /// The script's path below its base directory, the command's program, or the step's place in its build.
    public var name: String
    /// Of the script's bytes; of a command or a step, of its argument list, each argument ended by a NUL. nil where it was not
    /// even read.
    public var sha256: String?
    public var limits: [(name: String, value: UInt64)] {
        get { limitPairs.map { ($0.name, $0.value) } }
        set { limitPairs = newValue.map { Limit(name: $0.name, value: $0.value) } }
    }
    private var limitPairs: [Limit] = []
    /// As in a result, or `refused` where nothing was started.
    public var verdict = "refused"
    public var exitCode: Int32?
    public var signalName: String?
    public var usage: RunResult.Usage?
    /// Why it was refused or could not start. Of our own making: no argument is part of it.
    public var error: String?

    private struct Limit: Sendable, Hashable {
        var name: String
        var value: UInt64
    }

    /// - Parameter user: nil takes the name of this process's effective user.
    public init(_ event: Event, name: String, user: String? = nil) {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        self.event = event
        self.name = name
        time = Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
        uid = geteuid()
        self.user = user ?? getpwuid(uid).map { String(cString: $0.pointee.pw_name) } ?? "\(uid)"
    }

    /// The digest of an argument list.
    public static func digest(of arguments: [String]) -> String {
        SHA256.hexadecimal(of: arguments.flatMap { Array($0.utf8) + [0] })
    }

    public mutating func ended(_ result: RunResult) {
        id = result.spawn.id
        verdict = result.verdict.name
        exitCode = result.exitCode
        signalName = result.signalName
        usage = result.usage
    }

    /// - Parameter options: what was asked; what is not in it was the profile's.
    public mutating func limited(by options: SandboxOptions, stdout: Int? = nil, stderr: Int? = nil) {
        let values: [(String, UInt64?)] = [
            ("wall_nanoseconds", options.time?.clampedNanoseconds), ("cpu_nanoseconds", options.cpuTime?.clampedNanoseconds),
            ("memory_bytes", options.memory), ("pids", options.pids), ("disk_bytes", options.disk),
            ("stdout_bytes", stdout.map { UInt64($0) }), ("stderr_bytes", stderr.map { UInt64($0) }),
        ]
        limits = values.compactMap { name, value in value.map { (name, $0) } }
    }

    /// One JSON object, without a newline.
    public var json: String {
        var writer = JSONWriter()
        writer.object { record in
            record.string("time", AuditRecord.text(of: time))
            record.string("event", event.rawValue)
            record.string("user", user)
            record.integer("uid", uid)
            record.string("id", id)
            record.string("name", name)
            record.string("sha256", sha256)
            record.object("limits") { limits in
                for limit in limitPairs { limits.integer(limit.name, limit.value) }
            }
            record.string("verdict", verdict)
            record.integer("exit_code", exitCode)
            record.string("signal_name", signalName)
            if let usage { record.object("usage") { usage.write(to: &$0) } } else { record.string("usage", nil) }
            record.string("error", error)
        }
        return writer.text
    }

    /// RFC 3339, to the microsecond, UTC.
    static func text(of nanoseconds: Int64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func digits(_ value: some BinaryInteger, _ count: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let date = "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))"
        let clock = "\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2))"
        return "\(date)T\(clock).\(digits(nanoseconds % 1_000_000_000 / 1000, 6))Z"
    }
}
