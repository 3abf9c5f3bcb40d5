/// Front to the child's init, on the child's own control socket: how to build the sandbox (steps 5 to 26).
///
/// Descriptors, in this order: the payload's seccomp program, the init's seccomp program, the root file system where
/// `rootFileSystem` holds, then one detached mount tree for each of `mounts`.
public struct SetupOrder: Sendable {
    public struct Mount: Sendable {
        public var destination: String
        public var writable: Bool

        public init(destination: String, writable: Bool) {
            self.destination = destination
            self.writable = writable
        }
    }

    public struct TemporaryFileSystem: Sendable {
        public var destination: String
        public var size: UInt64

        public init(destination: String, size: UInt64) {
            self.destination = destination
            self.size = size
        }
    }

    /// Ids as the sandbox counts. In a single-id map both are the same.
    public var initUID: UInt32 = 0
    public var initGID: UInt32 = 0
    public var uid: UInt32 = 1000
    public var gid: UInt32 = 1000
    /// Whether supplementary groups must be empty; a single-id map cannot drop those of the daemon's user.
    public var groupsMustBeEmpty = true
    public var hostname = "sandbox"
    public var loopback = false
    /// The interface that is in its network namespace already; nil where there is none.
    public var network: NetworkSetup?
    public var home = "/home/sandbox"
    public var scratchBytes: UInt64 = 0
    public var scratchInodes: UInt64 = 0
    public var rootFileSystem = false
    public var mounts: [Mount] = []
    public var temporaryFileSystems: [TemporaryFileSystem] = []
    /// Whether the front wants a descriptor of the scratch directory, to fetch files from it after the end.
    public var wantsScratch = false
    /// Whether the front wants to hear when the payload is sealed and prepared: a nursery does.
    public var tellsWhenParked = false
    /// A terminal for the payload, and its size; the end for the client comes with `payloadForked`.
    public var terminal: TerminalSize?
    /// Whether the payload's filter tells its refusals to the init, which counts them.
    public var countsRefusals = false
    /// Whether the first refusal ends the sandbox.
    public var refusalsAreFatal = false
    public var without: LayerSet = []
    public var failAt: Step?

    public init() {}
}

/// Front to the payload: what to run and within which limits (steps 28 to 36).
///
/// Descriptors, in this order: stdin, stdout and stderr unless the payload has a terminal, the launch plan, then one for each of
/// `filesIn`.
public struct LaunchOrder: Sendable {
    public struct Limit: Sendable {
        /// RLIMIT_* of getrlimit(2).
        public var resource: UInt32
        public var soft: UInt64
        public var hard: UInt64

        public init(resource: UInt32, soft: UInt64, hard: UInt64) {
            self.resource = resource
            self.soft = soft
            self.hard = hard
        }
    }

    public var title = ""
    /// Whether the payload's standard streams are its terminal.
    public var hasTerminal = false
    public var limits: [Limit] = []
    public var filesIn: [SpawnRequest.FileIn] = []
    /// The profile's variables, `NAME=VALUE`; the plan's come after them and win.
    public var environment: [String] = []
    /// Layers that the child must have put up itself, or its program does not start.
    public var required: LayerSet = []

    public init() {}
}

extension SetupOrder {
    enum Tag {
        static let ids: UInt16 = 1
        static let groupsMustBeEmpty: UInt16 = 2
        static let hostname: UInt16 = 3
        static let loopback: UInt16 = 4
        static let home: UInt16 = 5
        static let scratchBytes: UInt16 = 6
        static let scratchInodes: UInt16 = 7
        static let rootFileSystem: UInt16 = 8
        static let mount: UInt16 = 9
        static let temporaryFileSystem: UInt16 = 10
        static let temporarySize: UInt16 = 11
        static let wantsScratch: UInt16 = 12
        static let without: UInt16 = 13
        static let failAt: UInt16 = 14
        static let writableMount: UInt16 = 15
        static let tellsWhenParked: UInt16 = 16
        static let terminal: UInt16 = 17
        static let network: UInt16 = 18
        static let countsRefusals: UInt16 = 22
        static let refusalsAreFatal: UInt16 = 23
    }

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        for id in [initUID, initGID, uid, gid] { writer.append(tag: Tag.ids, integer: id) }
        writer.append(tag: Tag.groupsMustBeEmpty, integer: UInt8(groupsMustBeEmpty ? 1 : 0))
        writer.append(tag: Tag.hostname, string: hostname)
        writer.append(tag: Tag.loopback, integer: UInt8(loopback ? 1 : 0))
        writer.append(tag: Tag.home, string: home)
        writer.append(tag: Tag.scratchBytes, integer: scratchBytes)
        writer.append(tag: Tag.scratchInodes, integer: scratchInodes)
        writer.append(tag: Tag.rootFileSystem, integer: UInt8(rootFileSystem ? 1 : 0))
        for mount in mounts {
            writer.append(tag: mount.writable ? Tag.writableMount : Tag.mount, string: mount.destination)
        }
        for temporary in temporaryFileSystems {
            writer.append(tag: Tag.temporarySize, integer: temporary.size)
            writer.append(tag: Tag.temporaryFileSystem, string: temporary.destination)
        }
        writer.append(tag: Tag.wantsScratch, integer: UInt8(wantsScratch ? 1 : 0))
        if tellsWhenParked { writer.append(tag: Tag.tellsWhenParked, integer: UInt8(1)) }
        if let terminal { writer.append(tag: Tag.terminal, integer: terminal.packed) }
        if let network { writer.append(tag: Tag.network) { network.encode(into: &$0) } }
        if countsRefusals { writer.append(tag: Tag.countsRefusals, integer: UInt8(1)) }
        if refusalsAreFatal { writer.append(tag: Tag.refusalsAreFatal, integer: UInt8(1)) }
        writer.append(tag: Tag.without, integer: without.rawValue)
        if let failAt { writer.append(tag: Tag.failAt, integer: failAt.rawValue) }
        return writer.bytes
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init()
        var ids: [UInt32] = []
        var temporarySize: UInt64 = 0
        while let field = try reader.next() {
            switch field.tag {
            case Tag.ids: ids.append(try field.integer())
            case Tag.groupsMustBeEmpty: groupsMustBeEmpty = try field.bool()
            case Tag.hostname: hostname = try field.string(limit: 64)
            case Tag.loopback: loopback = try field.bool()
            case Tag.home: home = try field.string(limit: WireLimits.pathBytes)
            case Tag.scratchBytes: scratchBytes = try field.integer()
            case Tag.scratchInodes: scratchInodes = try field.integer()
            case Tag.rootFileSystem: rootFileSystem = try field.bool()
            case Tag.mount, Tag.writableMount:
                mounts.append(
                    Mount(
                        destination: try field.string(limit: WireLimits.pathBytes),
                        writable: field.tag == Tag.writableMount))
            case Tag.temporarySize: temporarySize = try field.integer()
            case Tag.temporaryFileSystem:
                temporaryFileSystems.append(
                    TemporaryFileSystem(
                        destination: try field.string(limit: WireLimits.pathBytes), size: temporarySize))
            case Tag.wantsScratch: wantsScratch = try field.bool()
            case Tag.tellsWhenParked: tellsWhenParked = try field.bool()
            case Tag.countsRefusals: countsRefusals = try field.bool()
            case Tag.refusalsAreFatal: refusalsAreFatal = try field.bool()
            case Tag.terminal: terminal = TerminalSize(packed: try field.integer())
            case Tag.network: network = try NetworkSetup(decoding: field.bytes)
            case Tag.without: without = try field.layers()
            case Tag.failAt: failAt = try field.enumeration(Step.self)
            default: throw .unknownTag(field.tag)
            }
        }
        guard ids.count == 4 else { throw .missing(tag: Tag.ids) }
        (initUID, initGID, uid, gid) = (ids[0], ids[1], ids[2], ids[3])
    }

    /// How many descriptors belong to the order.
    public var descriptorCount: Int { 2 + (rootFileSystem ? 1 : 0) + mounts.count }
}

extension LaunchOrder {
    enum Tag {
        static let title: UInt16 = 1
        static let resource: UInt16 = 2
        static let soft: UInt16 = 3
        static let hard: UInt16 = 4
        static let fileIn: UInt16 = 5
        static let executableFileIn: UInt16 = 6
        static let environment: UInt16 = 7
        static let required: UInt16 = 8
        static let hasTerminal: UInt16 = 9
    }

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: Tag.required, integer: required.rawValue)
        writer.append(tag: Tag.title, string: title)
        if hasTerminal { writer.append(tag: Tag.hasTerminal, integer: UInt8(1)) }
        for limit in limits {
            writer.append(tag: Tag.resource, integer: limit.resource)
            writer.append(tag: Tag.soft, integer: limit.soft)
            writer.append(tag: Tag.hard, integer: limit.hard)
        }
        for file in filesIn {
            writer.append(tag: file.executable ? Tag.executableFileIn : Tag.fileIn, string: file.destination)
        }
        for variable in environment { writer.append(tag: Tag.environment, string: variable) }
        return writer.bytes
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init()
        var limit = Limit(resource: 0, soft: 0, hard: 0)
        while let field = try reader.next() {
            switch field.tag {
            case Tag.title: title = try field.string(limit: WireLimits.titleBytes)
            case Tag.resource: limit.resource = try field.integer()
            case Tag.soft: limit.soft = try field.integer()
            case Tag.hard:
                limit.hard = try field.integer()
                limits.append(limit)
            case Tag.fileIn:
                filesIn.append(.init(destination: try field.string(limit: WireLimits.pathBytes)))
            case Tag.executableFileIn:
                filesIn.append(.init(destination: try field.string(limit: WireLimits.pathBytes), executable: true))
            case Tag.environment: environment.append(try field.string(limit: WireLimits.frameBytes))
            case Tag.required: required = try field.layers()
            case Tag.hasTerminal: hasTerminal = try field.bool()
            default: throw .unknownTag(field.tag)
            }
        }
    }

    public var descriptorCount: Int { streamCount + 1 + filesIn.count }
    public var streamCount: Int { hasTerminal ? 0 : 3 }
}
