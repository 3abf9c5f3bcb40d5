import Foundation
import Hatchery

/// What a parked child holds: MemAvailable before and after all parked children of a daemon of its own are killed, kernel
/// memory counted.
///
/// The parked ones are killed and not merely counted as they come, since that takes seconds: on a shared machine,
/// MemAvailable moves by itself. The daemon is stopped meanwhile, or it would fill its nursery again; so the bare entry of
/// each init in the table of processes stays, and is not in the figure.
struct ParkedMemory {
    let options: Options
    private let zygote = "parked"
    private static let goalKiB = 400.0
    /// Network namespaces are taken down after the last process of theirs, and the kernel's count of free pages lags: of
    /// 200 MB that one process gave back, a quarter was in MemAvailable a second later (Linux 6.18 in a virtual machine).
    private static let settleMilliseconds = 3000

    func addRows(to report: inout Report) async throws {
        let client = try await HatcheryClient.connect(socketPath: options.parkedSocket)
        progress("memory of \(options.parkedChildren) parked children, \(options.parkedRounds) rounds")
        var differences: [Double] = []
        var slabs: [Double] = []
        var writtenPages: [Double] = []
        var pageTables: [Double] = []
        for _ in 0..<options.parkedRounds {
            let children = try await parked(client)
            let family = families(of: children)
            writtenPages.append(perChild(family.reduce(0) { $0 + kib("Pss_Anon:", "/proc/\($1)/smaps_rollup") }))
            pageTables.append(perChild(family.reduce(0) { $0 + kib("VmPTE:", "/proc/\($1)/status") }))
            let full = Memory()
            let empty = try memoryAfterKilling(children)
            differences.append(perChild(empty.available - full.available))
            slabs.append(perChild(full.slab - empty.slab))
        }
        client.close()
        differences.sort()
        let section = "Memory of a parked Python child with pandas, \(options.parkedChildren) parked"
        let middle = differences[differences.count / 2]
        report.add(
            Row(
                section, "MemAvailable, per child", figure: middle, unit: "KiB", samples: differences.count,
                goals: [.atMost(ParkedMemory.goalKiB, "<= 400 KiB", middle)],
                note: "from \(short(differences[0])) to \(short(differences[differences.count - 1])) over the rounds"))
        report.add(
            Row(
                section, "  its share of written pages (Pss_Anon)",
                figure: writtenPages.sorted()[writtenPages.count / 2], unit: "KiB", samples: writtenPages.count))
        report.add(
            Row(
                section, "  page tables, init and payload", figure: pageTables.sorted()[pageTables.count / 2],
                unit: "KiB", samples: pageTables.count))
        report.add(
            Row(
                section, "  the kernel's own objects (Slab)", figure: slabs.sorted()[slabs.count / 2], unit: "KiB", samples: slabs.count))
    }

    /// Of the whole machine, in KiB.
    private struct Memory {
        let available = HostFacts.memory("MemAvailable")
        let slab = HostFacts.memory("Slab")
    }

    private func memoryAfterKilling(_ inits: [pid_t]) throws -> Memory {
        kill(options.parkedDaemon, SIGSTOP)
        defer { kill(options.parkedDaemon, SIGCONT) }
        for pid in inits { kill(pid, SIGKILL) }
        let deadline = now() + 20_000_000_000
        while !inits.allSatisfy({ HostFacts.field("State", of: "/proc/\($0)/status")?.hasPrefix("Z") ?? true }) {
            guard now() < deadline else { throw BenchmarkError("parked children did not die within 20 s") }
            pause(milliseconds: 20)
        }
        pause(milliseconds: ParkedMemory.settleMilliseconds)
        return Memory()
    }

    private func perChild(_ kib: Int) -> Double { Double(kib) / Double(options.parkedChildren) }

    /// Waits until all are parked. Their inits are the daemon's children that are no zygotes.
    private func parked(_ client: HatcheryClient) async throws -> [pid_t] {
        let deadline = now() + 30_000_000_000
        while now() < deadline {
            let listing = try await client.zygotes()
            if let ours = listing.first(where: { $0.name == zygote }), Int(ours.parked) == options.parkedChildren {
                pause(milliseconds: ParkedMemory.settleMilliseconds)
                let zygotes = Set(listing.map(\.pid))
                let children = ParkedMemory.children(of: options.parkedDaemon).filter { !zygotes.contains($0) }
                guard children.count == options.parkedChildren else {
                    throw BenchmarkError("the daemon has \(children.count) children, not \(options.parkedChildren)")
                }
                return children
            }
            pause(milliseconds: 50)
        }
        throw BenchmarkError("the nursery did not fill within 30 s")
    }

    private func families(of inits: [pid_t]) -> [pid_t] {
        inits + inits.flatMap { ParkedMemory.children(of: $0) }
    }

    private func kib(_ field: String, _ path: String) -> Int {
        for line in HostFacts.text(path).split(separator: "\n") where line.hasPrefix(field) {
            return Int(line.dropFirst(field.count).split(whereSeparator: { $0 == " " || $0 == "\t" })[0]) ?? 0
        }
        return 0
    }

    private static func children(of parent: pid_t) -> [pid_t] {
        HostFacts.text("/proc/\(parent)/task/\(parent)/children").split(separator: " ").compactMap { pid_t($0) }
    }
}
