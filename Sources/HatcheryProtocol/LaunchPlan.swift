/// What a payload is to run: written by the client into a sealed memfd, checked by the front, read by the child. No zygote
/// ever sees one.
///
/// The bytes are fields (see `FieldWriter`). A Python zygote's bootstrap reads the same bytes, so a change here is a change
/// in Sources/HatcheryDaemon/Python/zygote.py.
public struct LaunchPlan: Sendable, Hashable {
    /// How the payload starts.
    public enum Mode: UInt8, Sendable, Hashable, CaseIterable {
        /// execve of `target`, with `arguments` as argv[1...].
        case program = 0
        /// Python: `source` is the script's text, `target` its name as `sys.argv[0]`.
        case script = 1
        /// Python: `source` is the code of `-c`.
        case code = 2
        /// Python: `target` is the module of `-m`.
        case module = 3
        /// Python: `target` is `module:function`; `jsonArguments` holds an array or an object. The value returned is
        /// written as one line of JSON at the end of stdout. A Swift zygote's handler is called the same way.
        case call = 4
    }

    /// The field tags of the format. Numbers are never reused.
    public enum Tag {
        public static let mode: UInt16 = 1
        public static let target: UInt16 = 2
        public static let source: UInt16 = 3
        public static let argument: UInt16 = 4
        public static let environment: UInt16 = 5
        public static let jsonArguments: UInt16 = 6
        public static let seed: UInt16 = 7
        public static let workingDirectory: UInt16 = 8
        public static let plots: UInt16 = 9
        public static let tellsImports: UInt16 = 10
    }

    public var mode: Mode
    public var target: [UInt8]
    public var source: [UInt8]
    /// argv[1...], bytes without NUL.
    public var arguments: [[UInt8]]
    /// `NAME=VALUE`, bytes without NUL; a later one wins over an earlier one, and all win over the profile's.
    public var environment: [[UInt8]]
    public var jsonArguments: [UInt8]
    /// For reproducible runs: every generator that is known is seeded with it instead of with fresh entropy.
    public var seed: UInt64?
    /// An absolute path inside the sandbox; nil means the home directory.
    public var workingDirectory: String?
    /// Python: where figures that are open at the end are saved.
    public var plots: String?
    /// Python: whether the modules that the child imports itself are told on stderr.
    public var tellsImports = false

    public init(
        mode: Mode, target: [UInt8] = [], source: [UInt8] = [], arguments: [[UInt8]] = [],
        environment: [[UInt8]] = [], jsonArguments: [UInt8] = [], seed: UInt64? = nil,
        workingDirectory: String? = nil
    ) {
        self.mode = mode
        self.target = target
        self.source = source
        self.arguments = arguments
        self.environment = environment
        self.jsonArguments = jsonArguments
        self.seed = seed
        self.workingDirectory = workingDirectory
    }

    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: Tag.mode, integer: mode.rawValue)
        if !target.isEmpty { writer.append(tag: Tag.target, bytes: target) }
        if !source.isEmpty { writer.append(tag: Tag.source, bytes: source) }
        for argument in arguments { writer.append(tag: Tag.argument, bytes: argument) }
        for variable in environment { writer.append(tag: Tag.environment, bytes: variable) }
        if !jsonArguments.isEmpty { writer.append(tag: Tag.jsonArguments, bytes: jsonArguments) }
        if let seed { writer.append(tag: Tag.seed, integer: seed) }
        if let workingDirectory { writer.append(tag: Tag.workingDirectory, string: workingDirectory) }
        if let plots { writer.append(tag: Tag.plots, string: plots) }
        if tellsImports { writer.append(tag: Tag.tellsImports, integer: UInt8(1)) }
        return writer.bytes
    }
}
