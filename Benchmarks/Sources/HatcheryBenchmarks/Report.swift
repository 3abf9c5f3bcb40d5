import Foundation

/// A comparison with what DESIGN section 10 promises.
struct Goal: Encodable {
    let text: String
    let ratio: Double
    let limit: Double
    let met: Bool

    /// - Parameters:
    ///   - text: the goal as a reader knows it.
    ///   - ratio: the measured figure, in the goal's unit.
    static func atMost(_ limit: Double, _ text: String, _ ratio: Double) -> Goal {
        Goal(text: text, ratio: ratio, limit: limit, met: ratio <= limit)
    }

    static func atLeast(_ limit: Double, _ text: String, _ ratio: Double) -> Goal {
        Goal(text: text, ratio: ratio, limit: limit, met: ratio >= limit)
    }
}

/// One line of the report.
struct Row: Encodable {
    let section: String
    let name: String
    let unit: String
    let samples: Int
    let p50: Double
    var p90: Double?
    var p99: Double?
    var goals: [Goal] = []
    var note: String?

    /// Durations, in microseconds.
    init(_ section: String, _ name: String, _ samples: Samples, goals: [Goal] = [], note: String? = nil) {
        self.section = section
        self.name = name
        unit = "us"
        self.samples = samples.count
        p50 = samples.percentile(50)
        p90 = samples.percentile(90)
        p99 = samples.percentile(99)
        self.goals = goals
        self.note = note
    }

    /// One figure that has no percentiles.
    init(
        _ section: String, _ name: String, figure: Double, unit: String, samples: Int, goals: [Goal] = [],
        note: String? = nil
    ) {
        self.section = section
        self.name = name
        self.unit = unit
        self.samples = samples
        p50 = figure
        self.goals = goals
        self.note = note
    }
}

struct Report: Encodable {
    let host: HostFacts
    let quick: Bool
    var loadAfter = 0.0
    var rows: [Row] = []

    mutating func add(_ row: Row) { rows.append(row) }

    func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try encoder.encode(self)
    }

    func text() -> String {
        var lines = host.lines
        lines.append("load average \(short(host.load)) before, \(short(loadAfter)) after")
        if quick { lines.append("quick run: a p99 stands on few samples") }
        var section = ""
        for row in rows {
            if row.section != section {
                section = row.section
                lines += ["", section, Report.line("", "n", "p50", "p90", "p99", "", "goal: measured")]
            }
            lines += Report.lines(of: row)
        }
        let goals = rows.flatMap(\.goals)
        lines += ["", "\(goals.filter(\.met).count) of \(goals.count) goals met"]
        return lines.joined(separator: "\n") + "\n"
    }

    private static func lines(of row: Row) -> [String] {
        let goals = row.goals.map { "\($0.text): \(short($0.ratio)) \($0.met ? "met" : "MISSED")" }
        var lines = [
            line(
                row.name, "\(row.samples)", short(row.p50), row.p90.map(short) ?? "", row.p99.map(short) ?? "", row.unit,
                goals.first ?? "")
        ]
        for goal in goals.dropFirst() { lines.append(line("", "", "", "", "", "", goal)) }
        if let note = row.note { lines.append("    (\(note))") }
        return lines
    }

    private static func line(
        _ name: String, _ count: String, _ p50: String, _ p90: String, _ p99: String, _ unit: String, _ goal: String
    ) -> String {
        let cells = [count, p50, p90, p99].map { String(repeating: " ", count: max(0, 8 - $0.count)) + $0 }
        let padded = name + String(repeating: " ", count: max(0, 50 - name.count))
        let text = padded + cells.joined(separator: " ") + " " + unit
        guard !goal.isEmpty else { return text }
        return text + String(repeating: " ", count: max(1, 92 - text.count)) + goal
    }
}

/// Three digits or more, as few decimals as that takes.
func short(_ value: Double) -> String {
    let magnitude = abs(value)
    let decimals = magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : 2
    return String(format: "%.\(decimals)f", value)
}
