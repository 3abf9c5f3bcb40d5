import HatcheryProtocol

/// The sandbox around a payload. What is left nil is as the profile says; what a profile's maximum forbids is refused, never
/// silently cut.
public struct SandboxOptions: Sendable, Hashable {
    /// The caller's place in its trace, W3C Trace Context's `traceparent`: the daemon writes it into its log and audit.
    public var traceparent: String?
    /// A directory or file of the caller's that the sandbox sees, opened with the caller's own rights.
    public struct Mount: Sendable, Hashable {
        public var source: String
        /// An absolute path in the sandbox, not below /proc, /dev or /sys.
        public var destination: String
        public var writable: Bool

        public init(_ source: String, at destination: String, writable: Bool = false) {
            self.source = source
            self.destination = destination
            self.writable = writable
        }
    }

    /// A file that is copied in before the program starts.
    public struct FileIn: Sendable, Hashable {
        public var source: String
        /// Absolute, or relative to the home directory; nil takes the source's own name.
        public var destination: String?
        /// An open file of the caller's that is copied instead of what `source` names; borrowed until the request is made.
        public var descriptor: Int32?

        public init(_ source: String, to destination: String? = nil) {
            self.source = source
            self.destination = destination
        }

        /// - Parameter name: what messages call the file.
        public init(descriptor: Int32, name: String, to destination: String) {
            source = name
            self.destination = destination
            self.descriptor = descriptor
        }
    }

    /// nil takes the payload's usual one.
    public var zygote: String?
    /// nil takes the zygote's own, which is `default` unless the daemon's configuration says otherwise.
    public var profile: String?
    /// The process name in `hatchery ps`; empty takes the program's.
    public var title = ""

    /// Wall clock, from the moment when the program starts.
    public var time: Duration?
    /// CPU time of all processes together.
    public var cpuTime: Duration?
    /// Bytes, of all processes together.
    public var memory: UInt64?
    /// Processes and threads alive at once.
    public var pids: UInt64?
    /// Processors' worth of CPU time; 0.5 is half of one.
    public var cpus: Double?
    /// Bytes in the sandbox's own writable file systems.
    public var disk: UInt64?
    /// Open descriptors of each process.
    public var openFiles: UInt64?

    /// A terminal of its own, of this size, instead of pipes. stdout and stderr are then one stream, which comes as stdout.
    public var terminal: TerminalSize?

    public var network: SpawnRequest.Network?
    public var mounts: [Mount] = []
    public var temporaryFileSystems: [SpawnRequest.TemporaryFileSystem] = []
    /// A directory that becomes the root, instead of the default read-only view of the host's /usr.
    public var rootFileSystem: String?
    public var filesIn: [FileIn] = []

    /// An absolute path inside; nil means the home directory.
    public var workingDirectory: String?
    /// Names and values in order; a later one wins. Nothing of the caller's own environment is passed on.
    public var environment: [(name: String, value: String)] {
        get { variables.map { ($0.name, $0.value) } }
        set { variables = newValue.map { Variable(name: $0.name, value: $0.value) } }
    }
    private var variables: [Variable] = []

    /// Layers without which the request fails instead of running.
    public var required: LayerSet = []
    /// Seeds every known random generator, for reproducible runs.
    public var seed: UInt64?
    /// Whether the sandbox outlives the connection.
    public var detached = false

    // Only a daemon that was built for tests takes these.
    package var without: LayerSet = []
    package var failAt: Step?

    public init() {}

    private struct Variable: Sendable, Hashable {
        var name: String
        var value: String
    }
}
