import Glibc
import HatcheryProtocol
import HatcherySystem

/// Watches what the kernel does not limit by itself, of one sandbox's whole tree: CPU time always, memory where there is no
/// memory controller.
///
/// It samples, and cannot promise more than that: between two samples a tree can take what the machine has. The receipt says
/// so by the missing layer `cgroup`.
final class ResourceWatch {
    /// The first sample comes soon, since what goes wrong goes wrong early; then they come less and less often.
    static let firstIntervalNanoseconds: UInt64 = 20_000_000
    static let longestIntervalNanoseconds: UInt64 = 100_000_000

    private let tree: ProcessTree
    private let scratch: Int32
    private let limits: GrantedLimits
    private let cgroup: SandboxCgroup?
    private let loop: EventLoop
    private let exceeded: (Verdict) -> Void
    private var interval = ResourceWatch.firstIntervalNanoseconds
    private var timer: EventLoop.Timer?
    private var peakBytes: UInt64 = 0
    private var peakProcesses: UInt64 = 0
    private var seenCPUNanoseconds: UInt64 = 0
    private var verdict: Verdict?
    private var observed = ""

    /// - Parameters:
    ///   - scratch: the sandbox's writable directory, whose files count as memory, or -1.
    ///   - cgroup: what the kernel counts and limits.
    init(
        initPID: Int32, scratch: Int32, limits: GrantedLimits, cgroup: SandboxCgroup?, loop: EventLoop,
        exceeded: @escaping (Verdict) -> Void
    ) {
        tree = ProcessTree(initPID: initPID)
        self.scratch = scratch
        self.limits = limits
        self.cgroup = cgroup
        self.loop = loop
        self.exceeded = exceeded
        schedule()
    }

    func stop() {
        timer?.cancel()
        timer = nil
    }

    private func schedule() {
        let pause = max(interval, quietNanoseconds())
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
        let sample = look()
        if sample.bytes > limits.memoryBytes {
            end(.memoryLimit, "\(sample.bytes)")
        } else if sample.cpuNanoseconds > limits.cpuNanoseconds {
            end(.cpuLimit, "\(Double(sample.cpuNanoseconds) / 1e9)s")
        } else {
            schedule()
        }
    }

    /// The last look at a sandbox that is about to be killed: what is killed together with its init is reaped by nobody, so that no
    /// other count has its CPU time.
    func lookForTheLastTime() {
        if cgroup?.cpuNanoseconds == nil { _ = look() }
    }

    private func look() -> ProcessTree.Sample {
        let sample = takeSample()
        peakBytes = max(peakBytes, sample.bytes)
        peakProcesses = max(peakProcesses, sample.processes)
        seenCPUNanoseconds = max(seenCPUNanoseconds, sample.cpuNanoseconds)
        return sample
    }

    /// What the tree uses now.
    var usage: SandboxListing.Usage {
        let sample = takeSample()
        return .init(
            memoryBytes: cgroup?.currentBytes ?? sample.bytes, cpuNanoseconds: sample.cpuNanoseconds,
            processes: sample.processes)
    }

    private func takeSample() -> ProcessTree.Sample {
        if let cgroup, cgroup.keepsMemory, let used = cgroup.cpuNanoseconds {
            return .init(processes: cgroup.taskCount ?? 0, bytes: 0, cpuNanoseconds: used)
        }
        var sample = tree.sample(
            members: cgroup?.processes, preciseAbove: limits.memoryBytes, cpuNanoseconds: cgroup?.cpuNanoseconds)
        sample.bytes += scratchBytes()
        return sample
    }

    private func scratchBytes() -> UInt64 {
        guard scratch >= 0 else { return 0 }
        var space = statvfs()
        guard fstatvfs(scratch, &space) == 0 else { return 0 }
        return UInt64(space.f_blocks - space.f_bfree) * UInt64(space.f_frsize)
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
