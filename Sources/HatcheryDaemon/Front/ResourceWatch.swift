import Glibc
import HatcheryProtocol
import HatcherySystem

/// Watches what the kernel does not limit by itself, of one sandbox's whole tree: CPU time always, memory where there is no
/// memory controller.
///
/// It samples, and cannot promise more than that: between two samples a tree can take what the machine has. The receipt says
/// so by the missing layer `cgroup`.
///
/// Where processes have to be looked at, the loop does not do it itself (`Lookout`): how long that takes is the program's doing.
final class ResourceWatch {
    /// The first sample comes soon, since what goes wrong goes wrong early; then they come less and less often.
    static let firstIntervalNanoseconds: UInt64 = 20_000_000
    static let longestIntervalNanoseconds: UInt64 = 100_000_000
    /// A look that takes its time is followed by a pause that is so many times as long, so that nobody gets a processor of the
    /// daemon's by being hard to look at.
    static let pauseFactor: UInt64 = 2
    /// SECURITY: what cannot be looked at for so long is ended, or it would have no limits. Test: whatCannotBeLookedAtIsEnded.
    static let blindNanoseconds: UInt64 = 10_000_000_000

    private let tree: ProcessTree
    private let scratch: ScratchSpace?
    private let limits: GrantedLimits
    private let cgroup: SandboxCgroup?
    private let user: uid_t
    private let loop: EventLoop
    private let lookout: Lookout
    private let blindNanoseconds: UInt64
    private let usedMicroseconds: () -> UInt64?
    private let exceeded: (Verdict) -> Void
    private var interval = ResourceWatch.firstIntervalNanoseconds
    private var timer: EventLoop.Timer?
    /// The last one that was made outside of the loop, and the CPU time of the tree when it was begun.
    private var lastSample = ProcessTree.Sample()
    private var sampledAtMicroseconds: UInt64?
    private var isStopped = false
    private var peakBytes: UInt64 = 0
    private var peakProcesses: UInt64 = 0
    /// At the last look. What is killed together with its init is reaped by nobody, so that no other count has its time.
    private var seenCPUNanoseconds: UInt64 = 0
    private var verdict: Verdict?
    private var observed = ""

    /// - Parameters:
    ///   - scratch: what the sandbox can write to: its files count as memory.
    ///   - cgroup: what the kernel counts and limits.
    ///   - user: whose sandbox it is.
    ///   - usedMicroseconds: the CPU time of the tree, where that is to be had for less than a look; nil is the cgroup's.
    init(
        initPID: Int32, scratch: ScratchSpace?, limits: GrantedLimits, cgroup: SandboxCgroup?, user: uid_t, loop: EventLoop,
        lookout: Lookout, blindNanoseconds: UInt64 = ResourceWatch.blindNanoseconds, usedMicroseconds: (() -> UInt64?)? = nil,
        exceeded: @escaping (Verdict) -> Void
    ) {
        tree = ProcessTree(initPID: initPID)
        self.scratch = scratch
        self.limits = limits
        self.cgroup = cgroup
        self.user = user
        self.loop = loop
        self.lookout = lookout
        self.blindNanoseconds = blindNanoseconds
        self.usedMicroseconds = usedMicroseconds ?? { cgroup?.usedMicroseconds() }
        self.exceeded = exceeded
        schedule()
    }

    func stop() {
        isStopped = true
        timer?.cancel()
        timer = nil
    }

    private func schedule(after lookNanoseconds: UInt64 = 0) {
        let pause = max(interval, quietNanoseconds(), lookNanoseconds * ResourceWatch.pauseFactor)
        timer = loop.after(nanoseconds: pause) { [weak self] in self?.sample() }
        interval = min(interval * 2, ResourceWatch.longestIntervalNanoseconds)
    }

    /// How long nothing can happen that a sample would have to see: where the kernel keeps memory and counts processes, only
    /// CPU time is left, and that grows no faster than there are processors.
    private func quietNanoseconds() -> UInt64 {
        guard let cgroup, cgroup.keepsMemory, cgroup.countsPeakTasks, let used = cgroup.cpuNanoseconds else { return 0 }
        let processors = UInt64(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        return used < limits.cpuNanoseconds ? (limits.cpuNanoseconds - used) / processors : 0
    }

    private func sample() {
        if let counted = countedByKernel { return judge(counted, after: 0) }
        // Who did not run since has changed nothing: what takes memory takes time for it. Read before the look, so that what happens
        // meanwhile is seen by the next one. It is what keeps thousands of sandboxes that wait for something cheap.
        let used = usedMicroseconds()
        if let used, used == sampledAtMicroseconds {
            guard let group = cgroup?.group else { return judge(lastSample, after: 0) }
            return group.whenSomethingRan { [weak self] in
                guard let self, !isStopped else { return }
                sample()
            }
        }
        sampledAtMicroseconds = used
        timer = loop.after(nanoseconds: blindNanoseconds) { [weak self, blindNanoseconds] in
            self?.end(.memoryLimit, "not to be counted in \(Double(blindNanoseconds) / 1e9)s")
        }
        let (tree, counts, limit) = (tree, cgroup?.counts, limits.memoryBytes)
        lookout.look(for: user) {
            let start = MonotonicClock.now()
            let sample = tree.sample(
                members: counts?.processes, preciseAbove: limit, cpuNanoseconds: counts?.cpuNanoseconds)
            return (sample, MonotonicClock.now() - start)
        } _: { [weak self] (sample: ProcessTree.Sample, nanoseconds) in
            guard let self, !isStopped, verdict == nil else { return }
            timer?.cancel()
            var sample = sample
            sample.bytes += scratch?.usedBytes ?? 0
            lastSample = sample
            judge(sample, after: nanoseconds)
        }
    }

    private func judge(_ sample: ProcessTree.Sample, after nanoseconds: UInt64) {
        peakBytes = max(peakBytes, sample.bytes)
        peakProcesses = max(peakProcesses, sample.processes)
        seenCPUNanoseconds = max(seenCPUNanoseconds, sample.cpuNanoseconds)
        if sample.bytes > limits.memoryBytes {
            end(.memoryLimit, "\(sample.bytes)")
        } else if sample.cpuNanoseconds > limits.cpuNanoseconds {
            end(.cpuLimit, "\(Double(sample.cpuNanoseconds) / 1e9)s")
        } else {
            schedule(after: nanoseconds)
        }
    }

    /// What the tree uses now or, where processes have to be looked at for that, what it used at the last look.
    var usage: SandboxListing.Usage {
        let sample = countedByKernel ?? lastSample
        return .init(
            memoryBytes: cgroup?.currentBytes ?? sample.bytes, cpuNanoseconds: sample.cpuNanoseconds,
            processes: sample.processes)
    }

    private var countedByKernel: ProcessTree.Sample? {
        guard let cgroup, cgroup.keepsMemory, let used = cgroup.cpuNanoseconds else { return nil }
        return .init(processes: cgroup.taskCount ?? 0, bytes: 0, cpuNanoseconds: used)
    }

    private func end(_ verdict: Verdict, _ observed: String) {
        self.verdict = verdict
        self.observed = observed
        exceeded(verdict)
    }

    /// Adds what was seen, and what the kernel counted, to the report of the run.
    func complete(_ report: inout Ended) {
        let peak = cgroup?.peakBytes
        report.peakMemoryBytes = peak ?? max(report.peakMemoryBytes, peakBytes)
        report.peakProcesses = max(cgroup?.peakTasks ?? 0, max(1, peakProcesses))
        // What ended before the first look left nobody behind that is worth a look at a file.
        if report.wallNanoseconds >= ResourceWatch.firstIntervalNanoseconds {
            report.cpuNanoseconds = max(report.cpuNanoseconds, cgroup?.cpuNanoseconds ?? seenCPUNanoseconds)
        }
        if let verdict, report.verdict == verdict {
            report.limit = verdict == .memoryLimit ? "memory" : "cpu"
            report.observed = observed
        } else if report.verdict == .memoryLimit {
            // The kernel ended it, at the limit itself.
            report.limit = "memory"
            report.observed = "\(peak ?? limits.memoryBytes)"
        }
    }
}
