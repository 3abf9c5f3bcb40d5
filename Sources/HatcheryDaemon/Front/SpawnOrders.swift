import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The namespaces of a child.
enum Namespaces {
    /// Those that come with the clone.
    static let flags: [(layer: Layer, flag: UInt64)] = [
        (.userns, hatchery_clone_newuser), (.pidns, hatchery_clone_newpid), (.mountns, hatchery_clone_newns),
        (.netns, hatchery_clone_newnet), (.ipcns, hatchery_clone_newipc), (.utsns, hatchery_clone_newuts),
    ]

    static func flags(without: LayerSet) -> UInt64 {
        flags.filter { !without.contains($0.layer) }.reduce(0) { $0 | $1.flag }
    }

    static func layers(without: LayerSet) -> LayerSet {
        // The init makes the last one itself (step 40).
        (flags.map(\.layer) + [.cgroupns]).filter { !without.contains($0) }.reduce(into: []) { $0.insert($1) }
    }
}

/// Turns a granted request into the two orders that its child gets.
struct SpawnOrders {
    let request: SpawnRequest
    let granted: Admission.Granted
    let hasTwoIDs: Bool
    let groupsMustBeEmpty: Bool

    func setup(_ filters: Filters) -> SetupOrder {
        var order = SetupOrder()
        let profile = granted.profile
        let keepsTwo = hasTwoIDs && !request.without.contains(.distinctUID)
        order.initUID = keepsTwo ? 0 : profile.uid
        order.initGID = keepsTwo ? 0 : profile.gid
        order.uid = profile.uid
        order.gid = profile.gid
        order.groupsMustBeEmpty = groupsMustBeEmpty
        order.hostname = profile.hostname
        order.loopback = granted.network == .loopback
        order.home = profile.home
        order.scratchBytes = granted.limits.diskBytes
        // An inode costs about a kilobyte of kernel memory; a tree of empty files must not be a way around the limit.
        order.scratchInodes = max(1024, granted.limits.diskBytes / 4096)
        order.rootFileSystem = request.rootFileSystem
        order.mounts = request.mounts.map { .init(destination: $0.destination, writable: $0.writable) }
        // One budget: what a request gives to a file system of its own is taken from the scratch space. 0 means a place in
        // the scratch space itself.
        order.temporaryFileSystems = request.temporaryFileSystems.map { .init(destination: $0.destination, size: $0.size ?? 0) }
        order.scratchBytes -= request.temporaryFileSystems.reduce(0) { $0 + ($1.size ?? 0) }
        // For files that come out, and because what is written there counts as memory (ResourceWatch).
        order.wantsScratch = true
        order.terminal = request.terminal
        order.countsRefusals = filters.countsRefusals
        order.refusalsAreFatal = filters.refusalsAreFatal
        order.without = request.without
        order.failAt = request.failAt
        return order
    }

    func launch() -> LaunchOrder {
        var order = LaunchOrder()
        order.title = request.title
        order.hasTerminal = request.terminal != nil
        order.filesIn = request.filesIn
        order.required = request.required.intersection(Receipts.reportedByChild)
        order.environment = granted.profile.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        order.limits = limits()
        return order
    }

    private func limits() -> [LaunchOrder.Limit] {
        func limit(_ resource: __rlimit_resource, _ value: UInt64, hard: UInt64? = nil) -> LaunchOrder.Limit {
            .init(resource: UInt32(resource.rawValue), soft: value, hard: hard ?? value)
        }
        let cpuSeconds = max(1, (granted.limits.cpuNanoseconds + 999_999_999) / 1_000_000_000)
        return [
            // Counted in the sandbox's own user namespace since Linux 5.14, so that sandboxes do not share one budget.
            limit(__RLIMIT_NPROC, granted.limits.processes),
            limit(RLIMIT_NOFILE, granted.limits.openFiles),
            limit(RLIMIT_CORE, 0),
            limit(RLIMIT_CPU, cpuSeconds, hard: cpuSeconds + 1),
            limit(RLIMIT_FSIZE, granted.limits.diskBytes),
            // Kernel memory that no other limit counts: locked pages, queued signals, message queues.
            limit(__RLIMIT_MEMLOCK, 8 << 20),
            .init(resource: UInt32(__RLIMIT_SIGPENDING.rawValue), soft: 4096, hard: 4096),
            .init(resource: UInt32(__RLIMIT_MSGQUEUE.rawValue), soft: 819_200, hard: 819_200),
            .init(resource: UInt32(__RLIMIT_NICE.rawValue), soft: 0, hard: 0),
            .init(resource: UInt32(__RLIMIT_RTPRIO.rawValue), soft: 0, hard: 0),
        ]
    }
}

/// Which layers protected a child, and why others did not.
enum Receipts {
    /// Layers that the child itself puts up and reports.
    static let reportedByChild = LayerSet([
        LayerSet(.root), LayerSet(.proc), LayerSet(.rlimits), LayerSet(.securebits), LayerSet(.caps), LayerSet(.fds),
        LayerSet(.noNewPrivs), LayerSet(.seccomp), LayerSet(.landlock),
    ])

    /// What is known before anything is cloned to be missing in every sandbox of this daemon.
    static func missing(in required: LayerSet, _ front: Front) -> [Receipt.Missing] {
        make(reported: reportedByChild, without: [], front).missing.filter { required.contains($0.layer) }
    }

    static func make(reported: LayerSet, without: LayerSet, _ front: Front) -> Receipt {
        var active = reported.union(Namespaces.layers(without: without))
        active.insert(.idmap)
        if front.identity.isDistinct && !without.contains(.distinctUID) { active.insert(.distinctUID) }
        if front.cgroups.missing == nil { active.insert(.cgroup) }
        active.subtract(without)
        let missing = Layer.allCases.filter { !active.contains($0) }
            .map { Receipt.Missing(layer: $0, why: without.contains($0) ? "left out by a test" : why($0, front)) }
        return Receipt(active: active, missing: missing)
    }

    static func error(for missing: [Receipt.Missing]) -> HatcheryError {
        HatcheryError(
            .layerMissing, side: .front,
            detail: "required layers are missing: \(missing.map(\.layer.name).joined(separator: ", "))",
            hint: missing.map { "\($0.layer.name): \($0.why)" }.joined(separator: "\n  "))
    }

    private static func why(_ layer: Layer, _ front: Front) -> String {
        switch layer {
        case .landlock: "the kernel has no Landlock of ABI 2 or later, or it was not enabled at boot (lsm= on the kernel's command line), or a seccomp filter around the daemon refuses it"
        case .cgroup: front.cgroups.missing ?? ""
        case .distinctUID:
            "the daemon runs as an ordinary user without ids lent by /etc/subuid and /etc/subgid, so that all its "
                + "sandboxes share one outer uid"
        case .proc:
            "the kernel refused a fresh /proc because parts of the outer one are masked; /proc is empty"
        default: "the child did not report it"
        }
    }
}
