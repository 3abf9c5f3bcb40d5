import Hatchery

/// Full lives per second, from the request to `ended`: the tear-down is inside.
struct Rates {
    let options: Options

    struct Rate: Sendable {
        var lives = 0
        var hits = 0
        var perSecond = 0.0
    }

    private static let goalPerSecond = 800.0

    func addRows(to report: inout Report) async throws {
        let section = "Sustained full lives per second: Python with pandas, print(1), all layers, tear-down inside"
        for (connections, zygote, name) in [
            (1, "pandas", "1 connection, with nursery"), (8, "pandas", "8 connections, with nursery"),
            (1, "pandas-miss", "1 connection, without nursery"), (8, "pandas-miss", "8 connections, without nursery"),
        ] {
            let rate = try await measure(connections: connections, zygote: zygote)
            var goals: [Goal] = []
            if connections == 8 && zygote == "pandas" {
                goals = [.atLeast(Rates.goalPerSecond, ">= 800/s", rate.perSecond)]
            }
            report.add(
                Row(
                    section, name, figure: rate.perSecond, unit: "/s", samples: rate.lives, goals: goals,
                    note: zygote == "pandas" ? "\(rate.hits) hits, \(rate.lives - rate.hits) misses" : nil))
        }
    }

    private func measure(connections: Int, zygote: String) async throws -> Rate {
        progress("\(options.rateSeconds) s of lives of \(zygote), \(connections) connections")
        var clients: [HatcheryClient] = []
        for _ in 0..<connections { clients.append(try await HatcheryClient.connect(socketPath: options.socket)) }
        let start = now()
        let deadline = start + UInt64(options.rateSeconds) * 1_000_000_000
        var rate = try await withThrowingTaskGroup(of: Rate.self) { group in
            for client in clients {
                group.addTask {
                    var own = Rate()
                    while now() < deadline {
                        let life = try await Life.lead(
                            .python(code: "print(1)"), in: zygote, on: client, readsFirstByte: false)
                        own.lives += 1
                        if life.isHit { own.hits += 1 }
                    }
                    return own
                }
            }
            return try await group.reduce(into: Rate()) { $0.lives += $1.lives; $0.hits += $1.hits }
        }
        // Until the last one has ended, not until the deadline.
        rate.perSecond = Double(rate.lives) / (Double(now() - start) / 1e9)
        for client in clients { client.close() }
        pause(milliseconds: 500)  // the network namespaces of the dead are still being taken down
        return rate
    }
}
