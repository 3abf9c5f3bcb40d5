import Foundation
import Glibc
import HatcheryProtocol

/// A configuration and where each of its values was written.
public struct LoadedConfiguration: Sendable, Equatable {
    public var configuration: Configuration
    /// By path; what is not in it is built in. An `environment` is one value, whose origin is the mapping's.
    public var origins: [String: ValueOrigin]
    /// The file that was read; nil where there was none.
    public var file: String?

    /// Every value with its path, as YAML, and its origin: what `hatchery config show --origin` prints.
    public var listing: [(path: String, text: String, origin: ValueOrigin)] {
        ConfigurationKey.leaves(of: configuration.keys).map { ($0.path, $0.text, origins[$0.path] ?? .builtIn) }
    }
}

extension Configuration {
    /// The configuration of a daemon: the file, over it the environment, over that the overrides.
    ///
    /// - Parameters:
    ///   - path: nil means `defaultPath`, and no file there means the defaults. A path that is given must exist.
    ///   - environment: all variables of the process; `HATCHERY_SOCKET_PATH` overrides `socket.path`, and so on.
    ///   - overrides: `KEY=VALUE` with dotted keys, such as `profiles.default.limits.wall.default=5s`; a later one wins.
    /// - Throws: the first thing that is wrong.
    public static func load(
        path: String?, environment: [String: String], overrides: [String]
    ) throws(ConfigurationError) -> Configuration {
        try loadWithOrigins(path: path, environment: environment, overrides: overrides).configuration
    }

    /// Like `load`, with the record of where each value came from.
    public static func loadWithOrigins(
        path: String?, environment: [String: String], overrides: [String]
    ) throws(ConfigurationError) -> LoadedConfiguration {
        if path == nil && !FileManager.default.fileExists(atPath: defaultPath) {
            return try decode(yaml: "", file: nil, environment: environment, overrides: overrides)
        }
        let file = path ?? defaultPath
        return try decode(yaml: read(file), file: file, environment: environment, overrides: overrides)
    }

    /// A configuration from text.
    ///
    /// - Parameter file: what errors call the text.
    public init(
        yaml: String, file: String, environment: [String: String] = [:], overrides: [String] = []
    ) throws(ConfigurationError) {
        self = try Configuration.decode(yaml: yaml, file: file, environment: environment, overrides: overrides).configuration
    }

    private static func decode(
        yaml: String, file: String?, environment: [String: String], overrides: [String]
    ) throws(ConfigurationError) -> LoadedConfiguration {
        let tree = try YAMLSource.parse(yaml) { line, column in
            file.map { .file($0, line: line, column: column) } ?? .builtIn
        }
        var overlay = Overlay(tree: tree, keys: Configuration().keys)
        try EnvironmentNames.apply(environment, to: &overlay)
        for override in overrides { try overlay.apply(override: override) }

        var configuration = Configuration()
        var origins: Origins = [:]
        try schema.decode(overlay.tree, path: "", into: &configuration, &origins)
        return LoadedConfiguration(configuration: configuration, origins: origins, file: file)
    }

    private static func read(_ path: String) throws(ConfigurationError) -> String {
        func refuse(_ message: String) -> ConfigurationError {
            ConfigurationError(origin: nil, message: "\(path): \(message)")
        }
        guard access(path, R_OK) == 0 else { throw refuse("cannot be read: \(ErrnoNames.describe(errno))") }
        let data: Data
        do {
            // A pipe or a device would block the daemon's start, or never end.
            let attributes = try FileManager.default.attributesOfItem(
                atPath: URL(fileURLWithPath: path).resolvingSymlinksInPath().path)
            guard attributes[.type] as? FileAttributeType == .typeRegular else { throw refuse("is not a regular file") }
            // SECURITY: who can write this file decides what a daemon of root executes. Test: aFileThatAllCanWriteIsRefused.
            let mode = (attributes[.posixPermissions] as? NSNumber)?.uint32Value ?? 0
            guard mode & 0o002 == 0 else { throw refuse("everybody can write this file; chmod o-w it") }
            let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            defer { try? handle.close() }
            data = try handle.read(upToCount: YAMLSource.maximumBytes + 1) ?? Data()
        } catch let error as ConfigurationError {
            throw error
        } catch {
            throw refuse("cannot be read: \(error.localizedDescription)")
        }
        guard let text = String(validating: data, as: UTF8.self) else { throw refuse("is not UTF-8") }
        return text
    }
}
