/// What a daemon is told: one YAML file, overridden key by key by the environment and by flags. Docs/Configuration.md has
/// the table of keys.
///
/// The stored defaults of these structures are Hatchery's defaults; there is no second place.
public struct Configuration: Sendable, Equatable {
    public var socket = SocketConfiguration()
    public var ids = IDRangeConfiguration()
    public var cgroup = CgroupConfiguration()
    public var nat = NatConfiguration()
    /// After this long without a connection and without a child the daemon leaves; nil for never.
    public var idleExit: Duration?
    /// How long sandboxes may go on after SIGTERM before they are ended.
    public var drain = Duration.seconds(10)
    public var policy = PolicyConfiguration()
    /// In the order of the file: the first that fits a peer holds. Who fits none is refused.
    public var rules = [RuleConfiguration(name: "everyone")]
    /// In the order of the file; names are unique. Never empty.
    public var zygotes = [ZygoteConfiguration(name: "exec", kind: .exec)]
    /// By name; `default` always exists.
    public var profiles = ["default": ProfileConfiguration()]

    public var log = LogConfiguration()
    public var audit = AuditConfiguration()
    public var metrics = MetricsConfiguration()

    public init() {}

    /// Where `load` looks when it is given no path.
    public static let defaultPath = "/etc/hatchery/hatchery.yaml"

    /// Every key with its current value; `Configuration().keys` shows the defaults.
    public var keys: [ConfigurationKey] { Configuration.schema.keys(of: self) }

    static let schema = Schema<Configuration>([
        .section("socket", \.socket, SocketConfiguration.schema, "Where clients connect"),
        .section("ids", \.ids, IDRangeConfiguration.schema, "Outer ids that sandboxes get, as root"),
        .section("cgroup", \.cgroup, CgroupConfiguration.schema, "Kernel limits of each sandbox as a whole"),
        .section("nat", \.nat, NatConfiguration.schema, "The network of sandboxes that have one"),
        .value("idle_exit", \.idleExit,
            ValueCodec<Duration>.duration(.milliseconds(1)...(.seconds(365 * 24 * 3600))).optional(absence: "never"),
            "The daemon leaves after this long without a client or a child"),
        .value("drain", \.drain, .duration(.zero...(.seconds(24 * 3600))),
            "How long sandboxes may go on after SIGTERM; a second SIGTERM ends them at once"),
        .section("policy", \.policy, PolicyConfiguration.schema, "What the daemon takes on at once"),
        .section("log", \.log, LogConfiguration.schema, "The daemon's own log"),
        .section("audit", \.audit, AuditConfiguration.schema, "A line of every spawn and of every end"),
        .section("metrics", \.metrics, MetricsConfiguration.schema, "Metrics, health and readiness"),
        .list("rules", \.rules, initial: RuleConfiguration(name: ""), memberName: \.name, RuleConfiguration.schema,
            "Who may ask, for what and how much"),
        .list("zygotes", \.zygotes, initial: ZygoteConfiguration(name: "", kind: .exec), memberName: \.name,
            ZygoteConfiguration.schema, "Processes that hatch children"),
        .named("profiles", \.profiles, initial: ProfileConfiguration(), ProfileConfiguration.schema, "Kinds of sandbox"),
    ]) { configuration, section throws(ConfigurationError) in
        if configuration.zygotes.isEmpty { throw section.error("zygotes", "a daemon without zygotes can do nothing") }
        try RuleConfiguration.check(configuration, section)
        for (index, zygote) in configuration.zygotes.enumerated() where configuration.profiles[zygote.profile] == nil {
            // The default zygote has no node, and its profile always exists: so there is one here.
            guard case .sequence(let nodes)? = section.node["zygotes"]?.content else { continue }
            throw Section(node: nodes[index], path: "zygotes.\(zygote.name)").error(
                "profile", "there is no profile '\(zygote.profile)'",
                suggestion: nearestName(to: zygote.profile, in: configuration.profiles.keys.sorted()))
        }
    }
}
