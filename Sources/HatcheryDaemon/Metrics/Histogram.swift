/// How often a value was at most so much: counts by fixed bounds, as Prometheus adds them up.
struct Histogram: Sendable {
    let bounds: [Double]
    private(set) var counts: [UInt64]
    private(set) var sum = 0.0

    /// - Parameter bounds: rising.
    init(bounds: [Double]) {
        self.bounds = bounds
        // The last one is for all above.
        counts = [UInt64](repeating: 0, count: bounds.count + 1)
    }

    mutating func observe(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }

    var total: UInt64 { counts.reduce(0, +) }

    /// From 50 us, a parked child handed over, to a setup that nearly fails its deadline.
    static let spawn = Histogram(
        bounds: [
            0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1,
            0.25, 0.5, 1, 2.5, 5, 10, 30,
        ])
    /// From a program that does nothing to the longest limit that is usual.
    static let run = Histogram(
        bounds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600])
    static let wait = Histogram(bounds: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60])
}
