/// One limit: what a request gets that asks for nothing, and the most that it can ask for.
public struct LimitConfiguration<Value: Sendable & Comparable>: Sendable, Equatable {
    public var `default`: Value
    public var max: Value

    public init(default: Value, max: Value) {
        self.default = `default`
        self.max = max
    }

    static func schema(_ codec: ValueCodec<Value>, _ summary: String) -> Schema<LimitConfiguration> {
        Schema([
            .value("default", \.default, codec, "\(summary), where a request does not say"),
            .value("max", \.max, codec, "\(summary), at most"),
        ]) { limit, section throws(ConfigurationError) in
            guard limit.default > limit.max else { return }
            // Where only one of the two was written, the other is a default that the operator may never have seen.
            func text(_ value: Value, _ key: String) -> String {
                codec.format(value) + (section.has(key) ? "" : ", built in")
            }
            throw section.error(
                section.has("default") ? "default" : "max",
                "the default (\(text(limit.default, "default"))) is above the max (\(text(limit.max, "max")))")
        }
    }
}

/// The limits of one run. All but `files` are of the whole tree of processes.
public struct LimitsConfiguration: Sendable, Equatable {
    /// Wall-clock time.
    public var wall = LimitConfiguration<Duration>(default: .seconds(30), max: .seconds(600))
    /// CPU time.
    public var cpu = LimitConfiguration<Duration>(default: .seconds(30), max: .seconds(3600))
    /// Bytes.
    public var memory = LimitConfiguration<UInt64>(default: 512 << 20, max: 4 << 30)
    /// Processes and threads alive at once.
    public var pids = LimitConfiguration<UInt32>(default: 64, max: 1024)
    /// Bytes that the sandbox's own writable file systems hold.
    public var disk = LimitConfiguration<UInt64>(default: 256 << 20, max: 4 << 30)
    /// Open descriptors of each process (RLIMIT_NOFILE).
    public var files = LimitConfiguration<UInt32>(default: 1024, max: 65_536)
    /// Bytes kept of each of stdout and stderr.
    public var output = LimitConfiguration<UInt64>(default: 10 << 20, max: 1 << 30)
    /// Processors' worth of CPU time per second.
    public var cpus = LimitConfiguration<Double>(default: 1, max: 64)

    public init() {}

    static let schema = Schema<LimitsConfiguration>([
        .limit("wall", \.wall, .duration(shortest...longest), "Wall-clock time"),
        .limit("cpu", \.cpu, .duration(shortest...longest), "CPU time of all processes together"),
        // Below a megabyte not even our own init fits, and the failure would look like the program's.
        .limit("memory", \.memory, .size(1 << 20...1 << 50), "Memory of all processes together"),
        // Two of them are ours: the init, and the payload while it is still our code. The most is the kernel's own.
        .limit("pids", \.pids, .number(2...4_194_304), "Processes and threads alive at once"),
        // SECURITY: never 0, which tmpfs takes for "no limit". Test: aDiskLimitOfZeroIsRefused.
        .limit("disk", \.disk, .size(4096...1 << 50), "Bytes in the sandbox's own writable file systems"),
        // The dynamic loader needs a few beyond 0-2. The most is the usual fs.nr_open; above it setrlimit fails.
        .limit("files", \.files, .number(16...1_048_576), "Open descriptors of each process"),
        // 0 is meant: read everything, keep nothing.
        .limit("output", \.output, .size(0...1 << 40), "Bytes kept of each of stdout and stderr"),
        // The least is the shortest quota that the kernel takes, 1 ms of a period of 100 ms.
        .limit("cpus", \.cpus, .decimal(0.01...8192), "Processors' worth of CPU time"),
    ])

    private static let shortest = Duration.milliseconds(1)
    /// A year. It keeps sums of deadlines far from overflow.
    private static let longest = Duration.seconds(365 * 24 * 3600)
}

extension Field where Root == LimitsConfiguration {
    static func limit<Value: Sendable & Comparable>(
        _ name: String, _ keyPath: WritableKeyPath<Root, LimitConfiguration<Value>> & Sendable, _ codec: ValueCodec<Value>,
        _ summary: String
    ) -> Field {
        .section(name, keyPath, LimitConfiguration<Value>.schema(codec, summary), summary)
    }
}
