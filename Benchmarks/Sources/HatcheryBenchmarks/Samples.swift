/// Durations of one measurement, in nanoseconds.
struct Samples {
    private(set) var values: [UInt64] = []

    mutating func append(_ value: UInt64) { values.append(value) }

    mutating func append(_ other: Samples) { values += other.values }

    var count: Int { values.count }

    /// Microseconds. Nearest rank, so that each figure is a duration that really was measured.
    func percentile(_ percent: Int) -> Double {
        guard !values.isEmpty else { return .nan }
        let rank = (values.count * percent + 99) / 100
        return Double(values.sorted()[max(0, rank - 1)]) / 1000
    }

    var median: Double { percentile(50) }
}
