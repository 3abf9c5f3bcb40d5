import Glibc
import HatcherySystem

/// What this daemon can do with cgroups: decided once, at its start.
final class Cgroups {
    /// Without these the layer `cgroup` is not active.
    static let needed = ["memory", "pids", "cpu"]

    /// For what is kept open of each sandbox's cgroup.
    let spare: SpareDescriptors
    private var tree: CgroupTree?
    private var pool: CgroupPool?
    private var groups: [Substring: WeakGroup] = [:]
    /// Those of every sandbox's cgroup.
    private(set) var controllers: Set<String> = []
    private(set) var countsPeakTasks = false
    /// Why the layer `cgroup` is missing; nil where it is active.
    private(set) var missing: String?

    private let loop: EventLoop

    init(_ spare: SpareDescriptors, loop: EventLoop) {
        self.spare = spare
        self.loop = loop
    }

    /// Makes the daemon's own tree where the host lets it. To be called once; `remove` takes it away again.
    /// - Parameter zygoteOwner: the id of the zygotes, as this process counts.
    /// - Throws: `SystemError` where the configuration requires what the host does not give.
    func begin(_ configuration: CgroupConfiguration, zygoteOwner: uid_t) throws(SystemError) {
        var reason = "cgroup.mode is off"
        if configuration.mode != .off {
            do throws(SystemError) {
                let place = try CgroupPlace.find(configuration.path)
                tree = try CgroupTree(base: place.base, origin: place.own, zygoteOwner: zygoteOwner)
            } catch {
                reason = "no cgroup can be made: \(error)"
            }
        }
        missing = Cgroups.missing(tree, reason)
        if configuration.mode == .required, let missing {
            _ = tree?.remove()
            throw SystemError("cgroup.mode is required", errno: ENOTSUP, subject: "but \(missing)")
        }
        guard let tree else { return }
        controllers = tree.controllers
        countsPeakTasks = tree.nest.has("\(CgroupTree.zygotes)/pids.peak")
        pool = CgroupPool(
            nest: tree.nest, zygoteOwner: zygoteOwner, keepsMemory: controllers.contains("memory"), makesGroups: controllers.isEmpty)
        pool?.start()
    }

    private static func missing(_ tree: CgroupTree?, _ reason: String) -> String? {
        guard let tree else { return "\(reason); \(watched(needed, withCgroup: false))" }
        let lacking = needed.filter { !tree.controllers.contains($0) }
        if lacking.isEmpty { return nil }
        let reasons = Set(lacking.compactMap { tree.lacking[$0] }).sorted().joined(separator: "; ")
        return "each sandbox has a cgroup of its own, which ends its tree and counts its CPU time, but without the controllers "
            + "\(lacking.joined(separator: " ")) (\(reasons)): \(watched(lacking, withCgroup: true))"
    }

    /// What holds in place of controllers, and what it cannot promise.
    private static func watched(_ lacking: [String], withCgroup: Bool) -> String {
        var parts: [String] = []
        if lacking.contains("memory") {
            parts.append(
                "memory is looked at after \(ResourceWatch.firstIntervalNanoseconds / 1_000_000) ms and then every "
                    + "\(ResourceWatch.longestIntervalNanoseconds / 1_000_000) ms, and between two looks a tree can take what the "
                    + "machine has")
        }
        if !withCgroup { parts.append("CPU time is looked at in the same intervals") }
        if lacking.contains("pids") { parts.append("processes are limited by RLIMIT_NPROC in the sandbox's own user namespace") }
        if lacking.contains("cpu") { parts.append("the share of processors is not limited") }
        return parts.joined(separator: "; ")
    }

    /// A cgroup for one sandbox; nil where this daemon makes none.
    /// - Throws: where one could not be made. A sandbox is never weaker than the others of its daemon.
    func take(_ limits: GrantedLimits) throws(SystemError) -> SandboxCgroup? {
        guard let tree, let pool else { return nil }
        let name = try pool.take()
        return try SandboxCgroup(self, tree, pool, name, group(of: name, in: tree), limits: limits)
    }

    private struct WeakGroup {
        weak var group: CgroupGroup?
    }

    /// The group of a cgroup that the pool made; nil where it makes none.
    private func group(of name: String, in tree: CgroupTree) -> CgroupGroup? {
        guard let end = name.firstIndex(of: "/") else { return nil }
        let key = name[..<end]
        if let group = groups[key]?.group { return group }
        let group = CgroupGroup(key, in: tree.nest, loop: loop)
        groups = groups.filter { $0.value.group != nil }
        groups[key] = WeakGroup(group: group)
        return group
    }

    /// Puts a zygote into the cgroup of zygotes.
    func adopt(zygote pid: Int32) throws(SystemError) { try tree?.adopt(zygote: pid) }

    /// For the log.
    var summary: String {
        guard let tree else { return missing ?? "" }
        let names = CgroupTree.controllers.filter { controllers.contains($0) }.joined(separator: " ")
        return "\(tree.description), controllers: \(names.isEmpty ? "none" : names)"
    }

    /// - Returns: nil, or why something stays behind.
    func remove() -> String? {
        pool?.stop()
        return tree?.remove()
    }
}

/// Below which cgroup the daemon makes its own.
enum CgroupPlace {
    struct Place: Equatable {
        var base: String
        var own: String
    }

    static func find(_ configured: String?) throws(SystemError) -> Place {
        guard let mount = CgroupHierarchy.mount(mountinfo: try Files.readText("/proc/self/mountinfo", limit: 16 << 20)) else {
            throw SystemError("mountinfo", errno: ENOENT, subject: "no cgroup v2 hierarchy is mounted")
        }
        guard let path = CgroupHierarchy.ownPath(cgroup: try Files.readText("/proc/self/cgroup")),
            let own = CgroupHierarchy.directory(of: path, in: mount)
        else {
            throw SystemError("mountinfo", errno: ENOENT, subject: "\(mount.place) does not show the daemon's own cgroup")
        }
        if let configured { return Place(base: configured, own: own) }
        // Alone, as the service manager starts a service; or in the root, which may hold processes and hand controllers on.
        if isRoot(own) || isAlone(own) { return Place(base: own, own: own) }
        // Started from somebody's shell by root: what others run in cannot hand controllers on, the root can.
        if isRoot(mount.place) && access(mount.place, W_OK) == 0 { return Place(base: mount.place, own: own) }
        return Place(base: own, own: own)
    }

    /// Every cgroup but the root has this file.
    private static func isRoot(_ directory: String) -> Bool { access(directory + "/cgroup.events", F_OK) != 0 }

    private static func isAlone(_ directory: String) -> Bool {
        (try? Files.readText(directory + "/cgroup.procs")) == "\(getpid())\n"
    }
}
