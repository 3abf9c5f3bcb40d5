/// Which network a sandbox sees.
public enum NetworkMode: String, Sendable, CaseIterable {
    /// An empty network namespace: not even loopback is up.
    case none
    /// Loopback alone.
    case loopback
    /// The outside, behind address translation.
    case nat
}

/// A named sandbox configuration. Every profile starts from the defaults below, not from the profile `default` of the file: to
/// loosen one profile never loosens another.
public struct ProfileConfiguration: Sendable, Equatable {
    public var network = NetworkMode.none
    /// The payload's ids as it sees them.
    public var uid: UInt32 = 1000
    public var gid: UInt32 = 1000
    public var hostname = "sandbox"
    /// The home directory inside the sandbox: absolute.
    public var home = "/home/sandbox"
    /// All variables that a child has beside those of its request. Empty by default: nothing of the daemon's or the
    /// client's environment reaches a child that somebody did not name.
    public var environment: [String: String] = [:]
    /// The name of a policy that comes with Hatchery, or the absolute path of a policy file.
    public var seccomp = "default"
    /// What follows from a `refuse` line of the policy.
    public var onViolation = OnViolation.errno
    public var limits = LimitsConfiguration()

    public enum OnViolation: String, Sendable, CaseIterable {
        /// The call fails with the errno of the line.
        case errno
        /// The sandbox ends; the verdict is `syscall_denied`.
        case kill
    }

    public init() {}

    static let schema = Schema<ProfileConfiguration>([
        .value("network", \.network, .choice, "Network that the sandbox sees"),
        // SECURITY: 0 is the init's, which the payload must not be able to signal or trace, and 65534 is what every id from
        // outside looks like. Test: idsOfTheSandboxThatBelongToOthersAreRefused.
        .value("uid", \.uid, .number(1...65_533), "User id inside the sandbox"),
        .value("gid", \.gid, .number(1...65_533), "Group id inside the sandbox"),
        .value("hostname", \.hostname, hostname, "Host name inside the sandbox"),
        .value("home", \.home, home, "Home directory inside the sandbox"),
        .value("environment", \.environment, .environment, "Environment of every child"),
        .value("seccomp", \.seccomp, policy, "Built-in seccomp policy, or the absolute path of a policy file"),
        .value("on_violation", \.onViolation, .choice, "What follows from a call that the policy refuses: its errno, or the end of the run"),
        .section("limits", \.limits, LimitsConfiguration.schema, "Limits of a run: default and maximum"),
    ])

    private static let hostname = ValueCodec<String>.text.refined("a host name") { name in
        let isName = (1...64).contains(name.utf8.count) && !name.hasPrefix("-") && !name.hasPrefix(".")
            && name.utf8.allSatisfy { isWordByte($0) && $0 != UInt8(ascii: "_") || "-.".utf8.contains($0) }
        return isName ? nil : "'\(name)' is not a host name of at most 64 letters, digits, '-' and '.'"
    }

    private static let home = ValueCodec<String>.absolutePath.refined("an absolute path") { path in
        path.contains(where: { $0 != "/" }) ? nil : "the root of the sandbox cannot be a home directory"
    }

    private static let policy = ValueCodec<String>.text.refined("a policy's name or absolute path") { text in
        if text.hasPrefix("/") { return text.split(separator: "/").contains("..") ? "the path '\(text)' contains '..'" : nil }
        return MemberName.problem(with: text).map { _ in "'\(text)' is neither a policy's name nor an absolute path" }
    }
}
