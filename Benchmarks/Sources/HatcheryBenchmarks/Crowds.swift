import Foundation
import Hatchery

/// Many at once: what a nursery takes to fill again, and bursts of requests.
struct Crowds {
    let options: Options

    func addRows(to report: inout Report) async throws {
        try await addRefill(to: &report)
        try await addBursts(to: &report)
    }

    // MARK: Refill

    /// How long a nursery takes to be full again after a burst has emptied it, for each child.
    private func addRefill(to report: inout Report) async throws {
        let section = "Refill of the nursery, for each child"
        let client = try await HatcheryClient.connect(socketPath: options.socket)
        defer { client.close() }
        for (zygote, name) in [("exec", "exec"), ("pandas", "Python with pandas")] {
            progress("refill of \(zygote)")
            var samples = Samples()
            for _ in 0..<(options.isQuick ? 10 : 100) {
                // All of them, however many a flood before has made it keep; then until the configured ones are back.
                let taken = try await parked(zygote, on: client)
                let start = now()
                for _ in 0..<taken {
                    _ = try await client.spawn(
                        zygote == "exec" ? .program("/bin/true") : .python(code: ""), LifePlan.sandbox(zygote))
                }
                _ = try await parked(zygote, on: client)
                samples.append((now() - start) / UInt64(Crowds.smallestNursery))
            }
            report.add(Row(section, "\(name): all taken, until \(Crowds.smallestNursery) are parked again", samples))
        }
    }

    /// `nursery.min` of run.sh.
    private static let smallestNursery = 8

    private func parked(_ zygote: String, on client: HatcheryClient) async throws -> Int {
        let deadline = now() + 60_000_000_000
        while now() < deadline {
            if let listing = try await client.zygotes().first(where: { $0.name == zygote }), listing.parked >= Crowds.smallestNursery {
                return Int(listing.parked)
            }
            pause(milliseconds: 1)
        }
        throw BenchmarkError("the nursery of \(zygote) did not fill within 60 s")
    }

    // MARK: Bursts

    private func addBursts(to report: inout Report) async throws {
        let section = "Bursts: all requests at once, 8 connections, until the last one is there"
        for (zygote, name) in [("exec", "/bin/true"), ("pandas", "Python with pandas, print(1)")] {
            for count in [100, options.isQuick ? 300 : 1000] {
                let burst = try await burst(count, zygote)
                report.add(Row(section, "\(count) x \(name): last pid in hand", figure: burst.handed, unit: "ms", samples: count))
                report.add(
                    Row(
                        section, "\(count) x \(name): last sandbox gone", figure: burst.ended, unit: "ms", samples: count,
                        note: "\(burst.hits) hits"))
            }
        }
    }

    private func burst(_ count: Int, _ zygote: String) async throws -> (handed: Double, ended: Double, hits: Int) {
        progress("a burst of \(count) of \(zygote)")
        pause(milliseconds: 500)  // so that the nursery is full
        var clients: [HatcheryClient] = []
        for _ in 0..<8 { clients.append(try await HatcheryClient.connect(socketPath: options.socket)) }
        let payload = zygote == "exec" ? Payload.program("/bin/true") : .python(code: "print(1)")
        let start = now()
        let lives = try await withThrowingTaskGroup(of: Life.self) { group in
            for index in 0..<count {
                let client = clients[index % clients.count]
                group.addTask { try await Life.lead(payload, in: zygote, on: client, readsFirstByte: false) }
            }
            return try await group.reduce(into: [Life]()) { $0.append($1) }
        }
        let ended = Double(now() - start) / 1e6
        for client in clients { client.close() }
        // Each life counts from its own request, and all requests are made within the first moments.
        return (Double(lives.map(\.handOff).max() ?? 0) / 1e6, ended, lives.filter(\.isHit).count)
    }
}
