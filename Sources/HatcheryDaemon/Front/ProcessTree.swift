import Glibc
import HatcherySystem

/// The processes of one pid namespace, found from its init down: whoever loses its parent becomes the init's child.
struct ProcessTree {
    let initPID: Int32

    struct Sample {
        var processes: UInt64 = 0
        var bytes: UInt64 = 0
        var cpuNanoseconds: UInt64 = 0
    }

    /// More processes than this are not walked in one sample.
    static let walkLimit = 4096
    /// What is read mapping by mapping: of one process, some sixteen thousand mappings, and of all in one sample. Beyond it
    /// memory counts in full in each process that has it mapped, which is more than it can be.
    static let detailOfOne = 16 << 20
    static let detailOfAll = 64 << 20

    /// - Parameters:
    ///   - members: the processes, where a cgroup knows them; nil has them looked for.
    ///   - preciseAbove: where the sum of what each process has mapped exceeds this, pages that several share are counted by
    ///     their share (proportional set size), which costs a walk over page tables.
    ///   - cpuNanoseconds: what the kernel counted for all of them; nil has it added up.
    func sample(members: [Int32]?, preciseAbove limit: UInt64, cpuNanoseconds known: UInt64?) -> Sample {
        var sample = Sample()
        let pids = members.map { $0.filter { $0 != initPID } } ?? descendants()
        sample.processes = UInt64(pids.count)
        for pid in pids { sample.bytes += ownBytes(pid) }
        if sample.bytes > limit {
            var room = ProcessTree.detailOfAll
            sample.bytes = pids.reduce(0) { $0 + proportionalBytes($1, &room) }
        }
        sample.cpuNanoseconds = known ?? (pids + [initPID]).reduce(0) { $0 + cpuNanoseconds($1, withChildren: true) }
        return sample
    }

    private func descendants() -> [Int32] {
        var pids: [Int32] = []
        var queue = children(of: initPID)
        while let pid = queue.popLast(), pids.count < ProcessTree.walkLimit {
            pids.append(pid)
            queue += children(of: pid)
        }
        return pids
    }

    private func children(of pid: Int32) -> [Int32] {
        // Of every thread: what a thread forked is listed with that thread while it lives.
        guard let tasks = try? Files.open("/proc/\(pid)/task", flags: O_RDONLY | O_DIRECTORY),
            let names = try? Files.names(in: tasks.raw, limit: ProcessTree.walkLimit)
        else { return [] }
        return names.flatMap { thread -> [Int32] in
            guard let text = try? Files.readText("/proc/\(pid)/task/\(thread)/children") else { return [] }
            return text.split(separator: " ").compactMap { Int32($0) }
        }
    }

    /// Anonymous and shared-memory pages that are in memory, and the page tables, in bytes.
    private func ownBytes(_ pid: Int32) -> UInt64 {
        guard let text = try? Files.readText("/proc/\(pid)/status", limit: 8192) else { return 0 }
        return ProcessTree.kilobytes(text, ["RssAnon:", "RssShmem:", "VmSwap:"]) + ProcessTree.pageTableBytes(status: text)
    }

    /// SECURITY: one page that is read in each 2 MiB of a mapping takes a page table and is no page of the program's own: a
    /// gigabyte of page tables with nothing in them. Test: memoryOfTheWholeTreeCounts.
    static func pageTableBytes(status text: String) -> UInt64 { kilobytes(text, ["VmPTE:"]) }

    /// Mapping by mapping: anonymous and shared memory by its share; of files only the pages that were written, since files
    /// of the scratch space are counted there and the preloaded heap (a memfd) belongs to the zygote until it is written.
    private func proportionalBytes(_ pid: Int32, _ room: inout Int) -> UInt64 {
        let limit = min(room, ProcessTree.detailOfOne)
        guard limit > 0, let text = try? Files.readText("/proc/\(pid)/smaps", limit: limit) else { return ownBytes(pid) }
        room -= text.utf8.count
        // Cut off: there are more mappings than are looked at.
        if text.utf8.count >= limit { return ownBytes(pid) }
        let status = (try? Files.readText("/proc/\(pid)/status", limit: 8192)) ?? ""
        return ProcessTree.proportionalBytes(smaps: text) + ProcessTree.pageTableBytes(status: status)
    }

    static func proportionalBytes(smaps text: String) -> UInt64 {
        var sum: UInt64 = 0
        var counted = "Pss:"
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            guard let first = line.first else { continue }
            if isHexadecimal(first) {
                // A header: addresses, rights, offset, device, inode, path (proc_pid_smaps(5)).
                let path = line.split(separator: UInt8(ascii: " "), maxSplits: 5).dropFirst(5).first ?? line[line.endIndex...]
                let name = String(decoding: path, as: UTF8.self).drop { $0 == " " }
                let isShared = ["/memfd:", "/dev/zero", "/SYSV"].contains { name.hasPrefix($0) }
                let isFrozen = name.hasPrefix("/memfd:hatchery-frozen")
                counted = name.hasPrefix("/") && (!isShared || isFrozen) ? "Anonymous:" : "Pss:"
            } else if line.starts(with: counted.utf8) || line.starts(with: "SwapPss:".utf8) {
                sum += kilobytes(String(decoding: line, as: UTF8.self), [counted, "SwapPss:"])
            }
        }
        return sum
    }

    /// Headers begin with an address in lower case; the lines under them with a capital letter.
    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    static func kilobytes(_ text: String, _ names: [String]) -> UInt64 {
        var sum: UInt64 = 0
        for line in text.split(separator: "\n") {
            guard let name = names.first(where: { line.hasPrefix($0) }) else { continue }
            let digits = line.dropFirst(name.count).drop { $0 == " " || $0 == "\t" }.prefix { $0.isNumber }
            sum += (UInt64(digits) ?? 0) * 1024
        }
        return sum
    }

    /// Fields 14 to 17 of /proc/PID/stat (proc_pid_stat(5)): user and system time, and those of reaped children.
    private func cpuNanoseconds(_ pid: Int32, withChildren: Bool) -> UInt64 {
        guard let text = try? Files.readText("/proc/\(pid)/stat", limit: 4096), let end = text.lastIndex(of: ")") else {
            return 0
        }
        let fields = text[end...].split(separator: " ").dropFirst()
        let ticks = fields.dropFirst(11).prefix(withChildren ? 4 : 2).reduce(UInt64(0)) { $0 + (UInt64($1) ?? 0) }
        return ticks * (1_000_000_000 / UInt64(max(1, sysconf(Int32(_SC_CLK_TCK)))))
    }
}
