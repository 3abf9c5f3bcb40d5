/// The size of a terminal in characters; 0 means that nobody knows.
public struct TerminalSize: Sendable, Hashable {
    public var rows: UInt16
    public var columns: UInt16

    public init(rows: UInt16 = 24, columns: UInt16 = 80) {
        self.rows = rows
        self.columns = columns
    }

    /// As it travels: rows in the upper half, columns in the lower.
    package var packed: UInt32 { UInt32(rows) << 16 | UInt32(columns) }

    package init(packed: UInt32) {
        rows = UInt16(packed >> 16)
        columns = UInt16(truncatingIfNeeded: packed)
    }
}
