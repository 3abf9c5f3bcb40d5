/// What the runner tells on its stdout: records of kind, task and length, and behind the last one the state of the tree.
///
/// Only the runner holds this pipe: the tasks have pipes of their own, and the runner's descriptors are out of their reach, since
/// it is not dumpable (ptrace(2), PR_SET_DUMPABLE).
public struct StepEvent: Sendable, Hashable {
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// A task begins.
        case started = 1
        /// Bytes of its streams.
        case stdout = 2
        case stderr = 3
        /// A task has ended: `StepEnd`.
        case ended = 4
        /// Bytes of a stream beyond the limit, which were dropped: their number, in eight bytes.
        case dropped = 5
        /// What the runner itself could not do: text. The phase ends.
        case failed = 6
        /// All tasks are over; what follows is the state of the tree, and nothing else.
        case state = 7
        /// A service takes connections.
        case ready = 8
    }

    public static let headerBytes = 9
    /// Longer records are not made, and not believed.
    public static let mostBytes = 1 << 20

    public var kind: Kind
    /// The task's number in the orders; 0 where the event is of none.
    public var task: UInt32
    public var bytes: [UInt8]

    public init(_ kind: Kind, task: Int = 0, bytes: [UInt8] = []) {
        self.kind = kind
        self.task = UInt32(task)
        self.bytes = bytes
    }

    public func encoded() -> [UInt8] {
        [kind.rawValue] + StepNumber.bytes(of: task) + StepNumber.bytes(of: UInt32(bytes.count)) + bytes
    }
}

/// How a task ended.
public struct StepEnd: Sendable, Hashable {
    public enum Cause: UInt8, Sendable, Hashable, CaseIterable {
        /// By itself, with an exit code.
        case exited = 0
        /// By a signal.
        case signaled = 1
        /// Its own time was over, or the phase's.
        case timedOut = 2
        /// It could not be started: an errno.
        case notStarted = 3
        /// A service that was ended at the end of its phase, as it should be.
        case stopped = 4
        /// A service did not take connections on its port in time.
        case notReady = 5
        /// Ended because a service had died.
        case serviceDied = 6
    }

    public var cause: Cause
    /// Exit code, signal or errno.
    public var value: Int32
    public var wallNanoseconds: UInt64
    public var cpuNanoseconds: UInt64

    public init(_ cause: Cause, value: Int32 = 0, wallNanoseconds: UInt64 = 0, cpuNanoseconds: UInt64 = 0) {
        self.cause = cause
        self.value = value
        self.wallNanoseconds = wallNanoseconds
        self.cpuNanoseconds = cpuNanoseconds
    }

    public var bytes: [UInt8] {
        [cause.rawValue] + StepNumber.bytes(of: value) + StepNumber.bytes(of: wallNanoseconds) + StepNumber.bytes(of: cpuNanoseconds)
    }

    public init?(_ bytes: [UInt8]) {
        guard bytes.count == 21, let cause = Cause(rawValue: bytes[0]) else { return nil }
        self.cause = cause
        value = StepNumber.read(bytes, at: 1)
        wallNanoseconds = StepNumber.read(bytes, at: 5)
        cpuNanoseconds = StepNumber.read(bytes, at: 13)
    }

    public var isSuccess: Bool { (cause == .exited && value == 0) || cause == .stopped }
}

/// Takes the runner's bytes as they come and gives whole events. What makes no sense ends it: the bytes come out of a sandbox.
public struct StepEventReader: Sendable {
    public enum Outcome: Sendable, Hashable {
        case event(StepEvent)
        /// More bytes are wanted.
        case more
        /// This is no record.
        case malformed
    }

    private var pending: [UInt8] = []
    private var offset = 0

    public init() {}

    public mutating func append(_ bytes: [UInt8]) {
        if offset > 0 {
            pending.removeFirst(offset)
            offset = 0
        }
        pending += bytes
    }

    public mutating func next() -> Outcome {
        let available = pending.count - offset
        guard available >= StepEvent.headerBytes else { return .more }
        guard let kind = StepEvent.Kind(rawValue: pending[offset]) else { return .malformed }
        let task: UInt32 = StepNumber.read(pending, at: offset + 1)
        let length = Int(StepNumber.read(pending, at: offset + 5) as UInt32)
        guard length <= StepEvent.mostBytes else { return .malformed }
        guard available >= StepEvent.headerBytes + length else { return .more }
        let start = offset + StepEvent.headerBytes
        offset = start + length
        return .event(StepEvent(kind, task: Int(task), bytes: Array(pending[start..<offset])))
    }

    /// What came behind the last event.
    public var rest: [UInt8] { Array(pending[offset...]) }
}

/// Little-endian integers in bytes.
enum StepNumber {
    static func bytes(of value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }

    static func read<Value: FixedWidthInteger>(_ bytes: [UInt8], at offset: Int) -> Value {
        bytes.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
    }
}
