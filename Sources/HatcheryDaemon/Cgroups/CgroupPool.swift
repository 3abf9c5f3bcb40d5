import Foundation
import Glibc
import HatcherySystem

/// Cgroups that wait for a sandbox, and the thread that makes and removes them.
///
/// A cgroup serves one life and is removed: its counters (memory.peak, memory.events, cpu.stat) begin at zero on every
/// kernel, and nothing that an earlier sandbox left charged counts against a later one. Making one takes a lock of the whole
/// hierarchy and allocates for each processor, removing one may have to wait for the last process to be gone: neither
/// belongs in the front's loop.
final class CgroupPool: @unchecked Sendable {
    /// How many wait. A burst beyond that makes its own.
    static let depth = 8
    /// After a sandbox took or left one, so that a burst is answered first and the work is done in one go.
    static let pauseMicroseconds: UInt32 = 2000

    private let nest: CgroupDirectory
    private let zygoteOwner: uid_t
    private let keepsMemory: Bool
    private let makesGroups: Bool
    private let condition = NSCondition()
    private var waiting: [String] = []
    private var leaving: [String] = []
    private var lastNumber: UInt64 = 0
    private var isStopped = false
    private var isRunning = false
    /// After one could not be made, the thread makes none until somebody asked for one and got the reason.
    private var isRefused = false

    /// - Parameters:
    ///   - keepsMemory: whether the memory controller is there.
    ///   - makesGroups: whether cgroups are made in groups of `CgroupGroup.size`, one below the nest for each. Not where a controller shares
    ///     something out: each group would get as much as the next one, however many are in it.
    init(nest: CgroupDirectory, zygoteOwner: uid_t, keepsMemory: Bool, makesGroups: Bool) {
        self.makesGroups = makesGroups
        self.nest = nest
        self.zygoteOwner = zygoteOwner
        self.keepsMemory = keepsMemory
    }

    func start() {
        isRunning = true
        Thread.detachNewThread { [self] in run() }
    }

    /// An empty cgroup, by its name in the nest: `NUMBER`, or `GROUP/NUMBER`.
    func take() throws(SystemError) -> String {
        condition.lock()
        isRefused = false
        // The oldest, so that those that wait are of one group or two.
        let ready = waiting.isEmpty ? nil : waiting.removeFirst()
        condition.signal()
        condition.unlock()
        if let ready { return ready }
        return try make()
    }

    /// Whatever is still in it is ended, and it is removed.
    func give(back name: String) {
        condition.lock()
        leaving.append(name)
        condition.signal()
        condition.unlock()
    }

    /// Returns when the thread has ended; `CgroupTree.remove` removes the rest.
    func stop() {
        condition.lock()
        isStopped = true
        condition.broadcast()
        while isRunning { condition.wait() }
        condition.unlock()
    }

    private func make() throws(SystemError) -> String {
        let number = condition.withLock { () -> UInt64 in
            lastNumber += 1
            return lastNumber
        }
        let name = makesGroups ? "\(group(of: number))/\(number)" : "\(number)"
        try makeDirectory(name, number)
        do throws(SystemError) {
            try nest.give("\(name)/cgroup.procs", to: zygoteOwner)
            if keepsMemory {
                // All of a sandbox or nothing of it: half a tree would end in ways that nobody can tell from its own.
                try nest.write("\(name)/memory.oom.group", "1")
                // Not there where the kernel does not count swap, and then there is none to be had.
                if nest.has("\(name)/memory.swap.max") { try nest.write("\(name)/memory.swap.max", "0") }
            }
        } catch {
            try? nest.removeChild(name)
            removeGroup(of: name)
            throw error
        }
        return name
    }

    private func group(of number: UInt64) -> String { "group\(number / CgroupGroup.size)" }

    private func makeDirectory(_ name: String, _ number: UInt64) throws(SystemError) {
        while true {
            do throws(SystemError) {
                return try nest.makeChild(name)
            } catch {
                // The first one of its group; or the group's last one left while this one was on its way.
                guard makesGroups, error.errno == ENOENT else { throw error }
            }
            do throws(SystemError) {
                try nest.makeChild(group(of: number))
            } catch {
                if error.errno != EEXIST { throw error }
            }
        }
    }

    /// Once nobody is in it. The one that is being filled may go, too, and is made again.
    private func removeGroup(of name: String) {
        guard let end = name.firstIndex(of: "/") else { return }
        try? nest.removeChild(String(name[..<end]))
    }

    // MARK: The thread

    private func run() {
        while waitForWork() {
            usleep(CgroupPool.pauseMicroseconds)
            removeSome()
            fill()
        }
        condition.withLock {
            isRunning = false
            condition.broadcast()
        }
    }

    private func waitForWork() -> Bool {
        condition.lock()
        defer { condition.unlock() }
        while !isStopped && leaving.isEmpty && (waiting.count >= CgroupPool.depth || isRefused) { condition.wait() }
        return !isStopped
    }

    private func removeSome() {
        let names = condition.withLock { () -> [String] in
            defer { leaving = [] }
            return leaving
        }
        var busy: [String] = []
        for name in names {
            do throws(SystemError) {
                try nest.removeChild(name)
                removeGroup(of: name)
            } catch {
                // Its last process is on its way out, or was cloned by a zygote that died before it could report it.
                try? nest.write("\(name)/cgroup.kill", "1")
                if error.errno == EBUSY { busy.append(name) }
            }
        }
        if !busy.isEmpty { condition.withLock { leaving += busy } }
    }

    private func fill() {
        while condition.withLock({ !isStopped && waiting.count < CgroupPool.depth }) {
            do throws(SystemError) {
                let name = try make()
                condition.withLock { waiting.append(name) }
            } catch {
                condition.withLock { isRefused = true }
                return
            }
        }
    }
}
