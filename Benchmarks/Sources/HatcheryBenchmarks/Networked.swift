import Foundation
import Hatchery

/// What a network adds to a spawn: sandboxes with `nat` beside ones without, of one daemon, in turn.
///
/// Its own line of the command: `hatchery-benchmarks networked --socket PATH [--samples N]`, against a daemon with the zygotes
/// `exec`, `exec-nat`, `exec-miss`, `exec-nat-miss`, of which those with `nat` have a networked profile.
struct Networked {
    let socket: String
    let samples: Int

    private static let goal = 2.0

    init(socket: String, samples: Int) {
        self.socket = socket
        self.samples = samples
    }

    init(_ arguments: [String]) throws {
        var (socket, samples) = ("", 500)
        var rest = arguments[...]
        while let flag = rest.popFirst() {
            guard let value = rest.popFirst() else { throw BenchmarkError("\(flag) needs a value") }
            switch flag {
            case "--socket": socket = value
            case "--samples": samples = Int(value) ?? samples
            default: throw BenchmarkError("unknown option \(flag)")
            }
        }
        self.init(socket: socket, samples: samples)
    }

    func addRows(to report: inout Report) async throws {
        let section = "Networked sandboxes: /bin/true with nat, beside one without a network"
        let client = try await HatcheryClient.connect(socketPath: socket)
        defer { client.close() }
        // The first networked one waits for the network to be made.
        do {
            _ = try await Life.lead(.program("/bin/true"), in: "exec-nat-miss", on: client, readsFirstByte: false)
        } catch let error as HatcheryError {
            report.add(Row(section, "not measured: no network here", figure: .nan, unit: "us", samples: 0, note: error.detail))
            return
        }
        for wantsHit in [true, false] {
            let plans = ["exec", "exec-nat"].map {
                LifePlan(
                    zygote: wantsHit ? $0 : $0 + "-miss", payload: .program("/bin/true"), wantsHit: wantsHit,
                    readsFirstByte: false, pauseMilliseconds: LifePlan.pauseMilliseconds(wantsHit))
            }
            let series = try await LifePlan.measureInTurn(plans, samples, on: client)
            add(section, wantsHit ? "hit" : "miss", plain: series[0], networked: series[1], to: &report)
        }
    }

    private func add(
        _ section: String, _ kind: String, plain: LifeSeries, networked: LifeSeries, to report: inout Report
    ) {
        func goal(_ part: KeyPath<LifeSeries, Samples>) -> [Goal] {
            [.atMost(Networked.goal, "p50 <= 2 times that without", networked[keyPath: part].median / plain[keyPath: part].median)]
        }
        report.add(Row(section, "\(kind), none: request -> pid and descriptors in hand", plain.handOff, note: plain.note))
        report.add(
            Row(
                section, "\(kind), nat: request -> pid and descriptors in hand", networked.handOff, goals: goal(\.handOff),
                note: networked.note))
        report.add(Row(section, "\(kind), none: request -> sandbox gone", plain.ended))
        report.add(Row(section, "\(kind), nat: request -> sandbox gone", networked.ended, goals: goal(\.ended)))
    }
}
