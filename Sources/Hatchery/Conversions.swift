import HatcheryProtocol
import HatcherySystem

extension HatcheryError {
    /// A system call of the client's own that failed.
    package init(client error: SystemError, kind: Kind = .setupFailed, hint: String = "") {
        let detail = error.subject.isEmpty ? error.call : "\(error.call) \(error.subject)"
        self.init(kind, side: .client, errno: error.errno, detail: detail, hint: hint)
    }
}

extension Duration {
    /// Rounded down; negative ones count as 0, and what does not fit as the longest span of the wire.
    package var clampedNanoseconds: UInt64 {
        let parts = components
        if parts.seconds < 0 || parts.attoseconds < 0 { return 0 }
        if parts.seconds >= Int64(RequestBounds.longestNanoseconds / 1_000_000_000) {
            return RequestBounds.longestNanoseconds
        }
        return UInt64(parts.seconds) * 1_000_000_000 + UInt64(parts.attoseconds / 1_000_000_000)
    }
}
