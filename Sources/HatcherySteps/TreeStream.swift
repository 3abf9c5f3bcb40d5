import CHatchery
import Glibc
import HatcherySystem

/// The state of a build's tree as a stream of bytes: what of the work directory and of the home directory goes from one phase to
/// the next. Directories, regular files and symbolic links; nothing else is carried.
///
/// A stream may come out of a sandbox, so its reader believes nothing: paths are checked component by component.
public enum TreeStream {
    /// Which of the two directories an entry is in.
    public enum Root: UInt8, Sendable, Hashable, CaseIterable {
        case work = 0
        case home = 1
    }

    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// The last record of a stream.
        case end = 0
        case directory = 1
        case file = 2
        /// Its data is where it points to.
        case link = 3
    }

    public struct Entry: Sendable, Hashable {
        public var kind: Kind
        public var root: Root
        /// Relative, components joined by `/`.
        public var path: [UInt8]
        /// Permission bits; set-id and sticky bits are not carried.
        public var mode: UInt16
        public var seconds: Int64
        public var nanoseconds: UInt32
        /// Bytes of data that follow.
        public var size: UInt64

        public init(
            _ kind: Kind, _ root: Root, path: [UInt8], mode: UInt16 = 0, seconds: Int64 = 0, nanoseconds: UInt32 = 0,
            size: UInt64 = 0
        ) {
            self.kind = kind
            self.root = root
            self.path = path
            self.mode = mode
            self.seconds = seconds
            self.nanoseconds = nanoseconds
            self.size = size
        }

        public var text: String { String(decoding: path, as: UTF8.self) }
    }

    static let headerBytes = 1 + 1 + 2 + 8 + 4 + 8 + 2
    static let longestPath = 4096
    static let chunkBytes = 1 << 18
    /// Nesting; each level is a level of our stack and a descriptor.
    public static let maximumDepth = 128

    /// Why a tree cannot be carried.
    public struct Problem: Error, Sendable, Hashable, CustomStringConvertible {
        public var description: String
        public init(_ description: String) { self.description = description }
        init(_ error: SystemError) { description = error.description }
    }

    /// Whether a path is one that leads down and nowhere else.
    static func isSound(_ path: [UInt8]) -> Bool {
        guard !path.isEmpty, path.count < longestPath, !path.contains(0) else { return false }
        let parts = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return parts.count <= maximumDepth
            && parts.allSatisfy { !$0.isEmpty && $0.count <= 255 && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8) }
    }
}

/// Writes a stream to a blocking descriptor.
public final class TreeStreamWriter {
    private let raw: Int32
    private let limit: UInt64
    private var buffer: [UInt8] = []
    public private(set) var bytes: UInt64 = 0

    /// - Parameter limit: bytes; a longer stream is a problem.
    public init(_ raw: Int32, limit: UInt64) {
        self.raw = raw
        self.limit = limit
    }

    public func begin(_ entry: TreeStream.Entry) throws(TreeStream.Problem) {
        var header = [entry.kind.rawValue, entry.root.rawValue]
        header += StepNumber.bytes(of: entry.mode) + StepNumber.bytes(of: entry.seconds) + StepNumber.bytes(of: entry.nanoseconds)
        header += StepNumber.bytes(of: entry.size) + StepNumber.bytes(of: UInt16(entry.path.count)) + entry.path
        try write(header[...])
    }

    public func write(_ data: ArraySlice<UInt8>) throws(TreeStream.Problem) {
        bytes += UInt64(data.count)
        guard bytes <= limit else {
            throw TreeStream.Problem("the tree is larger than \(limit) bytes; raise limits.disk, or leave less behind")
        }
        buffer += data
        if buffer.count >= TreeStream.chunkBytes { try flush() }
    }

    /// Ends the stream. Nothing may follow.
    public func end() throws(TreeStream.Problem) {
        try begin(.init(.end, .work, path: []))
        try flush()
    }

    private func flush() throws(TreeStream.Problem) {
        do throws(SystemError) {
            try writeAll(raw, buffer)
        } catch {
            throw TreeStream.Problem(error)
        }
        buffer.removeAll(keepingCapacity: true)
    }
}

/// Reads a stream from a blocking descriptor.
public final class TreeStreamReader {
    private let raw: Int32
    private var buffer: [UInt8]
    private var offset = 0
    /// Of the data of the last entry, what was not read yet.
    private var remaining: UInt64 = 0

    /// - Parameter ahead: bytes that were read from the descriptor before.
    public init(_ raw: Int32, ahead: [UInt8] = []) {
        self.raw = raw
        buffer = ahead
    }

    /// The next entry; nil at the end. Data of the entry before that nobody read is passed over.
    public func next() throws(TreeStream.Problem) -> TreeStream.Entry? {
        while try data() != nil {}
        let header = try take(TreeStream.headerBytes)
        guard let kind = TreeStream.Kind(rawValue: header[0]), let root = TreeStream.Root(rawValue: header[1]) else {
            throw TreeStream.Problem("a stream of a tree holds an unknown kind of entry")
        }
        if kind == .end { return nil }
        let size: UInt64 = StepNumber.read(header, at: 16)
        let path = try take(Int(StepNumber.read(header, at: 24) as UInt16))
        // SECURITY: the one place where names from a sandbox are looked at. Test: aForgedStreamLeadsNowhere.
        guard TreeStream.isSound(path) else { throw TreeStream.Problem("a stream of a tree holds an impossible path") }
        guard kind == .file || kind == .link && size < TreeStream.longestPath || size == 0 else {
            throw TreeStream.Problem("a stream of a tree holds an impossible size")
        }
        remaining = size
        return TreeStream.Entry(
            kind, root, path: path, mode: StepNumber.read(header, at: 2) & 0o777, seconds: StepNumber.read(header, at: 4),
            nanoseconds: min(StepNumber.read(header, at: 12), 999_999_999), size: size)
    }

    /// Some data of the last entry; nil where there is no more.
    public func data() throws(TreeStream.Problem) -> ArraySlice<UInt8>? {
        if remaining == 0 { return nil }
        if offset == buffer.count { try fill() }
        let count = min(buffer.count - offset, Int(min(remaining, UInt64(TreeStream.chunkBytes))))
        defer { offset += count }
        remaining -= UInt64(count)
        return buffer[offset..<(offset + count)]
    }

    private func take(_ count: Int) throws(TreeStream.Problem) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            if offset == buffer.count { try fill() }
            let some = min(count - bytes.count, buffer.count - offset)
            bytes += buffer[offset..<(offset + some)]
            offset += some
        }
        return bytes
    }

    private func fill() throws(TreeStream.Problem) {
        offset = 0
        while true {
            var count = 0
            buffer = [UInt8](unsafeUninitializedCapacity: TreeStream.chunkBytes) { room, initialized in
                count = read(raw, room.baseAddress, room.count)
                initialized = max(0, count)
            }
            if count > 0 { return }
            if count == 0 { throw TreeStream.Problem("a stream of a tree is cut off") }
            if hatchery_errno() != EINTR { throw TreeStream.Problem(SystemError("read", errno: hatchery_errno())) }
        }
    }
}
