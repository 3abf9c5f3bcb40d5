/// The answer to a spawn: sent when the child is ready. Descriptors: pidfd, then stdout, stderr, and
/// stdin where it is a pipe; or the terminal alone.
public struct Spawned: Sendable, Hashable {
    public var id: String
    /// The payload's pid as the daemon's pid namespace counts.
    public var pid: Int32
    public var zygote: String
    public var generation: UInt32
    public var nurseryHit: Bool
    /// From the arrival of the request at the front to this answer.
    public var spawnNanoseconds: UInt64
    public var receipt: Receipt
    /// The limits in force.
    public var wallNanoseconds: UInt64
    /// Bytes that the client may keep of each stream; nil from a daemon that does not say.
    public var outputBytes: UInt64?

    public init(
        id: String, pid: Int32, zygote: String, generation: UInt32, nurseryHit: Bool, spawnNanoseconds: UInt64,
        receipt: Receipt, wallNanoseconds: UInt64, outputBytes: UInt64? = nil
    ) {
        self.id = id
        self.pid = pid
        self.zygote = zygote
        self.generation = generation
        self.nurseryHit = nurseryHit
        self.spawnNanoseconds = spawnNanoseconds
        self.receipt = receipt
        self.wallNanoseconds = wallNanoseconds
        self.outputBytes = outputBytes
    }
}

/// The end of a run: sent once for every child that was spawned. Descriptors: the files that came out, in their order.
public struct Ended: Sendable, Hashable {
    /// A file that was asked for and found; its descriptor comes with the message.
    public struct FileOut: Sendable, Hashable {
        public var path: String
        /// 0 where the file was opened; otherwise why not, and no descriptor comes for it.
        public var errno: Int32

        public init(path: String, errno: Int32 = 0) {
            self.path = path
            self.errno = errno
        }
    }

    /// A refused system call, and how often.
    public struct Violation: Sendable, Hashable {
        public var syscall: String
        public var count: UInt64

        public init(syscall: String, count: UInt64) {
            self.syscall = syscall
            self.count = count
        }
    }

    public var id: String
    public var verdict: Verdict
    public var exitCode: Int32?
    public var signal: Int32?
    public var wallNanoseconds: UInt64
    /// User and system time of every process of the sandbox.
    public var cpuNanoseconds: UInt64
    public var peakMemoryBytes: UInt64
    public var peakProcesses: UInt64
    /// Which limit ended the run, and what was observed; empty where none did.
    public var limit: String
    public var observed: String
    public var filesOut: [FileOut]
    /// Calls that the seccomp policy refused, by name.
    public var violations: [Violation] = []

    public init(id: String, verdict: Verdict) {
        self.id = id
        self.verdict = verdict
        wallNanoseconds = 0
        cpuNanoseconds = 0
        peakMemoryBytes = 0
        peakProcesses = 0
        limit = ""
        observed = ""
        filesOut = []
    }
}

/// One living sandbox, as `hatchery ps` shows it.
public struct SandboxListing: Sendable, Hashable {
    /// What a sandbox uses at a moment, its whole tree of processes counted.
    public struct Usage: Sendable, Hashable {
        public var memoryBytes: UInt64
        public var cpuNanoseconds: UInt64
        public var processes: UInt64

        public init(memoryBytes: UInt64, cpuNanoseconds: UInt64, processes: UInt64) {
            self.memoryBytes = memoryBytes
            self.cpuNanoseconds = cpuNanoseconds
            self.processes = processes
        }
    }

    public var id: String
    public var pid: Int32
    public var zygote: String
    public var profile: String
    public var title: String
    public var ownerUID: UInt32
    public var ageNanoseconds: UInt64
    /// In the answer to a question about this one only.
    public var usage: Usage?

    public init(
        id: String, pid: Int32, zygote: String, profile: String, title: String, ownerUID: UInt32,
        ageNanoseconds: UInt64
    ) {
        self.id = id
        self.pid = pid
        self.zygote = zygote
        self.profile = profile
        self.title = title
        self.ownerUID = ownerUID
        self.ageNanoseconds = ageNanoseconds
    }
}

/// One zygote, as `hatchery zygotes` shows it.
public struct ZygoteListing: Sendable, Hashable {
    public enum State: UInt8, Sendable, Hashable {
        case starting = 0
        case ready = 1
        case failed = 2
        /// Replaced by a newer generation; it ends when it has answered its orders.
        case retiring = 3

        public var name: String {
            switch self {
            case .starting: "starting"
            case .ready: "ready"
            case .failed: "failed"
            case .retiring: "retiring"
            }
        }
    }

    public var name: String
    public var kind: String
    public var state: State
    public var generation: UInt32
    public var pid: Int32
    public var spawned: UInt64
    /// Why it failed: the traceback of a preload, for example.
    public var message: String
    /// Children parked and ready.
    public var parked: UInt32
    public var nurseryHits: UInt64
    public var nurseryMisses: UInt64
    /// What a clone copies no page tables for.
    public var heap = FrozenHeap()
    /// The zygote's own page tables, at the time of the listing; a clone copies those of the pages that are not frozen.
    public var pageTableBytes: UInt64 = 0
    /// Pages that the zygote wrote and that are not frozen, or were written again.
    public var anonymousBytes: UInt64 = 0
    /// Of a Swift zygote, sorted.
    public var handlers: [String] = []
    /// What its audit found and let pass.
    public var findings: [String] = []

    public init(name: String, kind: String, state: State, generation: UInt32, pid: Int32) {
        self.name = name
        self.kind = kind
        self.state = state
        self.generation = generation
        self.pid = pid
        spawned = 0
        message = ""
        parked = 0
        nurseryHits = 0
        nurseryMisses = 0
    }
}
