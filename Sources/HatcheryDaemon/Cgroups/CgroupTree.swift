import Foundation
import Glibc
import HatcherySystem

/// The daemon's own part of the cgroup v2 hierarchy, from its start to its end:
///
///     BASE/                  the operator's: where the daemon was started, or cgroup.path
///       hatchery-PID-XXXX/   locked while its daemon lives, so that the next one knows what a dead one left
///         front/             hatcheryd itself: no process may stay in a cgroup that hands controllers on (cgroups(7))
///         nest/              who clones and who is cloned
///           zygotes/
///           1/ 2/ ...        one for each sandbox, for one life (`CgroupPool`); without controllers, group0/1/ and so on
final class CgroupTree {
    static let prefix = "hatchery-"
    static let front = "front"
    static let nest = "nest"
    static let zygotes = "zygotes"
    /// In the order in which they are asked for. Without the first three there is no layer `cgroup`; io gives sandboxes equal
    /// shares where there is a scheduler for it.
    static let controllers = ["memory", "pids", "cpu", "io"]
    /// How long a start waits for what a dead daemon left to die, and the end for its own.
    static let removalNanoseconds: UInt64 = 500_000_000

    /// Whether the daemon can hand a cgroup's controllers on to the cgroups below.
    struct Refusal: Error { var reason: String }

    let nest: CgroupDirectory
    /// Those that every sandbox's cgroup has.
    let controllers: Set<String>
    /// Why others are not there, by name.
    let lacking: [String: String]
    private let base: CgroupDirectory
    private let top: CgroupDirectory
    private let name: String
    /// Where this process was before, to go back at the end.
    private let origin: CgroupDirectory
    /// Controllers of `base` that have to be switched off again before this process can go back there: where it was alone in
    /// it. Elsewhere they stay on, since another daemon may be about to use them; the root takes processes all the same.
    private let switchedOn: [String]

    /// - Parameter zygoteOwner: the id of the zygotes, as this process counts.
    init(base path: String, origin originPath: String, zygoteOwner: uid_t) throws(SystemError) {
        base = try CgroupDirectory(path: path)
        origin = try CgroupDirectory(path: originPath)
        CgroupTree.removeLeftovers(in: base)
        (top, name) = try CgroupTree.makeTop(in: base)
        var nest: CgroupDirectory?
        var outcome = (controllers: Set<String>(), lacking: [String: String](), switchedOn: [String]())
        do throws(SystemError) {
            try top.makeChild(CgroupTree.front)
            try top.makeChild(CgroupTree.nest)
            nest = try top.child(CgroupTree.nest)
            // Before controllers are switched on: the cgroup that hands them on must have no process.
            try top.write("\(CgroupTree.front)/cgroup.procs", "0")
            outcome = CgroupTree.switchOn([base, top, nest!])
            // Beside the sandboxes and in none of their ways: the daemon answers while they fight for processors.
            if outcome.controllers.contains("cpu") { try? top.write("\(CgroupTree.front)/cpu.weight", "1000") }
            try nest!.makeChild(CgroupTree.zygotes)
            // SECURITY: CLONE_INTO_CGROUP asks for the cloner's own right to move a process into the cgroup, and out of the
            // nearest one above both (cgroup_procs_write_permission in kernel/cgroup/cgroup.c). Zygotes get that right over
            // the nest and what is in it, for moving alone: every limit stays the daemon's.
            try nest!.give("cgroup.procs", to: zygoteOwner)
            try nest!.give("\(CgroupTree.zygotes)/cgroup.procs", to: zygoteOwner)
        } catch {
            CgroupTree.removeChildren(of: top)
            try? origin.write("cgroup.procs", "0")
            CgroupTree.removeChildren(of: top)
            try? base.removeChild(name)
            throw error
        }
        self.nest = nest!
        (controllers, lacking) = (outcome.controllers, outcome.lacking)
        switchedOn = path == originPath && base.has("cgroup.events") ? outcome.switchedOn : []
    }

    private static func makeTop(in base: CgroupDirectory) throws(SystemError) -> (CgroupDirectory, String) {
        while true {
            let name = "\(prefix)\(getpid())-\(String(UInt16.random(in: .min ... .max), radix: 16))"
            do throws(SystemError) {
                try base.makeChild(name)
                let top = try base.child(name)
                if top.lock(), base.has(name) { return (top, name) }
            } catch {
                // Another daemon that starts now may have taken it for a dead one's, before it was locked.
                if error.errno != EEXIST && error.errno != ENOENT { throw error }
            }
        }
    }

    /// Hands controllers on, from the first directory to what is below the last one.
    private static func switchOn(
        _ chain: [CgroupDirectory]
    ) -> (controllers: Set<String>, lacking: [String: String], switchedOn: [String]) {
        let offered = words(try? chain[0].read("cgroup.controllers"))
        let before = words(try? chain[0].read("cgroup.subtree_control"))
        var on: Set<String> = []
        var lacking: [String: String] = [:]
        for controller in controllers {
            guard offered.contains(controller) else {
                lacking[controller] = "\(chain[0].path) does not offer it"
                continue
            }
            do throws(SystemError) {
                for directory in chain { try directory.write("cgroup.subtree_control", "+\(controller)") }
                on.insert(controller)
            } catch {
                lacking[controller] =
                    error.errno == EBUSY ? "\(chain[0].path) has other processes in it" : error.description
            }
        }
        return (on, lacking, controllers.filter { on.contains($0) && !before.contains($0) })
    }

    private static func words(_ text: String?) -> Set<String> {
        Set((text ?? "").split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init))
    }

    /// Puts a zygote where it is counted for itself.
    func adopt(zygote pid: Int32) throws(SystemError) {
        try nest.write("\(CgroupTree.zygotes)/cgroup.procs", "\(pid)")
    }

    /// Where the daemon is, for the log.
    var description: String { top.path }

    // MARK: The end

    /// Ends what is left in the nest and removes the tree. The daemon goes back to where it was started.
    /// - Returns: nil, or why something stays behind.
    func remove() -> String? {
        try? nest.write("cgroup.kill", "1")
        let deadline = MonotonicClock.now() + CgroupTree.removalNanoseconds
        while !CgroupTree.removeChildren(of: nest), MonotonicClock.now() < deadline { usleep(1000) }
        do throws(SystemError) {
            try top.removeChild(CgroupTree.nest)
            // A cgroup that hands controllers on takes no process back, and one that has children with them keeps them.
            for controller in controllers { try? top.write("cgroup.subtree_control", "-\(controller)") }
            for controller in switchedOn { try? base.write("cgroup.subtree_control", "-\(controller)") }
            try origin.write("cgroup.procs", "0")
            while true {
                do throws(SystemError) {
                    try top.removeChild(CgroupTree.front)
                    break
                } catch {
                    guard error.errno == EBUSY, MonotonicClock.now() < deadline else { throw error }
                    usleep(1000)
                }
            }
            try base.removeChild(name)
            return nil
        } catch {
            return error.description
        }
    }

    /// Whether nothing is left below.
    @discardableResult
    private static func removeChildren(of directory: CgroupDirectory) -> Bool {
        guard let names = try? directory.children() else { return false }
        var isEmpty = true
        for name in names {
            if let child = try? directory.child(name) { removeChildren(of: child) }
            if (try? directory.removeChild(name)) == nil { isEmpty = false }
        }
        return isEmpty
    }

    /// Whether a daemon made a cgroup of that name: what others called hatchery-something is theirs.
    static func isOurs(_ name: String) -> Bool { name.wholeMatch(of: /hatchery-[0-9]+-[0-9a-f]{1,4}/) != nil }

    /// Trees whose daemon died without a word: nobody holds the lock. Whatever still lives in one is ended.
    private static func removeLeftovers(in base: CgroupDirectory) {
        guard let names = try? base.children() else { return }
        for name in names where isOurs(name) {
            guard let dead = try? base.child(name), dead.lock() else { continue }
            try? dead.write("cgroup.kill", "1")
            let deadline = MonotonicClock.now() + removalNanoseconds
            while !removeChildren(of: dead), MonotonicClock.now() < deadline { usleep(1000) }
            try? base.removeChild(name)
        }
    }
}
