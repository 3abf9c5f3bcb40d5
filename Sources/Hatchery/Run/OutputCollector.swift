/// Keeps at most `limit` bytes of a stream, the first or the last ones, and counts the rest. Memory stays near the limit,
/// however much comes.
package struct OutputCollector: Sendable {
    package enum Part: Sendable { case head, tail }

    private let limit: Int?
    private let part: Part
    private var buffer: [UInt8] = []
    /// Bytes that came.
    package private(set) var total: UInt64 = 0

    /// - Parameter limit: bytes; nil keeps everything, 0 nothing.
    package init(limit: Int?, part: Part) {
        self.limit = limit.map { max(0, $0) }
        self.part = part
    }

    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        total += UInt64(bytes.count)
        guard let limit else {
            buffer.append(contentsOf: bytes)
            return
        }
        switch part {
        case .head: buffer.append(contentsOf: bytes.prefix(limit - buffer.count))
        case .tail:
            buffer.append(contentsOf: bytes.suffix(limit))
            // Trimmed now and then, not at every read: each byte is moved once on average.
            if buffer.count >= 2 * limit + 65_536 { buffer.removeFirst(buffer.count - limit) }
        }
    }

    /// What was kept, at most `limit` bytes.
    package var kept: [UInt8] {
        guard part == .tail, let limit, buffer.count > limit else { return buffer }
        return Array(buffer.suffix(limit))
    }

    /// How the kept bytes read as text.
    package var text: StreamText {
        let kept = kept
        let isCut = total > UInt64(kept.count)
        return StreamText(kept, isCutAtStart: isCut && part == .tail, isCutAtEnd: isCut && part == .head)
    }
}
