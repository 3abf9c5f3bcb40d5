import HatcheryConfigurationText
import HatcheryJobs
import HatcheryProtocol

/// What the tables fill, before the phases are joined.
struct RawSpec: Sendable {
    var name = ""
    var environment = RawEnvironment()
    var packageIndex = RawIndex()
    var secrets: [String: RawSecret] = [:]
    var rights = RightsChange()
    var phases: [BuildPhase: RawPhase] = [:]
}

struct RawEnvironment: Sendable {
    var rootFileSystem: String?
    var profile = "default"
    var variables: [String: String] = [:]
}

struct RawIndex: Sendable {
    var servers: [PackageIndex.Server] = []
    var extraIndexURLs: [String] = []
    var trustedHosts: [String] = []
    var findLinks: [String] = []
}

struct RawSecret: Sendable {
    var file: String?
    var environment: String?
}

struct RawPhase: Sendable {
    var rights = RightsChange()
    var grant = RightsChange()
    var steps: [BuildSpec.Step] = []
}

/// What a section says about rights; nil is silence.
struct RightsChange: Sendable {
    var network: BuildRights.Network?
    var writable: [String]?
    var secrets: [String] = []
    var time: Duration?
    var cpuTime: Duration?
    var memory: UInt64?
    var pids: UInt32?
    var disk: UInt64?
}

enum BuildSpecText {
    static let schema = Schema<RawSpec>(
        [
            .value("name", \.name, .text, "A name for reports"),
            .section("environment", \.environment, environment, "The sandboxes' root, profile and variables"),
            .section("pypi", \.packageIndex, packageIndex, "Settings of pip and twine, in the home directory"),
            secrets,
            .section("rights", \.rights, rights(secrets: false), "What the first phase begins with"),
        ] + BuildPhase.allCases.map(phase))

    private static let environment = Schema<RawEnvironment>([
        .value("rootfs", \.rootFileSystem, ValueCodec<String>.text.optional(absence: "none"),
            "A directory that becomes the root; relative to the spec"),
        .value("profile", \.profile, .text, "Profile of the daemon"),
        .value("variables", \.variables, .environment, "Variables of every command"),
    ])

    private static let packageIndex = Schema<RawIndex>([
        servers,
        .value("extra-index-url", \.extraIndexURLs, .list(orOne: line), "More package indexes"),
        .value("trusted-host", \.trustedHosts, .list(orOne: line), "Hosts without a valid certificate"),
        .value("find-links", \.findLinks, .list(orOne: line), "Places with package files"),
    ])

    /// What is written into a line of a file may not begin another one.
    static let line = ValueCodec<String>.text.refined("a text of one line") { text in
        text.isEmpty || text.unicodeScalars.contains { $0.properties.generalCategory == .control }
            ? "an empty text, or one with control characters" : nil
    }

    /// A path below the work directory, or `~`.
    static let place = ValueCodec<String>.text.refined("a relative path, or ~") { text in
        if text == "." || text == "~" { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return parts.contains { $0.isEmpty || $0 == "." || $0 == ".." } || text.hasPrefix("~")
            ? "'\(text)' is not a path below the work directory, such as 'dist' or 'build/lib', nor '.', nor '~'" : nil
    }

    // MARK: Rights

    static func rights(secrets: Bool) -> Schema<RightsChange> {
        var fields: [Field<RightsChange>] = [
            .value("network", \.network, network, "none, loopback or nat"),
            .value("writable", \.writable, optionalPlaces, "Paths whose changes last; '.' is the work directory, '~' the home"),
            .section("limits", \.self, limits, "Limits of a phase"),
        ]
        if secrets { fields.append(.value("secrets", \.secrets, .list(of: line), "Names of secrets")) }
        return Schema(fields)
    }

    private static let network: ValueCodec<BuildRights.Network?> =
        ValueCodec<BuildRights.Network>.choice.optional(absence: "inherited")
    private static let optionalPlaces: ValueCodec<[String]?> =
        ValueCodec<[String]>.list(of: place).optional(absence: "inherited")

    private static let limits = Schema<RightsChange>([
        .value("time", \.time, ValueCodec<Duration>.duration(.milliseconds(1) ... .seconds(86_400)).optional(absence: "inherited"),
            "Wall clock of the phase"),
        .value("cpu-time", \.cpuTime, ValueCodec<Duration>.duration(.milliseconds(1) ... .seconds(864_000)).optional(absence: "inherited"),
            "CPU time of all its processes"),
        .value("memory", \.memory, ValueCodec<UInt64>.size(1 << 20 ... 1 << 50).optional(absence: "inherited"), "Memory of all its processes and files"),
        .value("pids", \.pids, ValueCodec<UInt32>.number(2...4_194_304).optional(absence: "inherited"), "Processes and threads at once"),
        .value("disk", \.disk, ValueCodec<UInt64>.size(1 << 20 ... 1 << 50).optional(absence: "inherited"), "Bytes of its files"),
    ])

    // MARK: Named sections

    private static let secrets = Field<RawSpec>.table("secrets", "Secrets by name, each from a file or a variable of the caller") {
        node, path, name, root throws(ConfigurationError) in
        guard name.utf8.allSatisfy(isWordByte), name.utf8.first.map({ $0 > UInt8(ascii: "9") }) == true else {
            throw ConfigurationError(
                origin: node.origin, path: path, message: "a secret's name is the variable that it becomes: letters, digits and '_'")
        }
        var secret = RawSecret()
        var origins: Origins = [:]
        try secretSchema.decode(node, path: path, into: &secret, &origins)
        root.secrets[name] = secret
    }

    private static let secretSchema = Schema<RawSecret>(
        [
            .value("file", \.file, ValueCodec<String>.text.optional(absence: "none"), "The file that holds it; relative to the spec"),
            .value("environment", \.environment, ValueCodec<String>.text.optional(absence: "none"), "The caller's variable that holds it"),
        ]
    ) { secret, section throws(ConfigurationError) in
        if (secret.file == nil) == (secret.environment == nil) {
            throw ConfigurationError(
                origin: section.node.origin, path: section.path, message: "a secret comes either from 'file' or from 'environment'")
        }
    }

    private static let servers = Field<RawIndex>.table("index-servers", "Servers for uploads, by name") {
        node, path, name, root throws(ConfigurationError) in
        guard name.utf8.allSatisfy({ isWordByte($0) || $0 == UInt8(ascii: "-") }) else {
            throw ConfigurationError(origin: node.origin, path: path, message: "a server's name has letters, digits, '_' and '-'")
        }
        var server = PackageIndex.Server(name: name)
        var origins: Origins = [:]
        try serverSchema.decode(node, path: path, into: &server, &origins)
        root.servers.append(server)
    }

    private static let serverSchema = Schema<PackageIndex.Server>([
        .value("repository", \.repository, line, required: true, "Its URL"),
        .value("username", \.username, line, "Who uploads"),
        .value("password-secret", \.passwordSecret, line.optional(absence: "none"), "The secret that is its password"),
    ])

    // MARK: Phases

    private static func phase(_ phase: BuildPhase) -> Field<RawSpec> {
        Field(name: phase.rawValue, isRequired: false) { node, path, root, origins throws(ConfigurationError) in
            var raw = RawPhase()
            if case .mapping = node.content {
                try phaseSchema.decode(node, path: path, into: &raw, &origins)
            } else {
                raw.steps = try StepText.steps(node, path: path)
            }
            root.phases[phase] = raw
        } describe: { _ in
            ConfigurationKey(
                name: phase.rawValue, shape: .section(phaseSchema.keys(of: RawPhase())), summary: "A list of entries, or a mapping with `steps`")
        }
    }

    static let phaseSchema = Schema<RawPhase>([
        .section("rights", \.rights, rights(secrets: false), "What of its rights it gives up, for itself and the phases behind it"),
        .section("grant", \.grant, rights(secrets: true), "What it gets beyond, for itself alone"),
        Field(name: "steps", isRequired: true) { node, path, root, _ throws(ConfigurationError) in
            root.steps = try StepText.steps(node, path: path)
        } describe: { _ in
            ConfigurationKey(name: "steps", shape: .value(type: "a list of entries", form: .list, text: "", required: true), summary: "Its entries")
        },
    ])
}

extension Field {
    /// A mapping from names to things that `decode` reads one by one.
    static func table(
        _ name: String, _ summary: String,
        _ decode: @escaping @Sendable (SourceNode, String, String, inout Root) throws(ConfigurationError) -> Void
    ) -> Field {
        Field(name: name, isRequired: false) { node, path, root, _ throws(ConfigurationError) in
            guard let entries = node.entries else {
                throw ConfigurationError(origin: node.origin, path: path, message: "expected a mapping of names, found \(node.found)")
            }
            for entry in entries { try decode(entry.value, joinPath(path, entry.key), entry.key, &root) }
        } describe: { _ in
            ConfigurationKey(name: name, shape: .named(template: [], members: []), summary: summary)
        }
    }
}
