import Glibc
import HatcheryProtocol
import HatcherySystem

/// Children of one zygote, hatched ahead of time and parked behind every layer, until a request takes one.
///
/// A parked child was built from the profile alone. What a request asks for beyond that, and what cannot be changed in a
/// sealed child, makes the request a miss: it gets a child of its own, never a weaker one.
final class Nursery: HatchedChildOwner {
    /// A refill waits this long after a hit, so that the request just served comes first, to its end where it is short: on two busy cores
    /// the end of a run came 10 to 20 % sooner than with a millisecond, and as many came in a second.
    static let refillDelayNanoseconds: UInt64 = 5_000_000
    /// After a child that could not be parked, nothing is tried for this long.
    static let failureDelayNanoseconds: UInt64 = 1_000_000_000
    private static let processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    /// Without a miss for this long, one child fewer is kept.
    static let decayNanoseconds: UInt64 = 30_000_000_000

    private unowned let front: Front
    private unowned let zygote: Zygote
    private let limits: NurseryConfiguration
    private let profileName: String
    private let profile: ProfileConfiguration
    private let granted: Admission.Granted
    private let template: SpawnRequest
    /// Parked and ready, the oldest first.
    private var parked: [HatchedChild] = []
    /// The one that is on its way. One at a time: a refill must not crowd out requests.
    private var hatching: HatchedChild?
    /// Given up, but not reaped yet.
    private var leaving: [ObjectIdentifier: HatchedChild] = [:]
    private var target: Int
    private var refillTimer: EventLoop.Timer?
    private var lastMiss: UInt64 = 0
    private(set) var hits: UInt64 = 0
    private(set) var misses: UInt64 = 0
    private var isStopped = false

    init?(_ configuration: ZygoteConfiguration, zygote: Zygote, front: Front) {
        guard configuration.nursery.max > 0, let profile = zygote.settings.configuration.profiles[configuration.profile] else {
            return nil
        }
        self.front = front
        self.zygote = zygote
        self.profile = profile
        limits = configuration.nursery
        profileName = configuration.profile
        target = Int(configuration.nursery.min)
        template = SpawnRequest(zygote: configuration.name, profile: configuration.profile)
        guard let granted = try? zygote.settings.admission.admit(template, zygote: configuration)
        else { return nil }
        self.granted = granted
    }

    var depth: Int { parked.count }

    // MARK: Taking

    /// A parked child that serves exactly this request, or nil.
    func take(for request: SpawnRequest, _ wanted: Admission.Granted) -> HatchedChild? {
        guard fits(request, wanted) else {
            misses += 1
            return nil
        }
        guard !parked.isEmpty else {
            misses += 1
            lastMiss = MonotonicClock.now()
            // The burst is larger than what was kept: keep more.
            target = min(max(1, target * 2), Int(limits.max))
            scheduleRefill()
            return nil
        }
        hits += 1
        scheduleRefill()
        return parked.removeFirst()
    }

    /// What the set-up of a parked child has fixed: root, mounts, terminal, network, profile, size of the scratch space.
    private func fits(_ request: SpawnRequest, _ wanted: Admission.Granted) -> Bool {
        wanted.profileName == profileName && wanted.network == granted.network && !request.rootFileSystem
            && request.mounts.isEmpty && request.temporaryFileSystems.isEmpty && request.terminal == nil
            && wanted.limits.diskBytes == granted.limits.diskBytes && request.without.isEmpty && request.failAt == nil
            && hasRoom(wanted.limits.memoryBytes)
    }

    /// SECURITY: whether the next parked child has not taken more already than a request wants to allow. Such a limit would
    /// end it, and the one after it. Test: aTinyMemoryLimitEndsNoParkedChild.
    private func hasRoom(_ memoryBytes: UInt64) -> Bool {
        guard memoryBytes < granted.limits.memoryBytes, let taken = parked.first?.cgroup?.currentBytes else { return true }
        return taken < memoryBytes
    }

    // MARK: Filling

    /// Starts filling at once: the zygote has just become ready.
    func fill() {
        isStopped = false
        hatchOne()
    }

    private func scheduleRefill(after delay: UInt64 = refillDelayNanoseconds) {
        guard refillTimer == nil, !isStopped else { return }
        refillTimer = front.loop.after(nanoseconds: delay) { [weak self] in
            self?.refillTimer = nil
            self?.hatchOne()
        }
    }

    private func hatchOne() {
        guard !isStopped, hatching == nil, parked.count < target, zygote.state == .ready else {
            decay()
            return
        }
        // A child that is parked and handed over takes more of a processor than one that is cloned for its request: while requests keep
        // all of them busy, every one that is parked makes the others wait.
        if front.turnstile.starting >= Nursery.processors { return scheduleRefill() }
        if front.identity.isDistinct && front.ids.available == 0 { return }
        do throws(SystemError) {
            let child = try HatchedChild(front: front, zygote: zygote, profile: profile, limits: granted.limits)
            child.owner = self
            child.wantsNetwork = granted.network == .nat
            hatching = child
            child.setUp { [weak self, weak child] () throws(SystemError) in
                guard let self, let child else { return }
                let filters = self.zygote.settings.filters(for: self.profileName)
                var order = SpawnOrders(
                    request: self.template, granted: self.granted, hasTwoIDs: self.front.identity.isDistinct,
                    groupsMustBeEmpty: self.front.identity.isDistinct
                ).setup(filters)
                order.tellsWhenParked = true
                order.network = child.network
                try child.send(order.encoded(), descriptors: [filters.payload, filters.initFilter])
            }
        } catch {
            front.log.warning("nursery of \(zygote.name): \(error)")
            scheduleRefill(after: Nursery.failureDelayNanoseconds)
        }
    }

    private func decay() {
        let now = MonotonicClock.now()
        if target > Int(limits.min), now - lastMiss > Nursery.decayNanoseconds {
            target -= 1
            lastMiss = now
        }
    }

    // MARK: What parked children report

    func childParked(_ child: HatchedChild) {
        guard child === hatching else { return }
        hatching = nil
        parked.append(child)
        hatchOne()
    }

    func childReady(_ child: HatchedChild) {
        // Nobody has told it what to run.
        front.log.error("nursery of \(zygote.name): a parked child ran something")
        child.kill()
    }

    func childFailed(_ child: HatchedChild, _ step: Step, _ errno: Int32) {
        front.log.warning(
            "nursery of \(zygote.name): \(step.side.name): \(step.name): \(ErrnoNames.describe(errno))")
        drop(child)
        scheduleRefill(after: Nursery.failureDelayNanoseconds)
    }

    func childEnded(_ child: HatchedChild, _ ended: Processes.Ended) {
        leaving[ObjectIdentifier(child)] = nil
        if hatching === child || parked.contains(where: { $0 === child }) {
            // Killed from outside, for want of memory for example.
            if hatching === child { hatching = nil }
            parked.removeAll { $0 === child }
            scheduleRefill(after: Nursery.failureDelayNanoseconds)
        }
    }

    private func drop(_ child: HatchedChild) {
        if hatching === child { hatching = nil }
        parked.removeAll { $0 === child }
        child.giveUp()
        if child.isAlive { leaving[ObjectIdentifier(child)] = child }
    }

    /// Ends every parked child; the zygote is being replaced, or the daemon ends.
    func empty() {
        isStopped = true
        refillTimer?.cancel()
        refillTimer = nil
        for child in parked { drop(child) }
        if let hatching { drop(hatching) }
    }
}
