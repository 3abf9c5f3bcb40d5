/// Samples in the order in which they are told, and the text of them that Prometheus reads (exposition format 0.0.4).
struct MetricsText {
    enum Kind: String { case counter, gauge, histogram }
    typealias Labels = [(name: String, value: String)]

    private(set) var text = ""
    /// Every sample but those of buckets, by its name with its labels.
    private(set) var samples: [(name: String, value: Double)] = []

    mutating func family(
        _ name: String, _ kind: Kind, _ help: String, _ samples: [(labels: Labels, value: Double)]
    ) {
        begin(name, kind, help)
        for sample in samples { add(name, sample.labels, sample.value) }
    }

    mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        family(name, kind, help, [([], value)])
    }

    mutating func histograms(_ name: String, _ help: String, _ histograms: [(labels: Labels, histogram: Histogram)]) {
        begin(name, .histogram, help)
        for (labels, histogram) in histograms {
            var count: UInt64 = 0
            for (index, bound) in histogram.bounds.enumerated() {
                count += histogram.counts[index]
                line(name + "_bucket", labels + [("le", MetricsText.number(bound))], Double(count))
            }
            line(name + "_bucket", labels + [("le", "+Inf")], Double(histogram.total))
            add(name + "_sum", labels, histogram.sum)
            add(name + "_count", labels, Double(histogram.total))
        }
    }

    private mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    private mutating func add(_ name: String, _ labels: Labels, _ value: Double) {
        samples.append((line(name, labels, value), value))
    }

    @discardableResult
    private mutating func line(_ name: String, _ labels: Labels, _ value: Double) -> String {
        let pairs = labels.map { "\($0.name)=\"\(MetricsText.escaped($0.value))\"" }.joined(separator: ",")
        let full = pairs.isEmpty ? name : "\(name){\(pairs)}"
        text += "\(full) \(MetricsText.number(value))\n"
        return full
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && value.magnitude < 1e15 ? "\(Int64(value))" : "\(value)"
    }

    private static func escaped(_ value: String) -> String {
        value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}
