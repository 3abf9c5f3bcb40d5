/// What came of writing to a program's stdin.
///
/// Taken means: in the program's pipe, whether or not it ever reads it. What was taken is never sent again; what was not
/// taken is forgotten here and never arrives, unless the caller writes it again.
public struct WriteOutcome: Sendable, Hashable {
    public enum End: Sendable, Hashable {
        /// Every byte was taken.
        case complete
        case timedOut
        /// The program has closed its stdin or ended, or the session has closed it.
        case closed
        /// The writing task was cancelled.
        case cancelled
    }

    public var end: End
    /// Bytes of this write that were taken: always the first ones.
    public var takenBytes: Int

    public var isComplete: Bool { end == .complete }

    public init(_ end: End, takenBytes: Int) {
        self.end = end
        self.takenBytes = takenBytes
    }
}
