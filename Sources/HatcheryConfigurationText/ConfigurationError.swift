/// Where a value was written.
public enum ValueOrigin: Sendable, Hashable, CustomStringConvertible {
    /// Nowhere: Hatchery's own default.
    case builtIn
    /// Line and column count from 1; columns count Unicode scalars.
    case file(String, line: Int, column: Int)
    /// The name of an environment variable.
    case environment(String)
    /// A `KEY=VALUE` override, whole.
    case flag(String)

    public var description: String {
        switch self {
        case .builtIn: "built-in default"
        case .file(let name, let line, let column): "\(name):\(line):\(column)"
        case .environment(let name): "environment variable \(name)"
        case .flag(let text): "override '\(text)'"
        }
    }
}

/// The first thing that is wrong with a configuration: where it stands, under which key, what is the matter, and the key
/// or name that was probably meant.
///
/// It prints in the manner of a compiler, so that editors can jump to it:
/// `hatchery.yaml:12:5: profiles.default.limits.wal: unknown key; did you mean 'wall'?`
public struct ConfigurationError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Nil where no place is to blame, such as a file that does not exist.
    public var origin: ValueOrigin?
    /// The key with its parents, as an override would name it; empty for the whole document.
    public var path: String
    public var message: String
    public var suggestion: String?

    public init(origin: ValueOrigin?, path: String = "", message: String, suggestion: String? = nil) {
        self.origin = origin
        self.path = path
        self.message = message
        self.suggestion = suggestion
    }

    public var description: String {
        let place = [origin?.description ?? "", path, message].filter { !$0.isEmpty }.joined(separator: ": ")
        guard let suggestion else { return place }
        return "\(place); did you mean '\(suggestion)'?"
    }
}
