import Glibc
import HatcheryConfigurationText
import HatcheryJobs
import HatcherySystem

extension BuildSpec {
    /// Reads a spec from a file.
    ///
    /// - Throws: the first thing that is wrong, with line, column and key. Nothing was run by then.
    public init(file: String) throws(ConfigurationError) {
        let bytes: [UInt8]
        do throws(SystemError) {
            let opened = try Files.open(file, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK)
            guard Files.isRegular(opened.raw) else { throw SystemError("read", errno: EINVAL, subject: "not a regular file") }
            bytes = try readAll(opened.raw, limit: YAMLSource.maximumBytes + 1)
        } catch {
            throw ConfigurationError(origin: nil, message: "\(file): \(error)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigurationError(origin: nil, message: "\(file): is not UTF-8")
        }
        try self.init(yaml: text, file: file)
    }

    /// Reads a spec from its text.
    ///
    /// - Parameter file: what errors call the text; relative paths in it are relative to this file's directory.
    public init(yaml: String, file: String) throws(ConfigurationError) {
        let tree = try YAMLSource.parse(yaml) { line, column in .file(file, line: line, column: column) }
        var raw = RawSpec()
        var origins: Origins = [:]
        try BuildSpecText.schema.decode(tree, path: "", into: &raw, &origins)
        try self.init(raw, tree, folder: BuildSpec.folder(of: file))
    }

    private static func folder(of file: String) -> String {
        guard let slash = file.lastIndex(of: "/") else { return "" }
        return String(file[...slash])
    }

    private init(_ raw: RawSpec, _ tree: SourceNode, folder: String) throws(ConfigurationError) {
        func resolved(_ path: String) -> String { path.hasPrefix("/") ? path : folder + path }
        self.init()
        name = raw.name
        rootFileSystem = raw.environment.rootFileSystem.map(resolved)
        profile = raw.environment.profile
        variables = raw.environment.variables
        for (name, secret) in raw.secrets {
            secrets[name] = secret.file.map { .file(resolved($0)) } ?? .environment(secret.environment ?? "")
        }
        packageIndex.servers = raw.packageIndex.servers
        packageIndex.extraIndexURLs = raw.packageIndex.extraIndexURLs
        packageIndex.trustedHosts = raw.packageIndex.trustedHosts
        packageIndex.findLinks = raw.packageIndex.findLinks
        for server in packageIndex.servers {
            guard let secret = server.passwordSecret, secrets[secret] == nil else { continue }
            throw RightsJoin.unknownSecret(
                secret, secrets, at: tree["pypi"]?["index-servers"]?[server.name]?["password-secret"],
                "pypi.index-servers.\(server.name).password-secret")
        }
        rights = RightsJoin.begin(raw.rights)
        try joinPhases(raw, tree)
        if phases.values.allSatisfy({ $0.steps.isEmpty }) {
            throw ConfigurationError(
                origin: tree.origin, message: "the spec runs nothing: none of \(BuildPhase.allCases.map(\.rawValue).joined(separator: ", ")) has an entry")
        }
    }

    /// From one phase to the next, rights only shrink; a grant is for its own phase.
    private mutating func joinPhases(_ raw: RawSpec, _ tree: SourceNode) throws(ConfigurationError) {
        var left = rights
        for phase in BuildPhase.allCases {
            guard let section = raw.phases[phase] else { continue }
            let node = tree[phase.rawValue]
            left = try RightsJoin.narrow(left, by: section.rights, node?["rights"], joinPath(phase.rawValue, "rights"))
            var result = Section()
            result.steps = section.steps
            result.rights = RightsJoin.grant(left, section.grant)
            for (index, secret) in section.grant.secrets.enumerated() {
                guard secrets[secret] != nil else {
                    var place = node?["grant"]?["secrets"]
                    if case .sequence(let nodes)? = place?.content { place = nodes[index] }
                    throw RightsJoin.unknownSecret(secret, secrets, at: place, "\(phase.rawValue).grant.secrets[\(index)]")
                }
            }
            result.secrets = section.grant.secrets
            phases[phase] = result
        }
    }
}

/// How rights go from one phase to the next.
enum RightsJoin {
    static func begin(_ change: RightsChange) -> BuildRights { grant(BuildRights(), change) }

    /// What a phase keeps of what it was left.
    ///
    /// - Throws: where it says more than that.
    static func narrow(
        _ left: BuildRights, by change: RightsChange, _ node: SourceNode?, _ path: String
    ) throws(ConfigurationError) -> BuildRights {
        func refuse(_ key: String, _ wanted: String, _ had: String) -> ConfigurationError {
            var place = node
            for part in key.split(separator: ".") { place = place?[String(part)] ?? place }
            return ConfigurationError(
                origin: place?.origin ?? node?.origin, path: joinPath(path, key),
                message: "\(wanted) is more than the \(had) that is left here; write it under 'grant' to give it to this phase")
        }
        if let network = change.network, network > left.network { throw refuse("network", network.rawValue, left.network.rawValue) }
        if let places = change.writable {
            for place in places where !BuildRights.covers(left.writable, place) {
                throw refuse("writable", "'\(place)'", "[\(left.writable.joined(separator: ", "))]")
            }
        }
        let limits: [(String, Bool, String, String)] = [
            ("time", (change.time ?? .zero) > left.limits.time, "\(change.time ?? .zero)", "\(left.limits.time)"),
            ("cpu-time", (change.cpuTime ?? .zero) > left.limits.cpuTime, "\(change.cpuTime ?? .zero)", "\(left.limits.cpuTime)"),
            ("memory", (change.memory ?? 0) > left.limits.memory, "\(change.memory ?? 0)", "\(left.limits.memory)"),
            ("pids", (change.pids ?? 0) > left.limits.pids, "\(change.pids ?? 0)", "\(left.limits.pids)"),
            ("disk", (change.disk ?? 0) > left.limits.disk, "\(change.disk ?? 0)", "\(left.limits.disk)"),
        ]
        for (name, isMore, wanted, had) in limits where isMore { throw refuse("limits.\(name)", wanted, had) }
        return grant(left, change)
    }

    static func grant(_ left: BuildRights, _ change: RightsChange) -> BuildRights {
        var rights = left
        if let network = change.network { rights.network = network }
        if let writable = change.writable { rights.writable = writable }
        if let time = change.time { rights.limits.time = time }
        if let cpuTime = change.cpuTime { rights.limits.cpuTime = cpuTime }
        if let memory = change.memory { rights.limits.memory = memory }
        if let pids = change.pids { rights.limits.pids = pids }
        if let disk = change.disk { rights.limits.disk = disk }
        return rights
    }

    static func unknownSecret(
        _ name: String, _ known: [String: BuildSpec.SecretSource], at place: SourceNode?, _ path: String
    ) -> ConfigurationError {
        ConfigurationError(
            origin: place?.origin, path: path, message: "there is no secret '\(name)' under 'secrets'",
            suggestion: nearestName(to: name, in: known.keys.sorted()))
    }
}
