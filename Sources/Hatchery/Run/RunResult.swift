import HatcheryProtocol
import HatcherySystem

/// What came of a run: the fields of `--json`, under Swift's spelling.
public struct RunResult: Sendable, Hashable {
    /// What the run used.
    public struct Usage: Sendable, Hashable {
        /// From the program's start to its end.
        public var wallSeconds: Double = 0
        /// User and system time of all processes.
        public var cpuSeconds: Double = 0
        public var peakMemoryBytes: UInt64 = 0
        public var peakPids: UInt64 = 0

        public init(
            wallSeconds: Double = 0, cpuSeconds: Double = 0, peakMemoryBytes: UInt64 = 0, peakPids: UInt64 = 0
        ) {
            self.wallSeconds = wallSeconds
            self.cpuSeconds = cpuSeconds
            self.peakMemoryBytes = peakMemoryBytes
            self.peakPids = peakPids
        }
    }

    /// What the verdict rests on.
    public struct Evidence: Sendable, Hashable {
        /// A system call that the seccomp policy refused, and how often.
        public typealias Violation = Ended.Violation

        /// The limit that ended the run.
        public var limit: String?
        /// What was seen of it; for `setup_failed` and `lost` the error.
        public var observed: String?
        public var violations: [Violation] = []
    }

    /// How the sandbox came about.
    public struct Spawn: Sendable, Hashable {
        public var zygote: String
        // nil where no child ever existed.
        public var generation: UInt32?
        public var nurseryHit: Bool?
        /// From the request's arrival at the daemon to the moment when the program was ready to start.
        public var spawnSeconds: Double?
        /// As the daemon counts.
        public var pid: Int32?
        public var id: String?
    }

    /// A file that was asked for.
    public struct File: Sendable, Hashable {
        public var path: String
        public var destination: String
        public var bytes: UInt64
        /// nil where the file is at its destination.
        public var error: String?
    }

    public var verdict: Verdict
    /// Where the program ended by itself.
    public var exitCode: Int32?
    public var signal: Int32?
    public var signalName: String?
    /// UTF-8 with invalid bytes dropped; a code point that the cap split is gone.
    public var stdout: String
    public var stderr: String
    /// The kept bytes as they came.
    public var stdoutBytes: [UInt8]
    public var stderrBytes: [UInt8]
    /// Bytes that were read and dropped for the cap.
    public var stdoutTruncatedBytes: UInt64
    public var stderrTruncatedBytes: UInt64
    /// The exact kept bytes, only where `stdout` had to leave invalid ones out.
    public var stdoutBase64: String?
    /// Whether the program's stdin took all that was given.
    public var stdinWritten: Bool
    public var usage: Usage
    public var evidence: Evidence
    public var spawn: Spawn
    public var receipt: Receipt
    public var files: [File]
}

extension RunResult {
    /// - Parameter zygote: the one that was asked, for the case that there is no answer.
    package init(_ outcome: RunOutcome, zygote: String, files: [File]) {
        let ended = outcome.ended
        verdict = outcome.verdict
        exitCode = ended?.exitCode
        signal = ended?.signal
        signalName = ended?.signal.map { Signals.name($0) }
        stdoutBytes = outcome.stdout.kept
        stderrBytes = outcome.stderr.kept
        let output = outcome.stdout.text
        stdout = output.string
        stderr = outcome.stderr.text.string
        stdoutTruncatedBytes = outcome.stdout.total - UInt64(stdoutBytes.count)
        stderrTruncatedBytes = outcome.stderr.total - UInt64(stderrBytes.count)
        stdoutBase64 = output.hadInvalidBytes ? Base64.encode(stdoutBytes) : nil
        stdinWritten = outcome.stdinWritten
        usage = Usage(
            wallSeconds: Double(ended?.wallNanoseconds ?? 0) / 1e9,
            cpuSeconds: Double(ended?.cpuNanoseconds ?? 0) / 1e9,
            peakMemoryBytes: ended?.peakMemoryBytes ?? 0, peakPids: ended?.peakProcesses ?? 0)
        evidence = Evidence(
            limit: ended.flatMap { $0.limit.isEmpty ? nil : $0.limit },
            observed: ended.flatMap { $0.observed.isEmpty ? nil : $0.observed } ?? outcome.failure?.description,
            violations: ended?.violations ?? [])
        if verdict == .stdinStalled {
            evidence.limit = "stdin"
            evidence.observed = "\(usage.wallSeconds)s"
        }
        spawn = Spawn(
            zygote: outcome.spawned?.zygote ?? zygote, generation: outcome.spawned?.generation,
            nurseryHit: outcome.spawned?.nurseryHit,
            spawnSeconds: outcome.spawned.map { Double($0.spawnNanoseconds) / 1e9 }, pid: outcome.spawned?.pid,
            id: outcome.spawned?.id)
        receipt = outcome.spawned?.receipt ?? Receipt()
        self.files = files
    }

    /// The result of a run that never began: verdict `cancelled`, `lost` or `setup_failed`, and the error as evidence.
    package init(failure: HatcheryError, zygote: String) {
        let none = OutputCollector(limit: 0, part: .head)
        let verdict: Verdict =
            switch failure.kind {
            case .cancelled: .cancelled
            case .lost, .unreachable: .lost
            default: .setupFailed
            }
        self.init(
            RunOutcome(
                failure: failure, verdict: verdict, stdout: none, stderr: none, stdinWritten: true,
                files: OwnedDescriptors()),
            zygote: zygote, files: [])
    }
}
