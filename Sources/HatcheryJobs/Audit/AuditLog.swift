import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// Where audit records go. Any number of tasks and processes may write to the same place at once; lines do not mix.
public final class AuditLog: Sendable {
    public enum Destination: Sendable, Hashable {
        /// JSON lines at the end of a file, which is made with mode 0600 where it does not exist. Where it was renamed or removed
        /// meanwhile (logrotate), the next line begins a new one at the path.
        case file(String)
        /// JSON lines on our stderr.
        case standardError
        /// Fields for journald's socket; nil is its usual place.
        case journal(socket: String?)

        /// `stderr`, `journal`, or else the path of a file.
        public init(text: String) {
            switch text {
            case "stderr": self = .standardError
            case "journal": self = .journal(socket: nil)
            default: self = .file(text)
            }
        }
    }

    public let destination: Destination
    private let output: Mutex<Descriptor>

    /// Opens the destination, so that what cannot be audited is known before it runs.
    ///
    /// - Throws: `.invalidRequest` where that fails.
    public init(_ destination: Destination) throws(HatcheryError) {
        self.destination = destination
        do throws(SystemError) {
            output = Mutex(try AuditLog.open(destination))
        } catch {
            throw HatcheryError(client: error, kind: .invalidRequest, hint: "the audit must be writable before anything runs")
        }
    }

    /// Writes one record.
    ///
    /// - Throws: `.setupFailed` where it could not be written as a whole.
    public func write(_ record: AuditRecord) throws(HatcheryError) {
        let outcome: Result<Void, SystemError> = output.withLock { output in
            do throws(SystemError) {
                switch destination {
                case .file(let path):
                    if AuditLog.isElsewhere(output.raw, path) { output = try AuditLog.open(destination) }
                    try AuditLog.writeLine(output.raw, record)
                case .standardError: try AuditLog.writeLine(output.raw, record)
                case .journal: try Journal.send(record, output.raw)
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        if case .failure(let error) = outcome { throw HatcheryError(client: error, hint: "the audit record was not written") }
    }

    private static func open(_ destination: Destination) throws(SystemError) -> Descriptor {
        switch destination {
        case .file(let path):
            // SECURITY: a link planted at the path would have a privileged caller append to another file. Nonblocking: a FIFO
            // without a reader is an error, not a wait.
            let opened = try Files.open(
                path, flags: O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, mode: 0o600)
            try opened.setNonblocking(false)
            return opened
        case .standardError:
            return try Descriptor.duplicate(STDERR_FILENO)
        case .journal(let socket): return try MessageSocket.connectDatagram(path: socket ?? Journal.usualSocket)
        }
    }

    /// One write(2) for one line: with O_APPEND lines of several processes do not mix (open(2)).
    private static func writeLine(_ raw: Int32, _ record: AuditRecord) throws(SystemError) {
        try writeAll(raw, Array((record.json + "\n").utf8))
    }

    private static func isElsewhere(_ raw: Int32, _ path: String) -> Bool {
        var there = stat()
        guard let here = try? Files.status(raw), stat(path, &there) == 0 else { return true }
        return here.st_dev != there.st_dev || here.st_ino != there.st_ino
    }
}

/// journald's native protocol (systemd, "Native Journal Protocol"): a datagram of fields; one that is too large travels in a
/// sealed memfd.
enum Journal {
    static let usualSocket = "/run/systemd/journal/socket"

    static func send(_ record: AuditRecord, _ socket: Int32) throws(SystemError) {
        let bytes = fields(of: record)
        do throws(SystemError) {
            try MessageSocket.send(socket, bytes)
        } catch {
            guard error.errno == EMSGSIZE || error.errno == ENOBUFS else { throw error }
            let memory = try SealedMemory.make(name: "hatchery-audit", bytes: bytes)
            try MessageSocket.send(socket, [], descriptors: [memory.raw])
        }
    }

    static func fields(of record: AuditRecord) -> [UInt8] {
        var bytes: [UInt8] = []
        func append(_ name: String, _ value: String?) {
            guard let value else { return }
            let text = Array(value.utf8)
            if text.contains(UInt8(ascii: "\n")) {
                // Length first: what stands in a value is never read as another field.
                bytes += Array(name.utf8) + [UInt8(ascii: "\n")]
                withUnsafeBytes(of: UInt64(text.count).littleEndian) { bytes.append(contentsOf: $0) }
            } else {
                bytes += Array(name.utf8) + [UInt8(ascii: "=")]
            }
            bytes += text + [UInt8(ascii: "\n")]
        }
        append("MESSAGE", "\(record.event.rawValue) \(record.name): \(record.verdict)")
        append("PRIORITY", record.error == nil ? "6" : "4")
        append("SYSLOG_IDENTIFIER", "hatchery")
        append("HATCHERY_EVENT", record.event.rawValue)
        append("HATCHERY_USER", record.user)
        append("HATCHERY_UID", "\(record.uid)")
        append("HATCHERY_ID", record.id)
        append("HATCHERY_NAME", record.name)
        append("HATCHERY_SHA256", record.sha256)
        append("HATCHERY_VERDICT", record.verdict)
        append("HATCHERY_EXIT_CODE", record.exitCode.map { "\($0)" })
        append("HATCHERY_SIGNAL", record.signalName)
        append("HATCHERY_ERROR", record.error)
        append("HATCHERY_RECORD", record.json)
        return bytes
    }
}
