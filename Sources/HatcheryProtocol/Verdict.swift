/// The one word that says how a run ended. Exactly one holds.
public enum Verdict: UInt8, CaseIterable, Sendable, Hashable {
    /// The program ended by itself; `exit_code` holds.
    case exited = 0
    /// A signal ended the program, and no limit of ours sent it.
    case signaled = 1
    /// The wall-clock limit passed.
    case timedOut = 2
    /// The CPU-time limit passed.
    case cpuLimit = 3
    /// The memory limit of the whole tree of processes was reached.
    case memoryLimit = 4
    /// A refused system call, where the policy kills.
    case syscallDenied = 5
    /// stdin was not taken within its own budget.
    case stdinStalled = 6
    /// The client gave up: cancellation, a kill request, or a closed connection.
    case cancelled = 7
    /// The sandbox could not be built: nothing of the program ran.
    case setupFailed = 8
    /// The daemon or the zygote is gone, so that nothing is known.
    case lost = 9

    /// The word in the JSON result.
    public var name: String {
        switch self {
        case .exited: "exited"
        case .signaled: "signaled"
        case .timedOut: "timed_out"
        case .cpuLimit: "cpu_limit"
        case .memoryLimit: "memory_limit"
        case .syscallDenied: "syscall_denied"
        case .stdinStalled: "stdin_stalled"
        case .cancelled: "cancelled"
        case .setupFailed: "setup_failed"
        case .lost: "lost"
        }
    }

    public init?(name: String) {
        guard let match = Verdict.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}
