import HatcheryProtocol

/// What the daemon counts as it goes. What can be looked up when somebody asks is not counted: see `MetricsPage`.
final class Metrics {
    struct Spawns {
        var hit = Histogram.spawn
        var miss = Histogram.spawn
    }

    struct Runs {
        var seconds = Histogram.run
        var verdicts: [Verdict: UInt64] = [:]
    }

    /// By zygote.
    private(set) var spawns: [String: Spawns] = [:]
    private(set) var runs: [String: Runs] = [:]
    var restarts: [String: UInt64] = [:]
    var refusals: [HatcheryError.Kind: UInt64] = [:]
    var holds: [Hold: UInt64] = [:]
    var queueSeconds = Histogram.wait
    var connections: UInt64 = 0
    /// System calls that a sandbox's policy refused, by name, as far as they are told.
    private(set) var denials: [String: UInt64] = [:]
    /// Names of system calls are few; whatever counts them cannot make this grow without end.
    private static let denialNames = 512

    func spawned(_ zygote: String, isHit: Bool, seconds: Double) {
        if isHit {
            spawns[zygote, default: Spawns()].hit.observe(seconds)
        } else {
            spawns[zygote, default: Spawns()].miss.observe(seconds)
        }
    }

    func ended(_ zygote: String, _ report: Ended) {
        runs[zygote, default: Runs()].seconds.observe(Double(report.wallNanoseconds) / 1e9)
        runs[zygote, default: Runs()].verdicts[report.verdict, default: 0] += 1
    }

    func denied(_ syscall: String, count: UInt64) {
        guard denials[syscall] != nil || denials.count < Metrics.denialNames else { return }
        denials[syscall, default: 0] += count
    }
}
