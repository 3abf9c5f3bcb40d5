/// What the daemon does with cgroups. The tree that it makes is described in `CgroupTree`.
public struct CgroupConfiguration: Sendable, Equatable {
    public enum Mode: String, Sendable, CaseIterable {
        /// Nothing: limits are watched (Docs/Limits.md).
        case off
        /// As much as the host gives; the receipt says what is missing.
        case auto
        /// The daemon does not start unless memory, processes and processors are limited by cgroups.
        case required
    }

    public var mode = Mode.auto
    /// The directory of a cgroup v2 below which the daemon makes its own; nil takes the cgroup that it was started in.
    public var path: String?

    public init() {}

    static let schema = Schema<CgroupConfiguration>([
        .value("mode", \.mode, .choice, "Whether every sandbox gets a cgroup: required refuses to start where it cannot limit"),
        .value("path", \.path, ValueCodec<String>.absolutePath.optional(absence: "none"),
            "Directory of the cgroup v2 that the daemon makes its own below; its own cgroup where none is given"),
    ]) { cgroup, section throws(ConfigurationError) in
        if cgroup.mode == .off && cgroup.path != nil {
            throw section.error("path", "a path has no effect while mode is off")
        }
    }
}
