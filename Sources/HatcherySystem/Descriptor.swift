import CHatchery
import Glibc

/// A file descriptor with one owner, closed exactly once.
public struct Descriptor: ~Copyable, Sendable {
    public let raw: Int32

    /// Takes over an open descriptor.
    public init(owning raw: Int32) {
        precondition(raw >= 0, "a negative number is not a descriptor")
        self.raw = raw
    }

    deinit { Descriptor.close(raw) }

    /// Gives the descriptor up without closing it.
    public consuming func release() -> Int32 {
        let raw = self.raw
        discard self
        return raw
    }

    /// A second descriptor for the same open file, close-on-exec.
    public borrowing func duplicate() throws(SystemError) -> Descriptor { try Descriptor.duplicate(raw) }

    /// The same of a descriptor that somebody else owns.
    public static func duplicate(_ raw: Int32) throws(SystemError) -> Descriptor {
        Descriptor(owning: try check(hatchery_fcntl(raw, hatchery_f_dupfd_cloexec, 3), "fcntl(F_DUPFD_CLOEXEC)"))
    }

    public borrowing func setNonblocking(_ on: Bool = true) throws(SystemError) {
        let flags = try check(hatchery_fcntl(raw, F_GETFL, 0), "fcntl(F_GETFL)")
        let wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
        try check(hatchery_fcntl(raw, F_SETFL, Int(wanted)), "fcntl(F_SETFL)")
    }

    /// close(2) of a descriptor that is ours. EBADF is our own bug, never the peer's, and the number may belong to somebody
    /// else by the next call: stop.
    static func close(_ raw: Int32) {
        let result = hatchery_close(raw)
        precondition(result != -EBADF, "descriptor \(raw) was closed twice")
    }
}

/// Descriptors that came with one message. What nobody takes is closed.
public struct DescriptorBatch: ~Copyable, Sendable {
    private var raws: [Int32]

    public init(owning raws: [Int32]) { self.raws = raws }

    public init() { self.raws = [] }

    deinit { for raw in raws where raw >= 0 { Descriptor.close(raw) } }

    public var count: Int { raws.count }

    /// The number of the descriptor at `index`, still owned by the batch; -1 where it was taken.
    public func raw(_ index: Int) -> Int32 { raws[index] }

    /// Moves all that are left out of the batch; the caller owns them.
    public mutating func releaseAll() -> [Int32] {
        let released = raws.filter { $0 >= 0 }
        raws = []
        return released
    }

    /// Moves one descriptor out of the batch.
    public mutating func take(_ index: Int) -> Descriptor {
        let raw = raws[index]
        precondition(raw >= 0, "descriptor \(index) was already taken")
        raws[index] = -1
        return Descriptor(owning: raw)
    }
}

/// The two ends of a pipe, close-on-exec from birth.
@frozen public struct Pipe: ~Copyable {
    public var readEnd: Descriptor
    public var writeEnd: Descriptor

    public init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try check(hatchery_pipe(&ends), "pipe2")
        readEnd = Descriptor(owning: ends[0])
        writeEnd = Descriptor(owning: ends[1])
    }
}
