import Hatchery
import HatcheryProtocol

/// What `hatchery top` shows, out of two looks at the daemon's figures. A value without input or output.
struct TopFigures {
    private let now: [String: Double]
    private let before: [String: Double]
    private let seconds: Double
    let zygotes: [ZygoteListing]
    let sandboxes: [SandboxListing]

    /// - Parameters:
    ///   - before: of the look before; empty at the first.
    ///   - seconds: between the two.
    init(
        now: [Statistic], before: [Statistic], seconds: Double, zygotes: [ZygoteListing], sandboxes: [SandboxListing]
    ) {
        self.now = Dictionary(now.map { ($0.name, $0.value) }) { first, _ in first }
        self.before = Dictionary(before.map { ($0.name, $0.value) }) { first, _ in first }
        self.seconds = seconds
        self.zygotes = zygotes
        self.sandboxes = sandboxes
    }

    /// The sum over all labels.
    func sum(_ family: String) -> Double { TopFigures.sum(now, family) }

    private static func sum(_ samples: [String: Double], _ family: String) -> Double {
        samples.reduce(0) { $1.key == family || $1.key.hasPrefix(family + "{") ? $0 + $1.value : $0 }
    }

    func state(_ name: String) -> Int { Int(now["hatchery_sandboxes{state=\"\(name)\"}"] ?? 0) }

    /// How much it grew in a second since the look before; nil at the first look.
    func perSecond(_ family: String) -> Double? {
        guard !before.isEmpty, seconds > 0 else { return nil }
        return max(0, sum(family) - TopFigures.sum(before, family)) / seconds
    }

    /// The mean of a histogram since the look before, or since the start.
    func mean(_ histogram: String) -> Double? {
        let count = sum(histogram + "_count") - TopFigures.sum(before, histogram + "_count")
        let total = sum(histogram + "_sum") - TopFigures.sum(before, histogram + "_sum")
        return count > 0 ? total / count : nil
    }

    /// Of the spawns since the look before, or since the start.
    var hitShare: Double? {
        func grown(_ family: String) -> Double { sum(family) - TopFigures.sum(before, family) }
        let hits = grown("hatchery_nursery_hits_total")
        let all = hits + grown("hatchery_nursery_misses_total")
        return all > 0 ? hits / all : nil
    }

    var text: String {
        func figure(_ value: Double?, _ unit: String = "") -> String {
            value.map { "\(($0 * 10).rounded() / 10)\(unit)" } ?? "-"
        }
        let header = [
            "clients \(Int(sum("hatchery_clients")))   sandboxes \(state("running")) running, \(state("starting")) starting, \(state("waiting")) waiting",
            "spawns \(figure(perSecond("hatchery_spawn_seconds_count")))/s, mean \(figure(mean("hatchery_spawn_seconds").map { $0 * 1000 }, " ms")), nursery \(figure(hitShare.map { $0 * 100 }, "%"))   refusals \(figure(perSecond("hatchery_refusals_total")))/s",
            "daemon: \(Int(sum("process_open_fds"))) descriptors, \(Int(sum("hatchery_heap_bytes")) >> 20) MiB, \(figure(perSecond("process_cpu_seconds_total").map { $0 * 100 }, "%")) CPU, \(Int(sum("hatchery_mounts"))) mounts, \(Int(sum("hatchery_zombies"))) zombies",
        ]
        return header.map { $0 + "\n" }.joined() + "\n" + ZygotesCommand.table(zygotes) + "\n" + PsCommand.table(sandboxes)
    }

    var json: String {
        var writer = JSONWriter()
        writer.object { object in
            object.object("statistics") { list in
                for (name, value) in now.sorted(by: { $0.key < $1.key }) { list.number(name, value) }
            }
            object.number("spawns_per_second", perSecond("hatchery_spawn_seconds_count"))
            object.number("refusals_per_second", perSecond("hatchery_refusals_total"))
            object.number("spawn_mean_seconds", mean("hatchery_spawn_seconds"))
            object.number("nursery_hit_share", hitShare)
            object.array("zygotes") { list in for zygote in zygotes { ZygotesCommand.write(zygote, to: &list) } }
            object.array("sandboxes") { list in for sandbox in sandboxes { PsCommand.write(sandbox, to: &list) } }
        }
        return writer.text + "\n"
    }
}
