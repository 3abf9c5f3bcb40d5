import Hatchery
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// What came of a build.
public struct BuildReport: Sendable, Hashable {
    public enum Outcome: String, Sendable, Hashable, CaseIterable {
        case passed, failed
        /// Not run, since something before it had failed.
        case skipped
        /// Given up by the caller.
        case cancelled
        /// A service that was ended with its phase, as it should be.
        case stopped
    }

    public struct Step: Sendable, Hashable {
        public var phase: BuildPhase
        /// From 1, within its phase.
        public var number: Int
        public var text: String
        public var isBackground: Bool
        public var line: Int
        public var outcome = Outcome.skipped
        /// As a shell would tell it; nil where it did not run.
        public var exitStatus: Int32?
        /// What was the matter, in words.
        public var message: String?
        public var wallSeconds = 0.0
        public var cpuSeconds = 0.0
        /// The last bytes of each stream, secrets masked.
        public var stdout: [UInt8] = []
        public var stderr: [UInt8] = []
        /// Bytes that the step wrote beyond its limit.
        public var droppedBytes: UInt64 = 0
    }

    public struct Phase: Sendable, Hashable {
        public var phase: BuildPhase
        public var outcome = Outcome.skipped
        public var message: String?
        public var wallSeconds = 0.0
        public var peakMemoryBytes: UInt64 = 0
        public var receipt = Receipt()
        /// Of the sandbox.
        public var id: String?
        public var steps: [Step] = []
    }

    public var name: String
    public var phases: [Phase] = []
    /// That of the first step that failed; 0 where none did.
    public var exitStatus: Int32 = 0
    public var wallSeconds = 0.0
    /// What was asked for with `--out` and did not come, with the reason.
    public var missingOutputs: [(path: String, why: String)] {
        get { missing.map { ($0.path, $0.why) } }
        set { missing = newValue.map { Missing(path: $0.path, why: $0.why) } }
    }
    private var missing: [Missing] = []

    private struct Missing: Sendable, Hashable {
        var path: String
        var why: String
    }

    public init(name: String) { self.name = name }

    public var outcome: Outcome {
        if phases.contains(where: { $0.outcome == .cancelled }) { return .cancelled }
        return exitStatus == 0 ? .passed : .failed
    }
}

extension StepEnd {
    /// As a shell would tell it.
    package var exitStatus: Int32 {
        switch cause {
        case .exited: value
        case .signaled: 128 + value
        case .timedOut, .notReady: 124
        case .notStarted: value == 2 || value == 20 ? 127 : 126  // ENOENT, ENOTDIR
        case .stopped: 0
        case .serviceDied: 1
        }
    }

    /// What was the matter; nil where nothing was.
    package func message(isService: Bool) -> String? {
        switch cause {
        case .exited where isService: "the service ended with exit code \(value) before its phase did"
        case .exited: value == 0 ? nil : "exit code \(value)"
        case .signaled: "\(isService ? "the service was " : "")ended by \(Signals.name(value)): \(SignalMeaning.of(value))"
        case .timedOut: "the time limit was reached"
        case .notStarted: "cannot be started: \(ErrnoNames.describe(value))"
        case .stopped: nil
        case .notReady: "the service did not listen on its port in time"
        case .serviceDied: "ended, because a service had died"
        }
    }
}
