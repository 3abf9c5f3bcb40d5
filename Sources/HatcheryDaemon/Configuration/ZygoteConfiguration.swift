import HatcheryProtocol

/// What a zygote preloads and how its children start.
public enum ZygoteKind: String, Sendable, CaseIterable {
    case exec, python, swift
}

/// Children kept ready.
public struct NurseryConfiguration: Sendable, Equatable {
    /// How many are kept at the least.
    public var min: UInt32 = 4
    /// How many are kept when requests come in bursts.
    public var max: UInt32 = 32

    public init() {}

    static let schema = Schema<NurseryConfiguration>([
        .value("min", \.min, .number(0...4096), "Children kept ready, at least; 0 for a nursery that only bursts fill"),
        .value("max", \.max, .number(0...4096), "Children kept ready, at most; 0 for no nursery"),
    ]) { nursery, section throws(ConfigurationError) in
        guard nursery.min > nursery.max else { return }
        throw section.error(
            section.has("min") ? "min" : "max",
            "the min (\(nursery.min)\(section.has("min") ? "" : ", built in")) is above the max "
                + "(\(nursery.max)\(section.has("max") ? "" : ", built in"))")
    }
}

/// When a zygote is replaced by a fresh one of the same configuration: children of one share its address layout and hash
/// seed, and what a preload read grows old.
public struct RotationConfiguration: Sendable, Equatable {
    /// After so many spawns; nil for never.
    public var spawns: UInt32?
    /// After so long; nil for never.
    public var after: Duration?

    public init() {}

    static let schema = Schema<RotationConfiguration>([
        .value("spawns", \.spawns, ValueCodec<UInt32>.number(1...UInt32.max).optional(absence: "never"),
            "A fresh process takes over after so many spawns of one"),
        .value("after", \.after, ValueCodec<Duration>.duration(.seconds(1)...(.seconds(365 * 24 * 3600))).optional(absence: "never"),
            "A fresh process takes over after so long"),
    ])
}

/// One zygote. Which keys count depends on the kind; one that does not is an error in the file and keeps its default here.
public struct ZygoteConfiguration: Sendable, Equatable {
    public var name: String
    public var kind: ZygoteKind
    /// How many processes serve this zygote, each with a preload of its own.
    public var instances: UInt32 = 1
    /// How long one may take until it is ready.
    public var startTimeout = Duration.seconds(60)
    public var nursery = NurseryConfiguration()
    public var rotate = RotationConfiguration()
    /// The profile that its children get unless the request names another, and the one its nursery is built with.
    public var profile = "default"
    /// What the preload sees; children get their profile's environment instead.
    public var environment: [String: String] = [:]
    /// Host paths that the zygote and its children see read-only beside the usual tree.
    public var bind: [String] = []
    /// Whether the preloaded memory is frozen, so that a clone copies no page tables for it. Of no account for kind exec.
    public var freeze = true

    /// What the audit of the preload may find without refusing it.
    public var allow: [AuditKind] = []

    /// python: the interpreter, absolute.
    public var interpreter = "/usr/bin/python3"
    /// python: modules to import, in this order.
    public var preload: [String] = []
    /// python: code that the zygote runs once after the imports.
    public var warmup: String?
    /// python: code that every parked child runs before a request takes it.
    public var rehearsal: String?

    /// swift: the service, absolute. Never nil where `kind` is `.swift`.
    public var executable: String?
    /// swift: its argv[1...].
    public var arguments: [String] = []
    /// swift: handlers that it must register.
    public var handlers: [String] = []

    public init(name: String, kind: ZygoteKind) {
        self.name = name
        self.kind = kind
    }
}

extension ZygoteConfiguration {
    static let schema = Schema<ZygoteConfiguration>([
        .value("name", \.name, MemberName.codec, required: true, "Name by which requests ask for it"),
        .value("kind", \.kind, .choice, required: true, "What it preloads and how its children start"),
        .value("instances", \.instances, .number(1...64), "Processes that serve it, each with its own preload"),
        .value("start_timeout", \.startTimeout, .duration(.milliseconds(1)...(.seconds(24 * 3600))),
            "How long a start may take until it is ready"),
        .section("nursery", \.nursery, NurseryConfiguration.schema, "Children kept ready"),
        .section("rotate", \.rotate, RotationConfiguration.schema, "When a fresh process takes over"),
        .value("profile", \.profile, MemberName.codec, "Profile of requests that name none, and of the parked children; requests of other profiles are served without the nursery"),
        .value("environment", \.environment, .environment, "Environment of the preload; children have their profile's"),
        .value("bind", \.bind, .list(of: .absolutePath), "Host paths visible read-only beside the usual tree"),
        .value("freeze", \.freeze, .truth, "python, swift: freeze the preloaded memory, so that spawns do not slow down with it"),
        .value("allow", \.allow, .list(of: .choice), "python, swift: what the audit of the preload may find: shared_memory, secrets"),
        .value("interpreter", \.interpreter, .absolutePath, "python: the interpreter"),
        .value("preload", \.preload, .list(of: moduleName), "python: modules to import, in order"),
        .value("warmup", \.warmup, ValueCodec<String>.text.optional(absence: "none"),
            "python: code that runs once after the imports"),
        .value("rehearsal", \.rehearsal, ValueCodec<String>.text.optional(absence: "none"),
            "python: code that every parked child runs ahead of its request"),
        .value("executable", \.executable, ValueCodec<String>.absolutePath.optional(absence: "none"),
            "swift: the service, which links HatcheryZygote; must be given"),
        .value("arguments", \.arguments, .list(of: .text), "swift: arguments of the service"),
        .value("handlers", \.handlers, .list(of: .text), "swift: handlers that it must have; without them it does not serve"),
    ]) { zygote, section throws(ConfigurationError) in
        for (kind, keys) in keysOfOneKind where kind != zygote.kind {
            for key in keys where section.has(key) {
                throw section.error(
                    key, "a zygote of kind \(zygote.kind.rawValue) has no such key; it belongs to kind \(kind.rawValue)")
            }
        }
        for key in ["freeze", "allow"] where zygote.kind == .exec && section.has(key) {
            throw section.error(key, "a zygote of kind exec has no such key; it preloads nothing")
        }
        if zygote.kind == .swift && zygote.executable == nil {
            throw section.error("executable", "a zygote of kind swift must name its executable")
        }
    }

    private static let keysOfOneKind: [(ZygoteKind, [String])] = [
        (.python, ["interpreter", "preload", "warmup", "rehearsal"]),
        (.swift, ["executable", "arguments", "handlers"]),
    ]

    // SECURITY: a module's name ends up in an import, so it is identifiers and points and nothing else. Test:
    // aModuleNameHoldsNoCode.
    private static let moduleName = ValueCodec<String>.text.refined("the name of a module") { name in
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        let isName = parts.allSatisfy { part in
            guard let first = part.unicodeScalars.first, first == "_" || first.properties.isXIDStart else { return false }
            return part.unicodeScalars.allSatisfy(\.properties.isXIDContinue)
        }
        return isName ? nil : "'\(name)' is not the name of a module"
    }
}
