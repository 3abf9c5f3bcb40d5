/// What a client asks for. The launch plan comes beside it as a sealed memfd, always the first descriptor.
public struct SpawnRequest: Sendable, Hashable {
    public enum Network: UInt8, Sendable, Hashable, CaseIterable {
        case none = 0
        case loopback = 1
        case nat = 2

        public var name: String {
            switch self {
            case .none: "none"
            case .loopback: "loopback"
            case .nat: "nat"
            }
        }

        public init?(name: String) {
            guard let match = Network.allCases.first(where: { $0.name == name }) else { return nil }
            self = match
        }
    }

    /// A mount from outside. Its descriptor, opened by the client with the client's own rights, comes with the message.
    public struct Mount: Sendable, Hashable {
        public var destination: String
        public var writable: Bool

        public init(destination: String, writable: Bool = false) {
            self.destination = destination
            self.writable = writable
        }
    }

    public struct TemporaryFileSystem: Sendable, Hashable {
        public var destination: String
        /// Bytes; nil takes the disk limit.
        public var size: UInt64?

        public init(destination: String, size: UInt64? = nil) {
            self.destination = destination
            self.size = size
        }
    }

    /// A file that is copied in before the program starts. Its descriptor comes with the message.
    public struct FileIn: Sendable, Hashable {
        /// Absolute, or relative to the home directory.
        public var destination: String
        public var executable: Bool

        public init(destination: String, executable: Bool = false) {
            self.destination = destination
            self.executable = executable
        }
    }

    public var zygote: String
    /// Empty takes the zygote's own.
    public var profile: String
    /// The process name in the title and in `hatchery ps`; empty takes the program's name.
    public var title: String
    public var network: Network?
    /// Whether the child's stdin is a pipe that the client writes to; otherwise it is /dev/null. Means nothing with a terminal.
    public var stdinPipe: Bool
    /// A terminal of its own instead of pipes, and its size at the start.
    public var terminal: TerminalSize?
    /// Limits; nil takes the profile's default.
    public var wallNanoseconds: UInt64?
    public var cpuNanoseconds: UInt64?
    public var memoryBytes: UInt64?
    public var processes: UInt64?
    public var diskBytes: UInt64?
    /// Thousandths of a core.
    public var milliCPUs: UInt64?
    /// Open descriptors of each process.
    public var openFiles: UInt64?
    /// Bytes that the client wants to keep of each stream. The client counts them; the profile says how many it may ask for.
    public var outputBytes: UInt64?
    /// Whether the sandbox outlives the connection.
    public var detached: Bool
    /// Layers without which the request fails instead of running.
    public var required: LayerSet
    /// Layers to leave out. Only a daemon built for tests takes anything but the empty set.
    public var without: LayerSet
    /// Whether a root file system comes as a descriptor, after the launch plan.
    public var rootFileSystem: Bool
    public var mounts: [Mount]
    public var temporaryFileSystems: [TemporaryFileSystem]
    public var filesIn: [FileIn]
    /// Paths whose files come back, opened, with the end of the run.
    public var filesOut: [String]
    /// Fails the named step on purpose (tests only).
    public var failAt: Step?
    /// The caller's place in its trace, for the log and the audit.
    public var traceParent: TraceParent?

    public init(zygote: String, profile: String = "") {
        self.zygote = zygote
        self.profile = profile
        title = ""
        stdinPipe = false
        detached = false
        required = []
        without = []
        rootFileSystem = false
        mounts = []
        temporaryFileSystems = []
        filesIn = []
        filesOut = []
    }

    /// How many descriptors belong to the request: plan, root, mounts, files in, in this order.
    public var descriptorCount: Int { 1 + (rootFileSystem ? 1 : 0) + mounts.count + filesIn.count }
}

extension SpawnRequest {
    enum Tag {
        static let zygote: UInt16 = 1
        static let profile: UInt16 = 2
        static let title: UInt16 = 3
        static let network: UInt16 = 4
        static let stdinPipe: UInt16 = 5
        static let wall: UInt16 = 6
        static let cpu: UInt16 = 7
        static let memory: UInt16 = 8
        static let processes: UInt16 = 9
        static let disk: UInt16 = 10
        static let milliCPUs: UInt16 = 11
        static let detached: UInt16 = 12
        static let required: UInt16 = 13
        static let without: UInt16 = 14
        static let rootFileSystem: UInt16 = 15
        static let mount: UInt16 = 16
        static let temporaryFileSystem: UInt16 = 17
        static let fileIn: UInt16 = 18
        static let fileOut: UInt16 = 19
        static let failAt: UInt16 = 20
        static let traceParent: UInt16 = 40
        static let terminal: UInt16 = 21
        static let openFiles: UInt16 = 22
        static let outputBytes: UInt16 = 23
        // Inside mount, temporaryFileSystem and fileIn.
        static let destination: UInt16 = 1
        static let flag: UInt16 = 2
        static let size: UInt16 = 3
    }

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: Tag.zygote, string: zygote)
        if !profile.isEmpty { writer.append(tag: Tag.profile, string: profile) }
        if !title.isEmpty { writer.append(tag: Tag.title, string: title) }
        if let network { writer.append(tag: Tag.network, integer: network.rawValue) }
        if stdinPipe { writer.append(tag: Tag.stdinPipe, integer: UInt8(1)) }
        if let wallNanoseconds { writer.append(tag: Tag.wall, integer: wallNanoseconds) }
        if let cpuNanoseconds { writer.append(tag: Tag.cpu, integer: cpuNanoseconds) }
        if let memoryBytes { writer.append(tag: Tag.memory, integer: memoryBytes) }
        if let processes { writer.append(tag: Tag.processes, integer: processes) }
        if let diskBytes { writer.append(tag: Tag.disk, integer: diskBytes) }
        if let milliCPUs { writer.append(tag: Tag.milliCPUs, integer: milliCPUs) }
        if detached { writer.append(tag: Tag.detached, integer: UInt8(1)) }
        if !required.isEmpty { writer.append(tag: Tag.required, integer: required.rawValue) }
        if !without.isEmpty { writer.append(tag: Tag.without, integer: without.rawValue) }
        if rootFileSystem { writer.append(tag: Tag.rootFileSystem, integer: UInt8(1)) }
        for mount in mounts {
            writer.append(tag: Tag.mount) { inner in
                inner.append(tag: Tag.destination, string: mount.destination)
                inner.append(tag: Tag.flag, integer: UInt8(mount.writable ? 1 : 0))
            }
        }
        for temporary in temporaryFileSystems {
            writer.append(tag: Tag.temporaryFileSystem) { inner in
                inner.append(tag: Tag.destination, string: temporary.destination)
                if let size = temporary.size { inner.append(tag: Tag.size, integer: size) }
            }
        }
        for file in filesIn {
            writer.append(tag: Tag.fileIn) { inner in
                inner.append(tag: Tag.destination, string: file.destination)
                inner.append(tag: Tag.flag, integer: UInt8(file.executable ? 1 : 0))
            }
        }
        for path in filesOut { writer.append(tag: Tag.fileOut, string: path) }
        if let failAt { writer.append(tag: Tag.failAt, integer: failAt.rawValue) }
        if let traceParent { writer.append(tag: Tag.traceParent, string: traceParent.description) }
        if let terminal { writer.append(tag: Tag.terminal, integer: terminal.packed) }
        if let openFiles { writer.append(tag: Tag.openFiles, integer: openFiles) }
        if let outputBytes { writer.append(tag: Tag.outputBytes, integer: outputBytes) }
        return writer.bytes
    }

    /// Decodes and checks everything that can be checked without knowing the daemon's configuration.
    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(zygote: "", profile: "")
        var seen: Set<UInt16> = []
        let repeated: Set<UInt16> = [Tag.mount, Tag.temporaryFileSystem, Tag.fileIn, Tag.fileOut]
        while let field = try reader.next() {
            if !repeated.contains(field.tag), !seen.insert(field.tag).inserted { throw .duplicate(tag: field.tag) }
            switch field.tag {
            case Tag.zygote: zygote = try field.string(limit: WireLimits.nameBytes)
            case Tag.profile: profile = try field.string(limit: WireLimits.nameBytes)
            case Tag.title: title = try field.label(limit: WireLimits.titleBytes)
            case Tag.network: network = try field.enumeration(Network.self)
            case Tag.stdinPipe: stdinPipe = try field.bool()
            case Tag.wall: wallNanoseconds = try field.quantity(1...RequestBounds.longestNanoseconds)
            case Tag.cpu: cpuNanoseconds = try field.quantity(1...RequestBounds.longestNanoseconds)
            case Tag.memory: memoryBytes = try field.quantity(1...RequestBounds.largestBytes)
            case Tag.processes: processes = try field.quantity(1...RequestBounds.mostProcesses)
            case Tag.disk: diskBytes = try field.quantity(1...RequestBounds.largestBytes)
            case Tag.milliCPUs: milliCPUs = try field.quantity(1...1_000_000)
            case Tag.detached: detached = try field.bool()
            case Tag.required: required = try field.layers()
            case Tag.without: without = try field.layers()
            case Tag.rootFileSystem: rootFileSystem = try field.bool()
            case Tag.mount:
                guard mounts.count < WireLimits.mounts else { throw .tooMany(tag: field.tag, limit: WireLimits.mounts) }
                let entry = try Entry(field)
                mounts.append(Mount(destination: entry.destination, writable: entry.flag))
            case Tag.temporaryFileSystem:
                guard temporaryFileSystems.count < WireLimits.temporaryFileSystems else {
                    throw .tooMany(tag: field.tag, limit: WireLimits.temporaryFileSystems)
                }
                let entry = try Entry(field)
                temporaryFileSystems.append(TemporaryFileSystem(destination: entry.destination, size: entry.size))
            case Tag.fileIn:
                guard filesIn.count < WireLimits.filesIn else {
                    throw .tooMany(tag: field.tag, limit: WireLimits.filesIn)
                }
                let entry = try Entry(field)
                filesIn.append(FileIn(destination: entry.destination, executable: entry.flag))
            case Tag.fileOut:
                guard filesOut.count < WireLimits.filesOut else {
                    throw .tooMany(tag: field.tag, limit: WireLimits.filesOut)
                }
                filesOut.append(try field.string(limit: WireLimits.pathBytes))
                guard filesOut.reduce(0, { $0 + $1.utf8.count }) <= WireLimits.filesOutBytes else {
                    throw .tooLong(tag: field.tag, limit: WireLimits.filesOutBytes)
                }
            case Tag.failAt: failAt = try field.enumeration(Step.self)
            case Tag.traceParent:
                guard let parent = TraceParent(try field.string(limit: WireLimits.titleBytes)) else {
                    throw .outOfRange(tag: field.tag, value: UInt64(field.bytes.count))
                }
                traceParent = parent
            case Tag.terminal: terminal = TerminalSize(packed: try field.integer())
            case Tag.openFiles: openFiles = try field.quantity(1...RequestBounds.mostOpenFiles)
            // 0 is meant: read everything, keep nothing.
            case Tag.outputBytes: outputBytes = try field.quantity(0...RequestBounds.largestBytes)
            // A request that says something unknown asks for something that it would not get.
            default: throw .unknownTag(field.tag)
            }
        }
        if zygote.isEmpty { throw .missing(tag: Tag.zygote) }
    }

    /// The inside of a mount, a temporary file system or a file.
    private struct Entry {
        var destination = ""
        var flag = false
        var size: UInt64?

        init(_ field: FieldReader.Field) throws(FieldError) {
            var reader = FieldReader(field.bytes)
            while let inner = try reader.next() {
                switch inner.tag {
                case Tag.destination: destination = try inner.string(limit: WireLimits.pathBytes)
                case Tag.flag: flag = try inner.bool()
                case Tag.size: size = try inner.quantity(1...RequestBounds.largestBytes)
                default: throw .unknownTag(inner.tag)
                }
            }
            if destination.isEmpty { throw .missing(tag: Tag.destination) }
        }
    }
}

extension FieldReader.Field {
    /// Text that fits one line of a listing.
    ///
    /// SECURITY: the title of one user's sandbox is shown on the terminal of another who asks for the list, and in the host's
    /// ps(1). Test: aTitleWithControlCharactersIsRefused.
    func label(limit: Int) throws(FieldError) -> String {
        let text = try string(limit: limit)
        guard !text.unicodeScalars.contains(where: \.isControl) else { throw .containsControl(tag: tag) }
        return text
    }

    func quantity(_ range: ClosedRange<UInt64>) throws(FieldError) -> UInt64 {
        let value: UInt64 = try integer()
        guard range.contains(value) else { throw .outOfRange(tag: tag, value: value) }
        return value
    }

    func enumeration<Value: RawRepresentable>(
        _: Value.Type
    ) throws(FieldError) -> Value where Value.RawValue: FixedWidthInteger {
        let raw: Value.RawValue = try integer()
        guard let value = Value(rawValue: raw) else { throw .outOfRange(tag: tag, value: UInt64(raw)) }
        return value
    }

    func layers() throws(FieldError) -> LayerSet {
        let raw: UInt32 = try integer()
        guard raw & ~LayerSet.all.rawValue == 0 else { throw .outOfRange(tag: tag, value: UInt64(raw)) }
        return LayerSet(rawValue: raw)
    }
}
