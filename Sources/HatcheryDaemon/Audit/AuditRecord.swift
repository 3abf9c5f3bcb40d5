import Glibc
import HatcheryProtocol
import HatcherySystem

/// One line of the audit: who asked for what, under which limits, and how it ended. There is no field for content: arguments,
/// environment and output are never told.
struct AuditRecord {
    enum Event: String { case spawn, end, refused }

    let event: Event
    let time: UInt64
    let peer: Peer
    /// Nil where a request was refused before anything was made of it.
    let sandbox: Sandbox?
    /// With `end`.
    var report: Ended?
    /// With `refused`.
    var error: HatcheryError?

    init(_ event: Event, _ sandbox: Sandbox, report: Ended? = nil, error: HatcheryError? = nil) {
        self.init(event, peer: sandbox.client.peer, sandbox: sandbox)
        self.report = report
        self.error = error
    }

    init(refused peer: Peer, _ error: HatcheryError) {
        self.init(.refused, peer: peer, sandbox: nil)
        self.error = error
    }

    private init(_ event: Event, peer: Peer, sandbox: Sandbox?) {
        self.event = event
        self.peer = peer
        self.sandbox = sandbox
        time = UnixClock.now()
    }

    var json: String {
        var writer = JSONWriter()
        writer.object { record in
            record.string("time", RFC3339.text(time))
            record.string("event", event.rawValue)
            record.integer("uid", peer.uid)
            record.integer("gid", peer.gid)
            record.integer("pid", peer.pid)
            record.string("id", sandbox?.id)
            record.string("name", sandbox?.request.title)
            record.string("zygote", sandbox?.request.zygote)
            record.string("profile", sandbox?.granted.profileName)
            record.string("network", sandbox?.granted.network.name)
            record.bool("detached", sandbox?.request.detached)
            record.string("traceparent", sandbox?.request.traceParent?.description)
            record.object("limits") { limits in
                guard let granted = sandbox?.granted.limits else { return }
                limits.integer("wall_nanoseconds", granted.wallNanoseconds)
                limits.integer("cpu_nanoseconds", granted.cpuNanoseconds)
                limits.integer("memory_bytes", granted.memoryBytes)
                limits.integer("pids", granted.processes)
                limits.integer("disk_bytes", granted.diskBytes)
            }
            writeOutcome(&record)
        }
        return writer.text
    }

    private func writeOutcome(_ record: inout JSONWriter) {
        switch event {
        case .spawn:
            record.bool("nursery_hit", sandbox?.isNurseryHit)
            record.number("spawn_seconds", sandbox.map { Double($0.spawnNanoseconds) / 1e9 })
        case .refused:
            record.string("verdict", "refused")
            record.string("error", error.map { "\($0)".oneLine })
        case .end:
            guard let report else { return }
            record.string("verdict", report.verdict.name)
            record.integer("exit_code", report.exitCode)
            record.string("signal_name", report.signal.map { Signals.name($0) })
            record.string("limit", report.limit.isEmpty ? nil : report.limit)
            record.object("usage") { usage in
                usage.number("wall_seconds", Double(report.wallNanoseconds) / 1e9)
                usage.number("cpu_seconds", Double(report.cpuNanoseconds) / 1e9)
                usage.integer("peak_memory_bytes", report.peakMemoryBytes)
                usage.integer("peak_pids", report.peakProcesses)
            }
        }
    }

    /// For journald: what is searched by, and the whole record.
    var journalFields: [(name: String, value: String)] {
        let verdict = report?.verdict.name ?? (event == .refused ? "refused" : "running")
        var fields = [
            ("MESSAGE", "\(event.rawValue) \(sandbox?.id ?? "-") for uid \(peer.uid): \(verdict)"),
            ("PRIORITY", event == .refused ? "4" : "6"), ("SYSLOG_IDENTIFIER", "hatcheryd"),
            ("HATCHERY_EVENT", event.rawValue), ("HATCHERY_UID", "\(peer.uid)"), ("HATCHERY_ID", sandbox?.id ?? "-"),
            ("HATCHERY_VERDICT", verdict), ("HATCHERY_RECORD", json),
        ]
        if let trace = sandbox?.request.traceParent { fields.append(("HATCHERY_TRACEPARENT", trace.description)) }
        return fields
    }
}
