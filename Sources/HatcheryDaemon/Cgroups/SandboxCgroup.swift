import Glibc
import HatcherySystem

/// The cgroup of one sandbox, from before its birth until it is gone.
final class SandboxCgroup {
    private let support: Cgroups
    private let nest: CgroupDirectory
    private let pool: CgroupPool
    let name: String
    /// Those that are watched together with it; nil where the kernel keeps what would have to be watched.
    let group: CgroupGroup?
    /// What was written last, by file, so that a hand-over writes only what a request changes.
    private var written: [String: String] = [:]
    /// Open from the first question on, where descriptors are to spare: it is asked many times a second of each sandbox.
    private var cpuStatistics: CPUStatistics?

    /// - Parameter name: of a cgroup of `pool`, which gets it back.
    init(
        _ support: Cgroups, _ tree: CgroupTree, _ pool: CgroupPool, _ name: String, _ group: CgroupGroup?, limits: GrantedLimits
    ) throws(SystemError) {
        self.support = support
        nest = tree.nest
        self.pool = pool
        self.name = name
        self.group = group
        try apply(limits)
    }

    deinit {
        if cpuStatistics != nil { support.spare.give(back: 1) }
        pool.give(back: name)
    }

    func openForClone() throws(SystemError) -> Descriptor { try nest.openForClone(name) }

    /// Processes that the set-up needs beside the payload's own: the init.
    static let ownProcesses: UInt64 = 1

    /// Sets what a request asks for.
    func apply(_ limits: GrantedLimits) throws(SystemError) {
        if keepsMemory { try set("memory.max", "\(limits.memoryBytes)") }
        if support.controllers.contains("pids") {
            try set("pids.max", "\(limits.processes + SandboxCgroup.ownProcesses)")
        }
        if support.controllers.contains("cpu") { try set("cpu.max", SandboxCgroup.quota(limits.milliCPUs)) }
    }

    private func set(_ file: String, _ value: String) throws(SystemError) {
        if written[file] == value { return }
        try nest.write("\(name)/\(file)", value)
        written[file] = value
    }

    /// Microseconds of CPU time in each period of microseconds. The kernel takes no quota below a millisecond and no period
    /// above a second.
    static func quota(_ milliCPUs: UInt64, processors: Int = sysconf(Int32(_SC_NPROCESSORS_ONLN))) -> String {
        // A quota that can never be reached would still cost its timer.
        if milliCPUs >= UInt64(max(1, processors)) * 1000 { return "max 100000" }
        return milliCPUs >= 10 ? "\(milliCPUs * 100) 100000" : "\(max(1, milliCPUs) * 1000) 1000000"
    }

    /// Whether the kernel keeps the memory limit, so that nobody needs to look.
    var keepsMemory: Bool { support.controllers.contains("memory") }

    /// SECURITY: every process in it, whatever it does and whoever knows of it, before any of them can clone again
    /// (cgroup.kill, Linux 5.14). Where the kernel has none, the end of the init does it.
    func kill() { try? nest.write("\(name)/cgroup.kill", "1") }

    // MARK: What the kernel counted

    /// What another thread may ask: it holds nothing whose end would be this cgroup's.
    struct Counts: Sendable {
        fileprivate let nest: CgroupDirectory
        fileprivate let name: String

        /// CPU time since the cgroup was made: of every process that is or was in it.
        var cpuNanoseconds: UInt64? {
            (try? nest.read("\(name)/cpu.stat")).flatMap { CgroupDirectory.number($0, "usage_usec") }.map { $0 * 1000 }
        }

        /// Its processes, as this process counts them.
        var processes: [Int32] {
            guard let text = try? nest.read("\(name)/cgroup.procs") else { return [] }
            return text.split(separator: "\n").compactMap { Int32($0) }
        }
    }

    var counts: Counts { Counts(nest: nest, name: name) }

    var cpuNanoseconds: UInt64? { counts.cpuNanoseconds }

    /// The same, in microseconds and for less; nil where there is no room for a descriptor.
    func usedMicroseconds() -> UInt64? {
        if let cpuStatistics { return cpuStatistics.usedMicroseconds }
        guard let statistics = try? CPUStatistics(of: name[...], in: nest) else { return nil }
        let used = statistics.usedMicroseconds
        if support.spare.take(1) { cpuStatistics = statistics }
        return used
    }

    /// Processes and threads of the request at this moment.
    var taskCount: UInt64? { number("pids.current").map { $0 - min($0, SandboxCgroup.ownProcesses) } }

    /// Whether pids.peak is there (Linux 6.11).
    var countsPeakTasks: Bool { support.countsPeakTasks }

    var peakTasks: UInt64? { countsPeakTasks ? number("pids.peak").map { $0 - min($0, SandboxCgroup.ownProcesses) } : nil }

    /// Bytes at this moment.
    var currentBytes: UInt64? { keepsMemory ? number("memory.current") : nil }

    /// Bytes, kernel memory included (memory.peak, Linux 5.19).
    var peakBytes: UInt64? { keepsMemory ? number("memory.peak") ?? currentBytes : nil }

    /// Whether the kernel ended processes for the limit of this very cgroup. `oom_kill` alone counts also those that it ended
    /// for want of memory elsewhere.
    var ranOutOfMemory: Bool {
        guard keepsMemory, let text = try? nest.read("\(name)/memory.events") else { return false }
        return (CgroupDirectory.number(text, "oom") ?? 0) > 0 && (CgroupDirectory.number(text, "oom_kill") ?? 0) > 0
    }

    private func number(_ file: String, _ field: String? = nil) -> UInt64? {
        (try? nest.read("\(name)/\(file)")).flatMap { CgroupDirectory.number($0, field) }
    }
}
