import Hatchery

/// What a build is to do: the value of a spec, after all its rules were checked. `BuildSpec(yaml:)` of the module
/// `HatcheryBuildSpec` reads the text; Docs/BuildSpec.md describes it.
public struct BuildSpec: Sendable, Hashable {
    public var name = ""
    /// A directory that becomes the root of the sandboxes; nil is the view of the host's /usr.
    public var rootFileSystem: String?
    /// Of the daemon.
    public var profile = "default"
    public var variables: [String: String] = [:]
    public var secrets: [String: SecretSource] = [:]
    public var packageIndex = PackageIndex()
    /// What the first phase begins with.
    public var rights = BuildRights()
    public var phases: [BuildPhase: Section] = [:]

    public init() {}

    /// The entries of one phase, and what it may do.
    public struct Section: Sendable, Hashable {
        public var steps: [Step] = []
        /// In force in this phase: what it was left, what it gave up, and what it was granted.
        public var rights = BuildRights()
        /// Names of secrets that this phase was granted.
        public var secrets: [String] = []

        public init() {}
    }

    /// One entry.
    public struct Step: Sendable, Hashable {
        public enum Kind: Sendable, Hashable {
            case command
            /// A service beside the others.
            case background
        }

        public var kind = Kind.command
        /// argv.
        public var command: [String]
        /// As the spec says it.
        public var text: String
        /// For a service: until it takes connections. Otherwise: until it must have ended.
        public var time: Duration?
        /// TCP, on the loopback; a service that takes connections there is ready.
        public var port: UInt16?
        /// Where it stands in the spec.
        public var line: Int

        public init(_ command: [String], text: String, line: Int) {
            self.command = command
            self.text = text
            self.line = line
        }
    }

    /// Where a secret's value comes from, on the caller's side.
    public enum SecretSource: Sendable, Hashable {
        case file(String)
        case environment(String)
    }
}

/// The sections of a spec that hold commands, in the order in which they run.
public enum BuildPhase: String, Sendable, Hashable, CaseIterable {
    case install, before, execute, after, staging, production
}

/// What the processes of a phase may do.
public struct BuildRights: Sendable, Hashable {
    /// The network, from the least to the most.
    public enum Network: String, Sendable, Hashable, CaseIterable, Comparable {
        case none, loopback, nat

        public static func < (first: Network, second: Network) -> Bool {
            allCases.firstIndex(of: first)! < allCases.firstIndex(of: second)!
        }
    }

    public struct Limits: Sendable, Hashable {
        /// Of the whole phase.
        public var time = Duration.seconds(300)
        public var cpuTime = Duration.seconds(600)
        public var memory: UInt64 = 1 << 30
        public var pids: UInt32 = 256
        public var disk: UInt64 = 256 << 20

        public init() {}
    }

    public var network = Network.loopback
    /// What a phase leaves to the next one: paths below the work directory (`.` is all of it), and `~`, the home directory.
    /// Changes elsewhere are gone with the phase.
    public var writable = [".", "~"]
    public var limits = Limits()

    public init() {}

    /// Whether a path of the work directory is one whose changes last.
    public func keeps(_ path: String) -> Bool {
        writable.contains { place in place == "." || path == place || path.hasPrefix(place + "/") }
    }

    /// Whether a place is at or below one of `places`.
    public static func covers(_ places: [String], _ place: String) -> Bool {
        if place == "~" { return places.contains("~") }
        return places.contains { $0 != "~" && ($0 == "." || place == $0 || place.hasPrefix($0 + "/")) }
    }
}

/// Settings of pip and of uploads to package indexes.
public struct PackageIndex: Sendable, Hashable {
    public struct Server: Sendable, Hashable {
        public var name: String
        public var repository = ""
        public var username = ""
        /// The name of a secret; written only in phases that were granted it.
        public var passwordSecret: String?

        public init(name: String) { self.name = name }
    }

    public var servers: [Server] = []
    public var extraIndexURLs: [String] = []
    public var trustedHosts: [String] = []
    public var findLinks: [String] = []

    public init() {}

    /// The files that these are in the home directory of a phase.
    ///
    /// - Parameter secrets: those of the phase.
    package func files(secrets: [String: String]) -> [(path: String, text: String)] {
        var files: [(String, String)] = []
        if !servers.isEmpty {
            var text = "[distutils]\nindex-servers =\n" + servers.map { "    \($0.name)\n" }.joined()
            for server in servers {
                text += "\n[\(server.name)]\nrepository = \(server.repository)\n"
                if !server.username.isEmpty { text += "username = \(server.username)\n" }
                if let password = server.passwordSecret.flatMap({ secrets[$0] }) { text += "password = \(password)\n" }
            }
            files.append((".pypirc", text))
        }
        let settings = [("extra-index-url", extraIndexURLs), ("trusted-host", trustedHosts), ("find-links", findLinks)]
            .filter { !$0.1.isEmpty }
        if !settings.isEmpty {
            let lines = settings.map { name, values in "\(name) =\n" + values.map { "    \($0)\n" }.joined() }
            files.append((".config/pip/pip.conf", "[global]\n" + lines.joined()))
        }
        return files
    }
}
