/// A line that a program wrote.
public struct OutputLine: Sendable, Hashable {
    /// Which of the program's streams.
    public enum Stream: Sendable, Hashable, CaseIterable {
        case stdout
        case stderr
    }

    public var stream: Stream
    /// Without the newline; at most the line limit, and of a longer line the last bytes.
    public var bytes: [UInt8]
    /// Bytes that came before `bytes` and behind the line before, and were not kept.
    public var droppedBytes: UInt64
    /// Whether a newline ended it; false for what stood at the end of the stream without one.
    public var isTerminated: Bool

    public init(_ stream: Stream, _ bytes: [UInt8], droppedBytes: UInt64 = 0, isTerminated: Bool = true) {
        self.stream = stream
        self.bytes = bytes
        self.droppedBytes = droppedBytes
        self.isTerminated = isTerminated
    }

    /// UTF-8 with invalid bytes dropped; a code point that the line limit split is gone.
    public var text: String { StreamText(bytes, isCutAtStart: droppedBytes > 0).string }
}

/// Some bytes that a program wrote, as they came.
public struct OutputChunk: Sendable, Hashable {
    public var stream: OutputLine.Stream
    /// Never empty.
    public var bytes: [UInt8]

    public init(_ stream: OutputLine.Stream, _ bytes: [UInt8]) {
        self.stream = stream
        self.bytes = bytes
    }
}
