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
    private let condition = NSCondition()
    private var waiting: [String] = []
    private var leaving: [String] = []
    private var number: UInt64 = 0
    private var isStopped = false
    private var isRunning = false
    /// After one could not be made, the thread makes none until somebody asked for one and got the reason.
    private var isRefused = false

    /// - Parameter keepsMemory: whether the memory controller is there.
    init(nest: CgroupDirectory, zygoteOwner: uid_t, keepsMemory: Bool) {
        self.nest = nest
        self.zygoteOwner = zygoteOwner
        self.keepsMemory = keepsMemory
    }

    func start() {
        isRunning = true
        Thread.detachNewThread { [self] in run() }
    }

    /// An empty cgroup, by its name in the nest.
    func take() throws(SystemError) -> String {
        condition.lock()
        isRefused = false
        let ready = waiting.popLast()
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
        let name = condition.withLock { () -> String in
            number += 1
            return "\(number)"
        }
        try nest.makeChild(name)
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
            throw error
        }
        return name
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
