/// The place of a request in its caller's trace: `traceparent` of W3C Trace Context, which the daemon writes into its log and
/// audit as it came.
public struct TraceParent: Sendable, Hashable, CustomStringConvertible {
    public let description: String

    static let bytes = 55

    /// - Returns: nil where the text is not a traceparent. The recommendation wants one ignored that is not, and of a version
    ///   to come what is known: 00-TRACE-PARENT-FLAGS, in lower-case hexadecimal digits, no id all zeros, version not ff.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        let isKnown = bytes.count == TraceParent.bytes
        guard isKnown || (bytes.count > TraceParent.bytes && bytes[TraceParent.bytes] == UInt8(ascii: "-")),
            bytes.count <= 128, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return nil }
        let parts = bytes.prefix(TraceParent.bytes).split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.map(\.count) == [2, 32, 16, 2], parts.allSatisfy({ $0.allSatisfy(TraceParent.isDigit) }),
            !parts[1].allSatisfy({ $0 == UInt8(ascii: "0") }), !parts[2].allSatisfy({ $0 == UInt8(ascii: "0") })
        else { return nil }
        let version = String(decoding: parts[0], as: UTF8.self)
        guard version != "ff", isKnown || version != "00" else { return nil }
        description = String(decoding: bytes.prefix(TraceParent.bytes), as: UTF8.self)
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}
