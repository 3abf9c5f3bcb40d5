import Glibc
import HatcheryProtocol
import HatcherySystem

/// What decoding a configuration cannot tell: whether what it names exists on this host. The daemon would stumble over the
/// same things, one by one, at its start.
public enum ConfigurationCheck {
    /// - Throws: the first thing that is wrong, named by its key and by the place where it was written.
    public static func perform(_ loaded: LoadedConfiguration) throws {
        do {
            try perform(loaded.configuration)
        } catch var error as ConfigurationError {
            error.origin = error.origin ?? loaded.origins[error.path]
            throw error
        }
    }

    /// - Throws: the first thing that is wrong, named by its key.
    public static func perform(_ configuration: Configuration) throws {
        for (name, profile) in configuration.profiles.sorted(by: { $0.key < $1.key }) {
            do {
                _ = try Filters(profile: profile)
            } catch {
                throw ConfigurationError(origin: nil, path: "profiles.\(name).seccomp", message: "\(error)")
            }
        }
        if let group = configuration.socket.group, getgrnam(group) == nil, gid_t(group) == nil {
            throw ConfigurationError(origin: nil, path: "socket.group", message: "there is no group '\(group)'")
        }
        _ = try PeerRules(configuration.rules)
        for zygote in configuration.zygotes { try check(zygote) }
    }

    private static func check(_ zygote: ZygoteConfiguration) throws(ConfigurationError) {
        let path = "zygotes.\(zygote.name)"
        var programs: [(key: String, path: String)] = []
        if zygote.kind == .python { programs.append(("interpreter", zygote.interpreter)) }
        if let executable = zygote.executable { programs.append(("executable", executable)) }
        for program in programs where access(program.path, X_OK) != 0 {
            throw ConfigurationError(
                origin: nil, path: "\(path).\(program.key)",
                message: "\(program.path): \(ErrnoNames.describe(errno))")
        }
        for bind in zygote.bind where access(bind, F_OK) != 0 {
            throw ConfigurationError(origin: nil, path: "\(path).bind", message: "\(bind): \(ErrnoNames.describe(errno))")
        }
    }
}

/// A configuration as people and programs read it: `hatchery config show`.
public enum ConfigurationText {
    /// One `key: value` a line, with the origin behind it where that is asked for.
    public static func lines(_ loaded: LoadedConfiguration, origins: Bool) -> String {
        loaded.listing.map { "\($0.path): \($0.text)\(origins ? "  # \($0.origin)" : "")\n" }.joined()
    }

    public static func json(_ loaded: LoadedConfiguration) -> String {
        var writer = JSONWriter()
        writer.array { list in
            for entry in loaded.listing {
                list.object { object in
                    object.string("key", entry.path)
                    object.string("value", entry.text)
                    object.string("origin", entry.origin.description)
                }
            }
        }
        return writer.text + "\n"
    }
}
