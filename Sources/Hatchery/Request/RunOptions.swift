import HatcheryProtocol

/// The options of a whole run: the sandbox, and what goes in and comes out.
///
/// The sandbox's options are at hand as well: `options.time` is `options.sandbox.time`.
@dynamicMemberLookup
public struct RunOptions: Sendable, Hashable {
    /// What the program reads on its stdin.
    public enum Input: Sendable, Hashable {
        /// /dev/null: end of file at once.
        case none
        case bytes([UInt8])
        /// An open descriptor of the caller's, passed through until its end. It is borrowed for the time of the run.
        case descriptor(Int32)
        /// Bytes, and behind them what a descriptor gives, as above.
        case joined([UInt8], Int32)
    }

    /// What happens to a stream of the program.
    package enum Output: Sendable, Hashable {
        case collect
        /// Passed through, as it comes, to a descriptor of the caller's.
        case forward(Int32)
    }

    /// Bytes of each stream.
    package struct StreamCaps: Sendable, Hashable {
        package var stdout: Int
        package var stderr: Int

        package init(stdout: Int, stderr: Int) {
            self.stdout = stdout
            self.stderr = stderr
        }
    }

    /// A file or a directory that is brought out after the run, whole or not at all.
    ///
    /// Of a directory come the directories and regular files in it; what is neither is left out, and the result tells. Files
    /// are then 0644 and directories 0755.
    public struct FileOut: Sendable, Hashable {
        /// A path in the sandbox's own writable places (/tmp, home): absolute, or relative to the home directory.
        public var path: String
        /// Where to put it: a path of the caller's. An existing file is replaced in one moment by a file, an empty directory by
        /// a directory.
        public var destination: String
        /// Bytes of the file, or of all files in the directory; more is an error, not a shorter copy.
        public var limit: UInt64
        /// Files and directories in a directory.
        public var entries = OutputTree.mostEntries
        /// How long copying a directory may take.
        public var time = Duration.seconds(60)

        public init(_ path: String, to destination: String, limit: UInt64 = 1 << 30) {
            self.path = path
            self.destination = destination
            self.limit = limit
        }
    }

    public var sandbox = SandboxOptions()
    public var stdin = Input.none
    /// How long writing stdin may take, from the moment when the program starts; nil: as long as the run.
    public var stdinTime: Duration?
    /// Bytes kept of each stream; nil takes the profile's. The rest is read and dropped, and counted.
    public var outputLimit: Int?
    /// The same for stderr alone; nil takes `outputLimit`.
    public var stderrLimit: Int?
    /// Whether the last bytes are kept instead of the first ones.
    public var keepsTail = false
    public var filesOut: [FileOut] = []
    /// A directory of the caller's for the figures that a Python program leaves open at its end, as `figure-N.png`. Nothing is
    /// imported for it, and a program that draws nothing is not slowed down.
    public var plots: String?

    /// Whether a Python program tells on stderr, at its end, which modules it had to import because its zygote had not: what to preload.
    public var tellsImports = false

    package var stdoutTarget = Output.collect
    package var stderrTarget = Output.collect
    /// Bytes that are kept, or passed on, at most, whatever the profile allows.
    package var ceiling: StreamCaps?

    /// - Parameter time: the wall clock limit; nil takes the profile's.
    public init(time: Duration? = nil) { sandbox.time = time }

    public subscript<Value>(dynamicMember keyPath: WritableKeyPath<SandboxOptions, Value>) -> Value {
        get { sandbox[keyPath: keyPath] }
        set { sandbox[keyPath: keyPath] = newValue }
    }
}
