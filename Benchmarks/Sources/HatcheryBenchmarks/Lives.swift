import Foundation
import Hatchery

/// `hatchery-benchmarks lives --socket PATH --zygote NAME [--seconds N] [--connections N] [--pause MS]`: nothing but lives of one kind, for a
/// profiler beside it.
struct Lives {
    var socket = ""
    var zygote = "python"
    var seconds = 10
    var connections = 1
    /// Milliseconds between two lives: time for a nursery to fill again.
    var pauseMilliseconds = 0

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        while let flag = rest.popFirst() {
            guard let value = rest.popFirst() else { throw BenchmarkError("\(flag) needs a value") }
            switch flag {
            case "--socket": socket = value
            case "--zygote": zygote = value
            case "--seconds": seconds = Int(value) ?? 10
            case "--pause": pauseMilliseconds = Int(value) ?? 0
            case "--connections": connections = Int(value) ?? 1
            default: throw BenchmarkError("unknown option \(flag)")
            }
        }
    }

    func lead() async throws {
        let deadline = now() + UInt64(seconds) * 1_000_000_000
        let series = try await withThrowingTaskGroup(of: (LifeSeries, Int).self) { group in
            for _ in 0..<connections {
                group.addTask {
                    let client = try await HatcheryClient.connect(socketPath: socket)
                    defer { client.close() }
                    var own = LifeSeries()
                    var hits = 0
                    let payload = zygote.hasPrefix("exec") ? Payload.program("/bin/true") : .python(code: "print(1)")
                    while now() < deadline {
                        let life = try await Life.lead(
                            payload, in: zygote, on: client, readsFirstByte: !zygote.hasPrefix("exec"))
                        own.append(life)
                        if life.isHit { hits += 1 }
                        if pauseMilliseconds > 0 { pause(milliseconds: pauseMilliseconds) }
                    }
                    return (own, hits)
                }
            }
            var all = LifeSeries()
            var hits = 0
            for try await (own, some) in group {
                all.append(contentsOf: own)
                hits += some
            }
            return (all, hits)
        }
        let (lives, hits) = series
        let rate = Double(lives.handOff.count) / Double(seconds)
        print(
            String(
                format: "%.0f lives/s, %d hits of %d; p50: hand-off %.0f us (p90 %.0f), front %.0f us, first byte %.0f us, ended %.0f us, CPU %.0f us",
                rate, hits, lives.handOff.count, lives.handOff.median, lives.handOff.percentile(90), lives.front.median,
                lives.firstByte.median, lives.ended.median, lives.cpu.median))
    }
}
