import Hatchery

/// What scripts may run, and how: the operator's word, apart from what one caller asks for.
public struct ScriptPolicy: Sendable, Hashable {
    /// What is done about a script that everybody can change, or that lies in a directory where everybody can.
    public enum WorldWritable: Sendable, Hashable { case warn, refuse }

    public static let maximumTime = Duration.seconds(600)
    public static let maximumArgumentBytes = 10 << 20
    public static let maximumScriptBytes = 10 << 20
    public static let maximumStdoutBytes = 10 << 20
    public static let maximumStderrBytes = 1 << 20

    /// Scripts are named relative to it, and lie below it.
    public var baseDirectory: String
    /// The interpreter of each suffix, by absolute path in the sandbox. A script with another suffix is refused; its first line
    /// (`#!`) means nothing.
    public var interpreters = ScriptPolicy.usualInterpreters
    public var worldWritable = WorldWritable.warn
    /// Where a caller asks for no time of its own.
    public var defaultTime = Duration.seconds(30)

    public init(baseDirectory: String) { self.baseDirectory = baseDirectory }

    public static let usualInterpreters = [
        ".py": "/usr/bin/python3", ".sh": "/bin/sh", ".js": "/usr/bin/node", ".rb": "/usr/bin/ruby", ".pl": "/usr/bin/perl",
    ]
}
