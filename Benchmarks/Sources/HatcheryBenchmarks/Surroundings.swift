import Foundation
import Hatchery

/// What should not matter to a spawn: mounts of the host, and how many spawns there were before.
struct Surroundings {
    let options: Options

    private static let goalWithMounts = 1.10

    func addRows(to report: inout Report) async throws {
        try await addMounts(to: &report)
        try await addGrowth(to: &report)
    }

    /// A second daemon lives in a mount namespace with a thousand mounts more; the two are asked in turn.
    private func addMounts(to report: inout Report) async throws {
        let section = "1,000 more mounts on the host: /bin/true, without nursery"
        guard let socket = options.mountsSocket else {
            report.add(Row(section, "not measured: mounting needs root", figure: .nan, unit: "us", samples: 0))
            return
        }
        let here = try await HatcheryClient.connect(socketPath: options.socket)
        let there = try await HatcheryClient.connect(socketPath: socket)
        defer { here.close(); there.close() }
        let count = options.isQuick ? 300 : 2000
        progress("\(count) lives with and without a thousand mounts more")
        var (plain, mounted) = (Samples(), Samples())
        for index in 0..<count + LifePlan.warmUps {
            let one = try await Life.lead(.program("/bin/true"), in: "exec-miss", on: here, readsFirstByte: false)
            let other = try await Life.lead(.program("/bin/true"), in: "exec-miss", on: there, readsFirstByte: false)
            if index < LifePlan.warmUps { continue }
            plain.append(one.handOff)
            mounted.append(other.handOff)
            pause(milliseconds: 2)
        }
        report.add(Row(section, "as the host is: request -> pid in hand", plain))
        report.add(
            Row(
                section, "with 1,000 more: request -> pid in hand", mounted,
                goals: [.atMost(Surroundings.goalWithMounts, "p50 + 10 % at most", mounted.median / plain.median)]))
    }

    /// What the front holds before and after many spawns.
    private func addGrowth(to report: inout Report) async throws {
        let section = "The front after \(options.growthSpawns) spawns of /bin/true, 4 connections"
        progress("\(options.growthSpawns) spawns for the growth of the front")
        // The first ones fill caches and pools.
        try await spawnMany(options.growthSpawns / 4)
        pause(milliseconds: 1000)
        let before = Holdings.of(options.daemon)
        let cpuBefore = Holdings.processorNanoseconds(of: options.daemon)
        try await spawnMany(options.growthSpawns)
        let cpu = Holdings.processorNanoseconds(of: options.daemon) - cpuBefore
        pause(milliseconds: 1000)
        let after = Holdings.of(options.daemon)
        report.add(
            Row(
                section, "CPU of the front for a life", figure: Double(cpu) / Double(options.growthSpawns) / 1000, unit: "us",
                samples: options.growthSpawns))
        for (name, key, unit) in [
            ("growth of written memory (Private_Dirty)", \Holdings.writtenKiB, "KiB"), ("growth of descriptors", \Holdings.descriptors, ""),
            ("growth of mounts", \Holdings.mounts, ""), ("growth of children", \Holdings.children, ""),
            ("growth of control groups", \Holdings.controlGroups, ""),
        ] {
            let growth = Double(after[keyPath: key] - before[keyPath: key])
            // Of memory a page for each thousand spawns: pools that grow to their limit are not told apart from a leak below.
            let limit = key == \Holdings.writtenKiB ? max(512, Double(options.growthSpawns) / 1000 * 4) : 0
            report.add(
                Row(
                    section, name, figure: growth, unit: unit, samples: 1,
                    goals: [.atMost(limit, unit.isEmpty ? "none" : "<= \(short(limit)) KiB", growth)]))
        }
    }

    private func spawnMany(_ count: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    let client = try await HatcheryClient.connect(socketPath: options.socket)
                    defer { client.close() }
                    for _ in 0..<count / 4 {
                        _ = try await Life.lead(.program("/bin/true"), in: "exec-miss", on: client, readsFirstByte: false)
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

/// What a process holds that could leak.
struct Holdings {
    var writtenKiB = 0
    var descriptors = 0
    var mounts = 0
    var children = 0
    var controlGroups = 0

    static func of(_ pid: pid_t) -> Holdings {
        var holdings = Holdings()
        let written = HostFacts.field("Private_Dirty", of: "/proc/\(pid)/smaps_rollup") ?? ""
        holdings.writtenKiB = Int(written.split(separator: " ").first ?? "") ?? 0
        holdings.descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
        holdings.mounts = HostFacts.text("/proc/\(pid)/mountinfo").split(separator: "\n").count
        holdings.children = HostFacts.text("/proc/\(pid)/task/\(pid)/children").split(separator: " ").count
        holdings.controlGroups = controlGroups(of: pid)
        return holdings
    }

    /// Those below the daemon's own that have none below them: how many groups they lie in says nothing.
    private static func controlGroups(of pid: pid_t) -> Int {
        let mount = HostFacts.text("/proc/self/mounts").split(separator: "\n").map { $0.split(separator: " ") }
            .first { $0.count > 2 && $0[2] == "cgroup2" }?[1]
        let own = HostFacts.text("/proc/\(pid)/cgroup").split(separator: "\n").first { $0.hasPrefix("0::") }?.dropFirst(3)
        guard let mount, let own, own.contains("/hatchery-") else { return 0 }
        let tree = (String(mount + own) as NSString).deletingLastPathComponent
        let folders = (FileManager.default.enumerator(atPath: tree)?.allObjects as? [String] ?? []).filter { entry in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: "\(tree)/\(entry)", isDirectory: &isDirectory) && isDirectory.boolValue
        }
        return Set(folders).subtracting(folders.map { ($0 as NSString).deletingLastPathComponent }).count
    }

    /// schedstat(5): the first number is the time on a processor. Of the main thread, which is the event loop.
    static func processorNanoseconds(of pid: pid_t) -> UInt64 {
        UInt64(HostFacts.text("/proc/\(pid)/schedstat").split(separator: " ").first ?? "") ?? 0
    }
}
