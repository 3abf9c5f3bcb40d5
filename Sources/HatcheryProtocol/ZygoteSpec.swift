/// Front to the launcher of a zygote, in a sealed memfd: which tree to live in, as whom, and what to become.
public struct ZygoteSpec: Sendable, Hashable {
    /// A directory or file of the host that appears read-only in the tree.
    public struct Bind: Sendable, Hashable {
        public var source: String
        public var destination: String

        public init(source: String, destination: String) {
            self.source = source
            self.destination = destination
        }
    }

    /// A made-up file.
    public struct File: Sendable, Hashable {
        public var path: String
        public var contents: [UInt8]

        public init(path: String, contents: [UInt8]) {
            self.path = path
            self.contents = contents
        }
    }

    public struct Link: Sendable, Hashable {
        public var path: String
        public var target: String

        public init(path: String, target: String) {
            self.path = path
            self.target = target
        }
    }

    /// Mounted below the root of the tree, recursively, read-only, without setuid and devices.
    public var binds: [Bind] = []
    /// Small directories and files that are copied, so that they cost no mount in every child. What not everybody may read
    /// is left out.
    public var copies: [Bind] = []
    public var files: [File] = []
    public var links: [Link] = []
    public var directories: [String] = []
    /// Ids of the zygote as its base user namespace counts.
    public var uid: UInt32 = 1
    public var gid: UInt32 = 1
    public var emptyGroups = true
    /// The program to become; empty for the built-in exec zygote.
    public var interpreter = ""
    public var arguments: [String] = []
    public var environment: [String] = []

    public init() {}
}

extension ZygoteSpec {
    enum Tag {
        static let bind: UInt16 = 1
        static let copy: UInt16 = 2
        static let file: UInt16 = 3
        static let link: UInt16 = 4
        static let directory: UInt16 = 5
        static let uid: UInt16 = 6
        static let gid: UInt16 = 7
        static let emptyGroups: UInt16 = 8
        static let interpreter: UInt16 = 9
        static let argument: UInt16 = 10
        static let environment: UInt16 = 11
    }

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        func pair(_ tag: UInt16, _ first: String, _ second: [UInt8]) {
            writer.append(tag: tag) { inner in
                inner.append(tag: 1, string: first)
                inner.append(tag: 2, bytes: second)
            }
        }
        for bind in binds { pair(Tag.bind, bind.destination, Array(bind.source.utf8)) }
        for copy in copies { pair(Tag.copy, copy.destination, Array(copy.source.utf8)) }
        for file in files { pair(Tag.file, file.path, file.contents) }
        for link in links { pair(Tag.link, link.path, Array(link.target.utf8)) }
        for directory in directories { writer.append(tag: Tag.directory, string: directory) }
        writer.append(tag: Tag.uid, integer: uid)
        writer.append(tag: Tag.gid, integer: gid)
        writer.append(tag: Tag.emptyGroups, integer: UInt8(emptyGroups ? 1 : 0))
        writer.append(tag: Tag.interpreter, string: interpreter)
        for argument in arguments { writer.append(tag: Tag.argument, string: argument) }
        for variable in environment { writer.append(tag: Tag.environment, string: variable) }
        return writer.bytes
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init()
        while let field = try reader.next() {
            switch field.tag {
            case Tag.bind, Tag.copy:
                let (destination, source) = try ZygoteSpec.pair(field)
                let bind = Bind(source: String(decoding: source, as: UTF8.self), destination: destination)
                if field.tag == Tag.bind { binds.append(bind) } else { copies.append(bind) }
            case Tag.file:
                let (path, contents) = try ZygoteSpec.pair(field)
                files.append(File(path: path, contents: contents))
            case Tag.link:
                let (path, target) = try ZygoteSpec.pair(field)
                links.append(Link(path: path, target: String(decoding: target, as: UTF8.self)))
            case Tag.directory: directories.append(try field.string(limit: WireLimits.pathBytes))
            case Tag.uid: uid = try field.integer()
            case Tag.gid: gid = try field.integer()
            case Tag.emptyGroups: emptyGroups = try field.bool()
            case Tag.interpreter: interpreter = try field.string(limit: WireLimits.pathBytes)
            case Tag.argument: arguments.append(try field.string(limit: WireLimits.frameBytes))
            case Tag.environment: environment.append(try field.string(limit: WireLimits.frameBytes))
            default: throw .unknownTag(field.tag)
            }
        }
    }

    private static func pair(_ field: FieldReader.Field) throws(FieldError) -> (String, [UInt8]) {
        var reader = FieldReader(field.bytes)
        var first = ""
        var second: [UInt8] = []
        while let inner = try reader.next() {
            switch inner.tag {
            case 1: first = try inner.string(limit: WireLimits.pathBytes)
            case 2: second = Array(inner.bytes)
            default: throw .unknownTag(inner.tag)
            }
        }
        return (first, second)
    }
}
