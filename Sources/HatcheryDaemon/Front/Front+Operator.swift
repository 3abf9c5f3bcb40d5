import Glibc
import HatcheryProtocol

/// What operators ask: the log and the figures.
extension Front {
    func answerOperator(_ frame: Frame, _ client: ClientConnection) throws(HatcheryError) {
        switch frame.kind {
        case .logs:
            let lines = logs.lines(after: try firstField(of: frame, for: client))
            send(lines, .logLines, frame, client) { $0.encode(into: &$1) }
        case .statistics:
            _ = try firstField(of: frame, for: client)
            let statistics = metricsPage().samples.map { Statistic(name: $0.name, value: $0.value) }
            send(statistics, .statisticsListing, frame, client) { $0.encode(into: &$1) }
        default:
            throw HatcheryError(.malformed, side: .front, detail: "\(frame.kind) is not a request of this version")
        }
    }

    private func send<Record>(
        _ records: [Record], _ kind: FrameKind, _ frame: Frame, _ client: ClientConnection,
        _ encode: (Record, inout FieldWriter) -> Void
    ) {
        client.send(Frame(kind: kind, request: frame.request, body: Front.fitting(records, encode)))
    }

    /// SECURITY: the log and the figures tell of everybody's sandboxes, so they are for root and the daemon's own user.
    /// Test: the_log_is_for_root_and_the_daemons_own_user.
    private func firstField(of frame: Frame, for client: ClientConnection) throws(HatcheryError) -> UInt64 {
        guard client.uid == 0 || client.uid == geteuid() else {
            throw HatcheryError(
                .notPermitted, side: .front, detail: "only root and the daemon's own user may see this",
                hint: "use sudo; `hatchery ps` shows your own sandboxes")
        }
        do throws(FieldError) {
            return try FieldReader.reading(frame.body) { reader throws(FieldError) in
                var reader = reader
                var value: UInt64 = 0
                while let field = try reader.next() {
                    guard field.tag == 1, frame.kind == .logs else { throw .unknownTag(field.tag) }
                    value = try field.integer()
                }
                return value
            }
        } catch {
            throw HatcheryError(.malformed, side: .front, detail: error.description)
        }
    }

    // MARK: What is told of a spawn

    /// The words by which a spawn is found in the log.
    func metadata(_ sandbox: Sandbox) -> [String: String] {
        var words = ["id": sandbox.id, "uid": "\(sandbox.client.uid)", "zygote": sandbox.zygote.name]
        if let trace = sandbox.request.traceParent { words["traceparent"] = trace.description }
        return words
    }
}
