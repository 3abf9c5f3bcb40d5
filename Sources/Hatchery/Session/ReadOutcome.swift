/// What came of waiting for a line.
public enum ReadOutcome: Sendable, Hashable {
    case line(OutputLine)
    /// No whole line in time. What there is of one is kept, and comes with the rest of it.
    case timedOut
    /// The program has closed the stream or ended, and every line was read. Repeats itself.
    case endOfFile

    /// The line, where one came.
    public var line: OutputLine? { if case .line(let line) = self { line } else { nil } }
    /// The text of the line, where one came.
    public var text: String? { line?.text }
}
