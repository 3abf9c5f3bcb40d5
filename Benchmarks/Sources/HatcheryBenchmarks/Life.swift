import Glibc
import Hatchery

/// One child, from the request to the word that its sandbox is gone, as a client sees it.
struct Life {
    /// Since the request: pid and descriptors in hand.
    var handOff: UInt64
    /// Since the request; 0 where nobody read.
    var firstByte: UInt64
    /// Since the request: the daemon's `ended`, tear-down included.
    var ended: UInt64
    /// The part of `handOff` that the front counted, from the arrival of the request to its answer.
    var front: UInt64
    /// CPU time of the sandbox's processes, from the clone to the end: what a busy neighbour does not lengthen.
    var cpu: UInt64
    var isHit: Bool
    var receipt: Receipt

    static func lead(
        _ payload: Payload, in zygote: String, on client: HatcheryClient, readsFirstByte: Bool
    ) async throws -> Life {
        let options = LifePlan.sandbox(zygote)
        let start = now()
        let child = try await client.spawn(payload, options)
        let handOff = now() - start
        var firstByte: UInt64 = 0
        if readsFirstByte {
            var byte: UInt8 = 0
            guard read(child.stdout.raw, &byte, 1) == 1 else { throw BenchmarkError("\(zygote): no output") }
            firstByte = now() - start
        }
        let end = try await child.wait()
        let ended = now() - start
        guard end.verdict == .exited, end.exitCode == 0 else {
            throw BenchmarkError("\(zygote): \(end.verdict.name), exit code \(end.exitCode.map(String.init) ?? "none")")
        }
        return Life(
            handOff: handOff, firstByte: firstByte, ended: ended, front: child.spawned.spawnNanoseconds,
            cpu: end.cpuNanoseconds, isHit: child.spawned.nurseryHit, receipt: child.spawned.receipt)
    }
}

/// Lives of one kind, hits or misses, never both.
struct LifeSeries {
    var handOff = Samples()
    var firstByte = Samples()
    var ended = Samples()
    var front = Samples()
    var cpu = Samples()
    /// Lives of the other kind, which are in no figure.
    var others = 0

    mutating func append(_ life: Life) {
        handOff.append(life.handOff)
        firstByte.append(life.firstByte)
        ended.append(life.ended)
        front.append(life.front)
        cpu.append(life.cpu)
    }

    mutating func append(contentsOf other: LifeSeries) {
        handOff.append(other.handOff)
        firstByte.append(other.firstByte)
        ended.append(other.ended)
        front.append(other.front)
        cpu.append(other.cpu)
        others += other.others
    }

    var note: String? { others == 0 ? nil : "\(others) of the other kind, hit or miss, are left out" }
}

/// What to measure.
struct LifePlan {
    var zygote: String
    var payload: Payload
    var wantsHit: Bool
    var readsFirstByte: Bool
    /// Before the next request: time for the nursery to fill again.
    var pauseMilliseconds = 4

    static let warmUps = 5

    /// Milliseconds between two lives. A hit is followed by the refill of what it took, which has rows of its own: some ten milliseconds
    /// of a processor, which is not to be measured as part of the next hit.
    static func pauseMilliseconds(_ wantsHit: Bool) -> Int { wantsHit ? 20 : 4 }

    static func sandbox(_ zygote: String) -> SandboxOptions {
        var options = SandboxOptions()
        options.zygote = zygote
        return options
    }

    func measure(_ count: Int, on client: HatcheryClient) async throws -> LifeSeries {
        try await LifePlan.measureInTurn([self], count, on: client)[0]
    }

    /// One life of each plan in turn, so that whatever else the machine does hits them alike.
    static func measureInTurn(_ plans: [LifePlan], _ count: Int, on client: HatcheryClient) async throws -> [LifeSeries] {
        progress("\(count) lives of \(plans.map(\.zygote).joined(separator: ", "))")
        var series = plans.map { _ in LifeSeries() }
        var attempts = 0
        while series.contains(where: { $0.handOff.count < count }) {
            attempts += 1
            guard attempts < 3 * count + 100 else {
                throw BenchmarkError("\(plans[0].zygote): too few lives are \(plans[0].wantsHit ? "hits" : "misses")")
            }
            for (index, plan) in plans.enumerated() {
                let life = try await Life.lead(
                    plan.payload, in: plan.zygote, on: client, readsFirstByte: plan.readsFirstByte)
                if plan.pauseMilliseconds > 0 { pause(milliseconds: plan.pauseMilliseconds) }
                if attempts <= warmUps { continue }
                if life.isHit == plan.wantsHit {
                    if series[index].handOff.count < count { series[index].append(life) }
                } else {
                    series[index].others += 1
                    pause(milliseconds: 20)
                }
            }
        }
        return series
    }
}
