import Foundation
import Hatchery

/// Spawns while thousands of children live.
///
/// `hatchery-benchmarks live --socket PATH [--quick]` is this section alone, against a daemon with a zygote exec-miss.
struct LiveChildren {
    let options: Options

    private static let goal = 1.25
    private static let section = "Spawn of /bin/true, without nursery, while others live (sleep, in sandboxes of their own)"
    /// After that many have come or gone the daemon has work to do that is no spawn's: cgroups to make, namespaces to take down.
    private static let settlingMilliseconds = 2000

    /// A spawn takes longer the more others live, and 5,000 of them a minute: not for a quick run.
    private var counts: [Int] { options.isQuick ? [10, 300] : [10, 1000, 5000] }

    func addRows(to report: inout Report) async throws {
        let client = try await HatcheryClient.connect(socketPath: options.socket)
        defer { client.close() }
        let crowd = try await HatcheryClient.connect(socketPath: options.socket)
        defer { crowd.close() }  // ends all of them
        var sleepers: [Child] = []
        var atTen = 0.0
        for count in counts {
            progress("\(count) live children")
            let refusal = await fill(&sleepers, until: count, on: crowd)
            if let refusal {
                // Some room for the spawns that are measured.
                for _ in 0..<min(20, sleepers.count) {
                    let last = sleepers.removeLast()
                    try await last.kill()
                    _ = try await last.wait()
                }
                report.add(
                    Row(
                        LiveChildren.section, "\(count) live: only \(sleepers.count) came to live (\(refusal))", figure: .nan,
                        unit: "us", samples: 0))
            }
            pause(milliseconds: LiveChildren.settlingMilliseconds)
            let plan = LifePlan(
                zygote: "exec-miss", payload: .program("/bin/true"), wantsHit: false, readsFirstByte: false,
                pauseMilliseconds: 2)
            let series = try await plan.measure(options.isQuick ? 100 : 2000, on: client)
            if count == 10 { atTen = series.handOff.median }
            let isLast = refusal != nil || count == counts.last
            let goal = Goal.atMost(
                LiveChildren.goal, "p50 at \(sleepers.count) <= 1.25 times that at 10", series.handOff.median / atTen)
            report.add(
                Row(
                    LiveChildren.section, "\(sleepers.count) live: request -> pid in hand", series.handOff,
                    goals: isLast ? [goal] : [],
                    note: isLast && count < 5000 ? "the goal speaks of 5,000: a run without --quick has them" : nil))
            if refusal != nil { break }
        }
        progress("ending \(sleepers.count) children")
        for child in sleepers { try? await child.kill() }
        for child in sleepers { _ = try? await child.wait() }
    }

    /// - Returns: nil, or why no more came.
    private func fill(_ sleepers: inout [Child], until count: Int, on crowd: HatcheryClient) async -> String? {
        var sandbox = LifePlan.sandbox("exec-miss")
        sandbox.time = .seconds(600)  // the most that the default profile gives
        while sleepers.count < count {
            do {
                sleepers.append(try await crowd.spawn(.program("/bin/sleep", ["600"]), sandbox))
            } catch {
                return "\(error)"
            }
        }
        return nil
    }
}
