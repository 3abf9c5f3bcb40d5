/// What the daemon takes on at once, whoever asks. What a single user may have is in the rules.
public struct PolicyConfiguration: Sendable, Equatable {
    /// Connections of clients.
    public struct Connections: Sendable, Equatable {
        /// Each costs a descriptor and at most a queue of answers.
        public var total: UInt32 = 4096
        public var perUser: UInt32 = 1024
        /// A client greets at once; one that does not holds a descriptor for nothing.
        public var greeting = Duration.seconds(10)
        public var idle: Duration?

        public init() {}

        static let schema = Schema<Connections>([
            .value("total", \.total, .number(1...1_000_000), "Clients connected at once, at most 1000000"),
            .value("per_user", \.perUser, .number(1...1_000_000), "Clients of one uid connected at once, at most 1000000"),
            .value("greeting", \.greeting, .duration(.milliseconds(10)...(.seconds(3600))),
                "A client that has not greeted after this long is closed, at most 1h"),
            .value("idle", \.idle,
                ValueCodec<Duration>.duration(.milliseconds(10)...(.seconds(365 * 24 * 3600))).optional(absence: "never"),
                "A client without a request and without a sandbox is closed after this long"),
        ])
    }

    /// Requests that wait for their turn.
    public struct Queue: Sendable, Equatable {
        public var total: UInt32 = 1024
        public var perUser: UInt32 = 256
        public var wait = Duration.seconds(5)

        public init() {}

        static let schema = Schema<Queue>([
            .value("total", \.total, .number(0...65_536), "Requests that wait at once, at most 65536; 0 for no queue"),
            .value("per_user", \.perUser, .number(0...65_536), "Requests of one uid that wait at once, at most 65536"),
            .value("wait", \.wait, .duration(.zero...(.seconds(3600))),
                "How long a request may wait until it is refused, at most 1h"),
        ])
    }

    /// Admission by the memory of the machine.
    public struct Memory: Sendable, Equatable {
        public var reserve: UInt64 = 64 << 20
        public var overcommit = true

        public init() {}

        static let schema = Schema<Memory>([
            .value("reserve", \.reserve, .size(0...1 << 50), "Bytes of available memory below which nothing new begins"),
            .value("overcommit", \.overcommit, .truth,
                "Whether only what is in use counts; false: the limits of all that run are taken as used"),
        ])
    }

    public var connections = Connections()
    /// Each costs the front about eight descriptors while it is built and four while it runs.
    public var running: UInt32 = 16_384
    /// Enough to keep every processor of a large machine busy, and few enough that the queue, which is fair, decides who is
    /// next, and not the order of arrival.
    public var starting: UInt32 = 64
    public var queue = Queue()
    public var memory = Memory()

    public init() {}

    static let schema = Schema<PolicyConfiguration>([
        .section("connections", \.connections, Connections.schema, "Connections of clients"),
        .value("running", \.running, .number(1...1_000_000), "Sandboxes alive at once, at most 1000000"),
        .value("starting", \.starting, .number(1...65_536), "Sandboxes being set up at once, half of them at most for one user; at most 65536"),
        .section("queue", \.queue, Queue.schema, "Requests that wait for their turn"),
        .section("memory", \.memory, Memory.schema, "Admission by the memory of the machine"),
    ])
}

/// Who may ask, for what, and how much of it. The first rule that fits a peer holds.
public struct RuleConfiguration: Sendable, Equatable {
    public var name: String
    /// Users and groups by name or number. A rule without either fits everybody.
    public var users: [String] = []
    public var groups: [String] = []
    /// Empty: all.
    public var profiles: [String] = []
    public var zygotes: [String] = []
    /// The rest is for each uid on its own.
    public var running: UInt32 = 8192
    /// Spawns per second.
    public var rate: Double?
    public var burst: UInt32 = 64
    /// The sum of the memory limits of all that live.
    public var memory: UInt64?

    public init(name: String) { self.name = name }

    static let schema = Schema<RuleConfiguration>([
        .value("name", \.name, MemberName.codec, required: true, "Name of the rule, for messages"),
        .value("users", \.users, .list(of: account), "Users that it fits, by name or number"),
        .value("groups", \.groups, .list(of: account),
            "Groups that it fits, by name or number; a rule without users and groups fits everybody"),
        .value("profiles", \.profiles, .list(of: MemberName.codec), "Profiles that they may use; none named: all"),
        .value("zygotes", \.zygotes, .list(of: MemberName.codec), "Zygotes that they may use; none named: all"),
        .value("running", \.running, .number(1...1_000_000), "Sandboxes of one uid alive at once, at most 1000000"),
        .value("rate", \.rate, ValueCodec<Double>.decimal(0.001...1_000_000).optional(absence: "unlimited"),
            "Spawns of one uid per second, at most 1000000"),
        .value("burst", \.burst, .number(1...1_000_000), "Spawns that may come at once before the rate counts, at most 1000000"),
        .value("memory", \.memory, ValueCodec<UInt64>.size(1 << 20...1 << 50).optional(absence: "unlimited"),
            "Memory limits of one uid's sandboxes in sum"),
    ])

    private static let account = ValueCodec<String>.text.refined("a name or a number") { name in
        let isName = !name.isEmpty && name.utf8.count <= 32 && !name.hasPrefix("-")
            && name.utf8.allSatisfy { isWordByte($0) || "-.$@".utf8.contains($0) }
        return isName ? nil : "'\(name)' is not the name of a user or a group"
    }

    /// What a rule names must exist: a misspelled profile would lock everybody out of it.
    static func check(_ configuration: Configuration, _ section: Section) throws(ConfigurationError) {
        guard case .sequence(let nodes)? = section.node["rules"]?.content else { return }
        for (rule, node) in zip(configuration.rules, nodes) {
            let place = Section(node: node, path: "rules.\(rule.name)")
            let profiles = configuration.profiles.keys.sorted()
            for name in rule.profiles where configuration.profiles[name] == nil {
                throw place.error(
                    "profiles", "there is no profile '\(name)'", suggestion: nearestName(to: name, in: profiles))
            }
            let zygotes = configuration.zygotes.map(\.name)
            for name in rule.zygotes where !zygotes.contains(name) {
                throw place.error("zygotes", "there is no zygote '\(name)'", suggestion: nearestName(to: name, in: zygotes))
            }
        }
    }
}
