import Glibc
import HatcheryProtocol
import HatcherySystem

/// What is known of one sandbox: events in, actions out, no input or output. The order in which its reports arrive on
/// three descriptors is not fixed, so every order must lead to the same answers.
struct SandboxState {
    enum Action: Equatable {
        case wait
        /// The payload runs: answer the client.
        case announce
    }

    enum RecordOutcome: Equatable { case parked, ready, failed }

    /// Whether the payload becomes another program: then only the end of the status pipe says that this went well.
    let becomesProgram: Bool
    private(set) var isReady = false
    private(set) var isFinished = false
    private(set) var layers: LayerSet = []
    private var sawReadyRecord = false
    private var sawStart = false
    private var sawPayload = false
    private var cause: Verdict?
    private var exit: ExitStatus?
    /// Refused calls by their numbers: what the init said last, and what of it was a rehearsal's.
    private(set) var refusals: [UInt16: UInt32] = [:]
    private var refusalsBefore: [UInt16: UInt32] = [:]
    private var sentBadSystemCall = false

    init(becomesProgram: Bool = true) { self.becomesProgram = becomesProgram }

    mutating func record(_ record: StatusRecord) -> RecordOutcome {
        layers = record.layers
        guard record.errno == 0 else { return .failed }
        switch Step(rawValue: record.step) {
        case .ready:
            sawReadyRecord = true
            // It has passed the gate, so its init is sealed, and there is no call left that could fail.
            if !becomesProgram { sawStart = true }
            return .ready
        case .awaitLaunch: return .parked
        default: return .failed
        }
    }

    /// A record was taken: whether it was the last thing to come.
    mutating func recordTaken() -> Action { announceIfComplete() }

    mutating func statusClosed() -> Action {
        sawStart = true
        // Without a record the child is gone; its pidfd reports the end.
        return announceIfComplete()
    }

    mutating func payloadForked() -> Action {
        sawPayload = true
        return announceIfComplete()
    }

    private mutating func announceIfComplete() -> Action {
        guard sawReadyRecord, sawStart, sawPayload, !isReady, !isFinished else { return .wait }
        isReady = true
        return .announce
    }

    mutating func payloadEnded(_ status: ExitStatus) {
        // The program's own end counts where it came before ours.
        if exit == nil && cause == nil { exit = status }
    }

    /// The first cause counts: a limit that passes while another one is already ending the run changes nothing.
    mutating func ending(because verdict: Verdict) {
        if cause == nil && exit == nil { cause = verdict }
    }

    /// The kernel ended processes of the sandbox for its memory limit. It ends the whole of it, but the init may have seen
    /// the payload go first.
    mutating func ranOutOfMemory() {
        if cause == nil && (exit == nil || exit == .signaled(signal: SIGKILL)) { cause = .memoryLimit }
    }

    /// The init counts for itself; what it says replaces what it said before.
    mutating func refused(syscall: UInt16, count: UInt32, isFatal: Bool) {
        refusals[syscall] = count
        if isFatal { ending(because: .syscallDenied) }
    }

    /// What was refused until now was a rehearsal's, not the program's.
    mutating func rehearsed() { refusalsBefore = refusals }

    mutating func sentBadSystemCallSignal() { sentBadSystemCall = true }

    /// What the program was refused, by name.
    private var violations: [Ended.Violation] {
        refusals.compactMap { number, count in
            let own = count - min(count, refusalsBefore[number] ?? 0)
            return own > 0 ? .init(syscall: SeccompNames.name(of: UInt32(number)), count: UInt64(own)) : nil
        }.sorted { $0.syscall < $1.syscall }
    }

    mutating func finished() { isFinished = true }

    /// The report of a run that is over.
    func verdict(id: String, cpuLimitNanoseconds: UInt64, usage: rusage) -> Ended {
        var report = Ended(id: id, verdict: cause ?? .signaled)
        report.cpuNanoseconds = usage.cpuNanoseconds
        report.peakMemoryBytes = UInt64(max(0, usage.ru_maxrss)) * 1024
        report.violations = violations
        if cause == .syscallDenied { report.signal = SIGSYS }
        if cause != nil { return report }
        switch exit {
        case .exited(let code):
            report.verdict = .exited
            report.exitCode = code
        case .signaled(let signal):
            report.signal = signal
            report.verdict = .signaled
            // SIGXCPU alone proves nothing, since a program can send it to itself. The kernel's count behind RLIMIT_CPU goes
            // by ticks and runs ahead of the exact time reported here by a fifth at times, so half of the limit is asked for.
            if (signal == SIGXCPU && report.cpuNanoseconds >= cpuLimitNanoseconds / 2)
                || (signal == SIGKILL && report.cpuNanoseconds >= cpuLimitNanoseconds)
            {
                report.verdict = .cpuLimit
                report.limit = "cpu"
                report.observed = "\(Double(report.cpuNanoseconds) / 1e9)s"
            } else if signal == SIGSYS && !sentBadSystemCall {
                // The filter's own end of a process (a foreign architecture) looks the same as a signal that a program sends.
                report.verdict = .syscallDenied
            }
        case nil:
            // The init was killed from outside, and with it the payload: by the kernel for want of memory, or by the
            // operator.
            report.signal = SIGKILL
        }
        return report
    }
}

extension rusage {
    var cpuNanoseconds: UInt64 {
        func nanoseconds(_ time: timeval) -> UInt64 {
            UInt64(max(0, time.tv_sec)) * 1_000_000_000 + UInt64(max(0, time.tv_usec)) * 1000
        }
        return nanoseconds(ru_utime) + nanoseconds(ru_stime)
    }
}
