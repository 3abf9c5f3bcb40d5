import Foundation
import Hatchery

/// The spawn time against what was preloaded, with and without the frozen heap: the plot.
struct Ballast {
    let options: Options

    /// MiB, as run.sh names the zygotes: frozen-256, unfrozen-256, ...
    static let sizes = [0, 256, 512, 1024]
    private static let goal = 1.05

    func addRows(to report: inout Report) async throws {
        guard let socket = options.ballastSocket else { return }
        let section = "Spawn time against preloaded objects: bare Python, without nursery, request -> pid in hand"
        let client = try await HatcheryClient.connect(socketPath: socket)
        defer { client.close() }
        let names = ["frozen", "unfrozen"].flatMap { kind in Ballast.sizes.map { "\(kind)-\($0)" } }
        let plans = names.map {
            LifePlan(zygote: $0, payload: .python(code: "print(1)"), wantsHit: false, readsFirstByte: true, pauseMilliseconds: 2)
        }
        let series = try await LifePlan.measureInTurn(plans, options.isQuick ? 40 : 2000, on: client)
        let medians = Dictionary(uniqueKeysWithValues: zip(names, series.map(\.handOff.median)))
        for (name, own) in zip(names, series) {
            let parts = name.split(separator: "-")
            let ratio = own.handOff.median / (medians["frozen-0"] ?? .nan)
            report.add(
                Row(
                    section, "\(parts[1]) MiB, \(parts[0])", own.handOff,
                    goals: name == "frozen-1024" ? [.atMost(Ballast.goal, "p50 + 5 % at most of 0 MiB", ratio)] : []))
        }
        if let path = options.plot {
            let lines = ["frozen", "unfrozen"].map { kind in
                Plot.Line(
                    name: kind == "frozen" ? "frozen heap" : "freeze: false",
                    points: Ballast.sizes.map { (Double($0), (medians["\(kind)-\($0)"] ?? .nan) / 1000) })
            }
            let plot = Plot(
                title: "Spawn time against preloaded memory", horizontal: "preloaded, MiB", vertical: "request to pid in hand, ms (p50)",
                lines: lines)
            try plot.svg().write(toFile: path, atomically: true, encoding: .utf8)
            progress("plot: \(path)")
        }
    }
}
