import HatcheryProtocol

/// What the runner inside a phase's sandbox is told, on its stdin, before the state of the tree that follows it.
///
/// The same fields as on the wire, behind a length of eight bytes.
public struct StepOrders: Sendable, Hashable {
    /// A command of the phase.
    public struct Task: Sendable, Hashable {
        /// argv; the first is looked up in the sandbox's PATH.
        public var command: [String]
        public var isBackground = false
        /// Nanoseconds; 0 where only the phase's limit holds.
        public var timeNanoseconds: UInt64 = 0
        /// Of a service: the TCP port on the loopback that must take connections before the next task begins; 0 for none.
        public var port: UInt16 = 0

        public init(_ command: [String]) { self.command = command }
    }

    /// A file that is written into the home directory before the first task.
    public struct HomeFile: Sendable, Hashable {
        public var path: String
        public var bytes: [UInt8]

        public init(path: String, bytes: [UInt8]) {
            self.path = path
            self.bytes = bytes
        }
    }

    public var tasks: [Task] = []
    /// `NAME=VALUE`: the whole environment of every task.
    public var environment: [String] = []
    public var homeFiles: [HomeFile] = []
    /// Where the tree is unpacked and the tasks begin, and the home directory.
    public var workDirectory = "/work"
    public var homeDirectory = "/home/sandbox"
    /// From the first task to the last, nanoseconds.
    public var timeNanoseconds: UInt64 = 0
    /// Bytes of each stream of each task that are passed on.
    public var outputBytes: UInt64 = 10 << 20
    /// Whether the state of the tree is sent back at the end.
    public var returnsState = true

    public init() {}

    private enum Tag {
        static let task: UInt16 = 1
        static let environment: UInt16 = 2
        static let homeFile: UInt16 = 3
        static let workDirectory: UInt16 = 4
        static let homeDirectory: UInt16 = 5
        static let time: UInt16 = 6
        static let output: UInt16 = 7
        static let returnsState: UInt16 = 8
        // Inside a task.
        static let word: UInt16 = 1
        static let background: UInt16 = 2
        static let taskTime: UInt16 = 3
        static let port: UInt16 = 4
        // Inside a file.
        static let path: UInt16 = 1
        static let bytes: UInt16 = 2
    }

    static let limit = 64 << 20

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        for task in tasks {
            writer.append(tag: Tag.task) { inner in
                for word in task.command { inner.append(tag: Tag.word, string: word) }
                inner.append(tag: Tag.background, integer: UInt8(task.isBackground ? 1 : 0))
                inner.append(tag: Tag.taskTime, integer: task.timeNanoseconds)
                inner.append(tag: Tag.port, integer: task.port)
            }
        }
        for variable in environment { writer.append(tag: Tag.environment, string: variable) }
        for file in homeFiles {
            writer.append(tag: Tag.homeFile) { inner in
                inner.append(tag: Tag.path, string: file.path)
                inner.append(tag: Tag.bytes, bytes: file.bytes)
            }
        }
        writer.append(tag: Tag.workDirectory, string: workDirectory)
        writer.append(tag: Tag.homeDirectory, string: homeDirectory)
        writer.append(tag: Tag.time, integer: timeNanoseconds)
        writer.append(tag: Tag.output, integer: outputBytes)
        writer.append(tag: Tag.returnsState, integer: UInt8(returnsState ? 1 : 0))
        return writer.bytes
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        while let field = try reader.next() {
            switch field.tag {
            case Tag.task: tasks.append(try Task(field))
            case Tag.environment: environment.append(try field.string(limit: StepOrders.limit))
            case Tag.homeFile: homeFiles.append(try HomeFile(field))
            case Tag.workDirectory: workDirectory = try field.string(limit: WireLimits.pathBytes)
            case Tag.homeDirectory: homeDirectory = try field.string(limit: WireLimits.pathBytes)
            case Tag.time: timeNanoseconds = try field.integer()
            case Tag.output: outputBytes = try field.integer()
            case Tag.returnsState: returnsState = try field.bool()
            default: throw .unknownTag(field.tag)
            }
        }
    }
}

extension StepOrders.Task {
    fileprivate init(_ field: FieldReader.Field) throws(FieldError) {
        self.init([])
        var reader = FieldReader(field.bytes)
        while let inner = try reader.next() {
            switch inner.tag {
            case 1: command.append(try inner.string(limit: StepOrders.limit))
            case 2: isBackground = try inner.bool()
            case 3: timeNanoseconds = try inner.integer()
            case 4: port = try inner.integer()
            default: throw .unknownTag(inner.tag)
            }
        }
        if command.isEmpty { throw .missing(tag: 1) }
    }
}

extension StepOrders.HomeFile {
    fileprivate init(_ field: FieldReader.Field) throws(FieldError) {
        self.init(path: "", bytes: [])
        var reader = FieldReader(field.bytes)
        while let inner = try reader.next() {
            switch inner.tag {
            case 1: path = try inner.string(limit: WireLimits.pathBytes)
            case 2: bytes = Array(inner.bytes)
            default: throw .unknownTag(inner.tag)
            }
        }
    }
}
