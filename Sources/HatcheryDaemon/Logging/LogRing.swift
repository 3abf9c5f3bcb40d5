import HatcheryProtocol

/// The last lines of the log, for `hatchery logs`. A line's number never comes twice, so that a reader knows what it missed.
struct LogRing {
    static let lineLimit = 2000
    static let lineBytes = 4096

    private var lines: [LogLine?] = Array(repeating: nil, count: LogRing.lineLimit)
    private(set) var last: UInt64 = 0

    mutating func append(time: UInt64, level: UInt8, text: String) {
        last += 1
        let short = text.utf8.count > LogRing.lineBytes ? text.prefix(bytes: LogRing.lineBytes) : text
        lines[Int(last % UInt64(LogRing.lineLimit))] = LogLine(number: last, unixNanoseconds: time, level: level, text: short)
    }

    /// Those that came after the one of that number, the oldest first.
    func lines(after number: UInt64) -> [LogLine] {
        let first = max(number + 1, last >= UInt64(LogRing.lineLimit) ? last - UInt64(LogRing.lineLimit) + 1 : 1)
        guard first <= last else { return [] }
        return (first...last).compactMap { lines[Int($0 % UInt64(LogRing.lineLimit))] }
    }
}
