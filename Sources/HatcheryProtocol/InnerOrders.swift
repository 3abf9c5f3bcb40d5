/// Front to zygote: clone one child. Fixed size, and nothing in it comes from a request's payload.
///
/// Descriptors: the child's control socket, the write end of its status pipe, and the cgroup where one is given.
public struct CloneOrder: Sendable, Hashable {
    public static let magic: UInt32 = 0x4843_4C4F
    public static let size = 40

    /// The two lines of the child's id maps, the same numbers for users and groups outside: the zygote writes them, because
    /// the kernel takes a map only from a process of the namespace itself or of its parent (user_namespaces(7)), and the
    /// front is neither.
    public struct IDMap: Sendable, Hashable {
        /// Ids of the payload inside.
        public var uid: UInt32
        public var gid: UInt32
        /// Ids in the zygote's base namespace.
        public var payloadID: UInt32
        /// nil where init and payload share one id.
        public var initID: UInt32?

        public init(uid: UInt32, gid: UInt32, payloadID: UInt32, initID: UInt32?) {
            self.uid = uid
            self.gid = gid
            self.payloadID = payloadID
            self.initID = initID
        }

        /// 2^32-1 means "no id" to the kernel, so it can mean that here.
        static let noID = UInt32.max
        /// An id that no base namespace maps.
        public static let unmappedForTests: UInt32 = 0x7FFF_FFFF
        /// In place of a payload's id: the map has every id of the base namespace, as many as `initID` says.
        public static let everythingForTests: UInt32 = 0x7FFF_FFFE
    }

    public var serial: UInt64
    /// CLONE_NEW* of clone(2).
    public var namespaces: UInt64
    public var map: IDMap

    public init(serial: UInt64, namespaces: UInt64, map: IDMap) {
        self.serial = serial
        self.namespaces = namespaces
        self.map = map
    }

    /// Writes 40 bytes without allocating.
    public func write(into buffer: UnsafeMutableRawBufferPointer) {
        buffer.storeBytes(of: CloneOrder.magic.littleEndian, toByteOffset: 0, as: UInt32.self)
        buffer.storeBytes(of: map.uid.littleEndian, toByteOffset: 4, as: UInt32.self)
        buffer.storeBytes(of: serial.littleEndian, toByteOffset: 8, as: UInt64.self)
        buffer.storeBytes(of: namespaces.littleEndian, toByteOffset: 16, as: UInt64.self)
        buffer.storeBytes(of: map.gid.littleEndian, toByteOffset: 24, as: UInt32.self)
        buffer.storeBytes(of: map.payloadID.littleEndian, toByteOffset: 28, as: UInt32.self)
        buffer.storeBytes(of: (map.initID ?? IDMap.noID).littleEndian, toByteOffset: 32, as: UInt32.self)
        buffer.storeBytes(of: 0, toByteOffset: 36, as: UInt32.self)
    }

    /// Reads without allocating: this runs in the zygote between two clones.
    public init?(_ buffer: UnsafeRawBufferPointer) {
        func word(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        guard buffer.count == CloneOrder.size, word(0) == CloneOrder.magic else { return nil }
        serial = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        namespaces = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        let initID = word(32)
        map = IDMap(
            uid: word(4), gid: word(24), payloadID: word(28), initID: initID == IDMap.noID ? nil : initID)
    }
}

/// Zygote to front: the outcome of one order, a pid in the zygote's pid namespace or a negative errno, and the step that
/// failed. Fixed size.
public struct CloneReport: Sendable, Hashable {
    public static let magic: UInt32 = 0x4843_4C52
    public static let size = 24

    public var serial: UInt64
    /// The pid where a child exists, else 0.
    public var pid: Int32
    /// 0, or the errno of `step`.
    public var errno: Int32
    public var step: UInt16

    public init(serial: UInt64, pid: Int32, errno: Int32 = 0, step: Step = .clone) {
        self.serial = serial
        self.pid = pid
        self.errno = errno
        self.step = step.rawValue
    }

    /// Writes 24 bytes without allocating.
    public func write(into buffer: UnsafeMutableRawBufferPointer) {
        buffer.storeBytes(of: CloneReport.magic.littleEndian, toByteOffset: 0, as: UInt32.self)
        buffer.storeBytes(of: pid.littleEndian, toByteOffset: 4, as: Int32.self)
        buffer.storeBytes(of: serial.littleEndian, toByteOffset: 8, as: UInt64.self)
        buffer.storeBytes(of: errno.littleEndian, toByteOffset: 16, as: Int32.self)
        buffer.storeBytes(of: UInt32(step).littleEndian, toByteOffset: 20, as: UInt32.self)
    }

    public init?(_ buffer: UnsafeRawBufferPointer) {
        guard buffer.count == CloneReport.size,
            UInt32(littleEndian: buffer.loadUnaligned(as: UInt32.self)) == CloneReport.magic
        else { return nil }
        pid = Int32(littleEndian: buffer.loadUnaligned(fromByteOffset: 4, as: Int32.self))
        errno = Int32(littleEndian: buffer.loadUnaligned(fromByteOffset: 16, as: Int32.self))
        step = UInt16(
            truncatingIfNeeded: UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: 20, as: UInt32.self)))
        serial = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
}

/// What became of a zygote's memory before it said that it is ready (Docs/Decisions/0012-frozen-heap.md).
public struct FrozenHeap: Sendable, Hashable {
    /// Moved into the sealed memfd; 0 where nothing was.
    public var bytes: UInt64 = 0
    /// In how many pieces.
    public var mappings: UInt32 = 0
    /// What stayed out and why, as the operator should read it; empty where there is nothing to say.
    public var note = ""

    public init(bytes: UInt64 = 0, mappings: UInt32 = 0, note: String = "") {
        self.bytes = bytes
        self.mappings = mappings
        self.note = note
    }
}

/// Zygote to front, before it serves: fields.
public enum ZygoteMessage: Sendable, Equatable {
    /// The launcher has entered its user namespace and waits for id maps.
    /// Its two roots come with the message: the template of its children's, and the tree that it preloads in.
    case wantsMaps
    /// Preloaded: it wants the two roots back.
    case wantsRoots
    /// Preloaded, single-threaded, serving.
    case ready(threads: UInt32, heap: FrozenHeap = FrozenHeap())
    /// The zygote cannot serve: why, as the operator should read it.
    case failed(message: String)
    /// A Swift zygote's, before it is ready.
    case handlers([String])
    /// Something that the operator should know of a preload, and that does not keep it from serving.
    case finding(String)
    public static let maximumSize = 60 * 1024
    /// What is left for the text of a failure, or for a note.
    static let messageBytes = maximumSize - 64
    static let findingBytes = 1024

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        switch self {
        case .wantsMaps: writer.append(tag: 1, bytes: [])
        case .wantsRoots: writer.append(tag: 9, bytes: [])
        case .ready(let threads, let heap):
            let note = Array(heap.note.utf8)
            return [UInt8](unsafeUninitializedCapacity: 64 + note.count) { buffer, count in
                count = note.withUnsafeBytes {
                    ZygoteMessage.writeReady(
                        threads: threads, frozenBytes: heap.bytes, mappings: heap.mappings, note: $0,
                        into: UnsafeMutableRawBufferPointer(buffer))
                }
            }
        case .failed(let message): writer.append(tag: 3, string: message.prefix(bytes: ZygoteMessage.messageBytes))
        case .handlers(let names):
            // As many as one message holds.
            for name in names where writer.bytes.count + name.utf8.count < ZygoteMessage.messageBytes {
                writer.append(tag: 7, string: name)
            }
            if names.isEmpty { writer.append(tag: 7, string: "") }
        case .finding(let text): writer.append(tag: 8, string: text.prefix(bytes: ZygoteMessage.findingBytes))
        }
        return writer.bytes
    }

    /// Writes `ready` without allocating: the heap is frozen already.
    /// - Parameters:
    ///   - note: UTF-8, or nothing.
    ///   - buffer: holds the note and 64 bytes more.
    /// - Returns: the length.
    public static func writeReady(
        threads: UInt32, frozenBytes: UInt64, mappings: UInt32, note: UnsafeRawBufferPointer,
        into buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        var offset = 0
        func header(_ tag: UInt16, _ length: Int) {
            buffer.storeBytes(of: tag.littleEndian, toByteOffset: offset, as: UInt16.self)
            buffer.storeBytes(of: UInt32(length).littleEndian, toByteOffset: offset + 2, as: UInt32.self)
            offset += FieldReader.headerSize
        }
        func put(_ tag: UInt16, _ value: UInt32) {
            header(tag, 4)
            buffer.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
            offset += 4
        }
        put(2, threads)
        header(4, 8)
        buffer.storeBytes(of: frozenBytes.littleEndian, toByteOffset: offset, as: UInt64.self)
        offset += 8
        put(5, mappings)
        if note.count > 0 && note.count <= buffer.count - 64 {
            header(6, note.count)
            UnsafeMutableRawBufferPointer(rebasing: buffer[offset...]).copyMemory(from: note)
            offset += note.count
        }
        return offset
    }

    public init(decoding bytes: [UInt8]) throws(FieldError) {
        var decoded: ZygoteMessage?
        var heap = FrozenHeap()
        var handlers: [String] = []
        try FieldReader.reading(bytes) { reader throws(FieldError) in
            var reader = reader
            while let field = try reader.next() {
                switch field.tag {
                case 1: decoded = .wantsMaps
                case 9: decoded = .wantsRoots
                case 2: decoded = .ready(threads: try field.integer())
                case 3:
                    // A module that is being imported chose these words, so they are not trusted even to be UTF-8.
                    let message = String(decoding: field.bytes, as: UTF8.self)
                    decoded = .failed(message: message.plain(limitBytes: ZygoteMessage.messageBytes))
                case 4: heap.bytes = try field.integer()
                case 5: heap.mappings = try field.integer()
                case 6: heap.note = String(decoding: field.bytes, as: UTF8.self).plain(limitBytes: ZygoteMessage.messageBytes)
                case 7:
                    let name = String(decoding: field.bytes, as: UTF8.self).plain(limitBytes: WireLimits.nameBytes)
                    if !name.isEmpty { handlers.append(name) }
                    decoded = .handlers(handlers)
                case 8:
                    let text = String(decoding: field.bytes, as: UTF8.self)
                    decoded = .finding(text.plain(limitBytes: ZygoteMessage.findingBytes))
                default: throw .unknownTag(field.tag)
                }
            }
        }
        guard let decoded else { throw .missing(tag: 1) }
        if case .ready(let threads, _) = decoded { self = .ready(threads: threads, heap: heap) } else { self = decoded }
    }
}

/// The child's report on its status pipe: the step that failed and its errno, or `ready` with errno 0.
///
/// Fixed size, below PIPE_BUF, so that it is whole or absent. After `ready` the end of file says that the program runs.
public struct StatusRecord: Sendable, Hashable {
    public static let size = 16
    public static let magic: UInt32 = 0x4843_5354

    public var step: UInt16
    public var errno: Int32
    /// Layers that are active, told with `ready`.
    public var layers: LayerSet

    public init(step: Step, errno: Int32, layers: LayerSet = []) {
        self.step = step.rawValue
        self.errno = errno
        self.layers = layers
    }

    /// Writes the record into 16 bytes without allocating.
    public func write(into buffer: UnsafeMutableRawBufferPointer) {
        buffer.storeBytes(of: StatusRecord.magic.littleEndian, toByteOffset: 0, as: UInt32.self)
        buffer.storeBytes(of: step.littleEndian, toByteOffset: 4, as: UInt16.self)
        buffer.storeBytes(of: 0, toByteOffset: 6, as: UInt16.self)
        buffer.storeBytes(of: errno.littleEndian, toByteOffset: 8, as: Int32.self)
        buffer.storeBytes(of: layers.rawValue.littleEndian, toByteOffset: 12, as: UInt32.self)
    }

    public init?(decoding bytes: ArraySlice<UInt8>) {
        guard bytes.count == StatusRecord.size else { return nil }
        let copy = Array(bytes)
        let fields = copy.withUnsafeBytes {
            (
                UInt32(littleEndian: $0.load(as: UInt32.self)),
                UInt16(littleEndian: $0.load(fromByteOffset: 4, as: UInt16.self)),
                Int32(littleEndian: $0.load(fromByteOffset: 8, as: Int32.self)),
                UInt32(littleEndian: $0.load(fromByteOffset: 12, as: UInt32.self))
            )
        }
        guard fields.0 == StatusRecord.magic else { return nil }
        step = fields.1
        errno = fields.2
        layers = LayerSet(rawValue: fields.3)
    }
}

/// The init's messages on the child's control socket.
public enum InitMessage: Sendable, Hashable {
    /// The payload exists; its pidfd comes with the message, then the scratch directory where one was asked for, then the client's
    /// end of the terminal where one was.
    case payloadForked
    /// The payload ended, with the status word of wait(2).
    case payloadEnded(status: Int32)
    /// So many calls of this number were refused until now. Where it is fatal, the init ends the sandbox with this message.
    case refused(syscall: UInt16, count: UInt32, isFatal: Bool)
    /// A process of the sandbox sent a signal that the filter's own end of a process looks like.
    case sentBadSystemCall

    public static let maximumSize = 16

    public func encoded() -> [UInt8] {
        switch self {
        case .payloadForked: return [1, 0, 0, 0, 0, 0, 0, 0]
        case .payloadEnded(let status):
            var bytes: [UInt8] = [2, 0, 0, 0]
            withUnsafeBytes(of: status.littleEndian) { bytes.append(contentsOf: $0) }
            return bytes
        case .refused(let syscall, let count, let isFatal):
            var bytes: [UInt8] = [3, isFatal ? 1 : 0]
            withUnsafeBytes(of: syscall.littleEndian) { bytes.append(contentsOf: $0) }
            withUnsafeBytes(of: count.littleEndian) { bytes.append(contentsOf: $0) }
            return bytes
        case .sentBadSystemCall: return [4, 0, 0, 0, 0, 0, 0, 0]
        }
    }

    public init?(decoding bytes: [UInt8]) {
        guard bytes.count == 8 else { return nil }
        switch bytes[0] {
        case 1: self = .payloadForked
        case 2:
            self = .payloadEnded(
                status: bytes.withUnsafeBytes { Int32(littleEndian: $0.load(fromByteOffset: 4, as: Int32.self)) })
        case 3 where bytes[1] <= 1:
            self = bytes.withUnsafeBytes {
                .refused(
                    syscall: UInt16(littleEndian: $0.load(fromByteOffset: 2, as: UInt16.self)),
                    count: UInt32(littleEndian: $0.load(fromByteOffset: 4, as: UInt32.self)), isFatal: bytes[1] == 1)
            }
        case 4: self = .sentBadSystemCall
        default: return nil
        }
    }
}
