import Glibc
import HatcheryProtocol
import HatcherySystem
import Logging

/// Writes the audit: a line of JSON for every program that began, for its end, and for every spawn that was refused.
///
/// A line that cannot be written is counted and logged, and stops nobody.
final class Audit {
    /// How often it is looked whether the file was renamed (logrotate).
    static let lookNanoseconds: UInt64 = 1_000_000_000

    private let target: AuditConfiguration.Target
    private let log: Logger
    private var output: Descriptor?
    private var lookedAt: UInt64 = 0
    private var isFailing = false
    private(set) var failures: UInt64 = 0

    /// - Throws: where the file cannot be opened: what cannot be audited is known before it runs.
    init(_ configuration: AuditConfiguration, log: Logger) throws(SystemError) {
        target = configuration.to
        self.log = log
        output = try Audit.open(target)
    }

    var isOn: Bool { target != .none }

    private static func open(_ target: AuditConfiguration.Target) throws(SystemError) -> Descriptor? {
        switch target {
        case .none, .stderr: return nil
        case .journald: return try DatagramSocket.connect(JournalSocket.path)
        case .file(let path):
            // SECURITY: a link that somebody planted at the path would have root append to another file; a FIFO would stop
            // the loop. Test: theAuditFollowsNoLink.
            let file = try Files.open(path, flags: O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, mode: 0o640)
            guard try Files.status(file.raw).st_mode & S_IFMT == S_IFREG else {
                throw SystemError("open", errno: EINVAL, subject: "\(path) is not a regular file")
            }
            return file
        }
    }

    func write(_ record: AuditRecord) {
        guard isOn else { return }
        do throws(SystemError) {
            try deliver(record)
            isFailing = false
        } catch {
            failures += 1
            // Once, not with every line: a full disk has enough to bear.
            if !isFailing { log.error("the audit cannot be written: \(error)") }
            isFailing = true
        }
    }

    private func deliver(_ record: AuditRecord) throws(SystemError) {
        switch target {
        case .none: return
        // One write for one line: with O_APPEND lines of several processes do not mix (open(2)).
        case .stderr: try writeAll(STDERR_FILENO, Array((record.json + "\n").utf8))
        case .file(let path):
            try reopenIfMoved(path)
            try writeAll(output?.raw ?? -1, Array((record.json + "\n").utf8))
        case .journald:
            let bytes = JournalSocket.encode(record.journalFields)
            if output == nil { output = try DatagramSocket.connect(JournalSocket.path) }
            do throws(SystemError) {
                guard try JournalSocket.send(bytes, to: output?.raw ?? -1) else { throw SystemError("sendmsg", errno: EAGAIN) }
            } catch {
                // journald may have been restarted; the next line finds the new one.
                output = nil
                throw error
            }
        }
    }

    private func reopenIfMoved(_ path: String) throws(SystemError) {
        let now = MonotonicClock.now()
        guard output == nil || now - lookedAt >= Audit.lookNanoseconds else { return }
        lookedAt = now
        var there = stat()
        if let raw = output?.raw, let here = try? Files.status(raw), stat(path, &there) == 0, here.st_dev == there.st_dev,
            here.st_ino == there.st_ino
        {
            return
        }
        output = nil
        output = try Audit.open(target)
    }
}
