import HatcheryConfigurationText
import HatcheryJobs
import HatcheryProtocol

/// The entries of a phase: `make test`, `[make, test]`, or a mapping with `run`, `shell` or `background`.
enum StepText {
    static let mostSteps = 1000

    static func steps(_ node: SourceNode, path: String) throws(ConfigurationError) -> [BuildSpec.Step] {
        if case .nothing = node.content { return [] }
        guard case .sequence(let nodes) = node.content else {
            throw ConfigurationError(origin: node.origin, path: path, message: "expected a list of commands, found \(node.found)")
        }
        guard nodes.count <= mostSteps else {
            throw ConfigurationError(origin: node.origin, path: path, message: "\(nodes.count) entries; a phase has at most \(mostSteps)")
        }
        var steps: [BuildSpec.Step] = []
        for (index, node) in nodes.enumerated() { steps.append(try step(node, path: "\(path)[\(index)]")) }
        return steps
    }

    private static func step(_ node: SourceNode, path: String) throws(ConfigurationError) -> BuildSpec.Step {
        guard case .mapping = node.content else { return try command(node, path: path) }
        var entry = Entry()
        var origins: Origins = [:]
        try schema.decode(node, path: path, into: &entry, &origins)
        var step = entry.step ?? BuildSpec.Step([], text: "", line: 0)
        step.kind = entry.isBackground ? .background : .command
        step.time = entry.time
        step.port = entry.port.map { UInt16($0) }
        return step
    }

    /// A text that is split by the rules of POSIX, or the words themselves.
    private static func command(_ node: SourceNode, path: String) throws(ConfigurationError) -> BuildSpec.Step {
        let line = node.line
        switch node.content {
        case .scalar:
            let text = try ValueCodec<String>.text.decode(node, path: path)
            let words: [String]
            do throws(CommandLineText.Malformed) {
                words = try CommandLineText.split(text)
            } catch {
                throw ConfigurationError(
                    origin: node.origin, path: path, message: "\(error); a command is split by POSIX rules and run without a shell",
                    suggestion: "shell: \(text.prefix(60))")
            }
            return try checked(BuildSpec.Step(words, text: text, line: line), node, path)
        case .sequence:
            let words = try ValueCodec<[String]>.list(of: .text).decode(node, path: path)
            return try checked(BuildSpec.Step(words, text: words.map(quoted).joined(separator: " "), line: line), node, path)
        case .mapping:
            // background: {shell: ...}
            var entry = Entry()
            var origins: Origins = [:]
            try innerSchema.decode(node, path: path, into: &entry, &origins)
            guard let step = entry.step else {
                throw ConfigurationError(origin: node.origin, path: path, message: "what is to run? 'run' or 'shell'")
            }
            return step
        case .nothing:
            throw ConfigurationError(origin: node.origin, path: path, message: "expected a command, found nothing")
        }
    }

    private static func checked(
        _ step: BuildSpec.Step, _ node: SourceNode, _ path: String
    ) throws(ConfigurationError) -> BuildSpec.Step {
        guard let first = step.command.first, !first.isEmpty else {
            throw ConfigurationError(origin: node.origin, path: path, message: "the command is empty")
        }
        return step
    }

    /// The shell of entries that ask for one: it stops at the first failing command.
    private static func shell(_ node: SourceNode, path: String) throws(ConfigurationError) -> BuildSpec.Step {
        let text = try ValueCodec<String>.text.decode(node, path: path)
        if text.allSatisfy(\.isWhitespace) {
            throw ConfigurationError(origin: node.origin, path: path, message: "the command is empty")
        }
        return BuildSpec.Step(["/bin/sh", "-e", "-c", text], text: text, line: node.line)
    }

    private struct Entry: Sendable {
        var step: BuildSpec.Step?
        var isBackground = false
        var time: Duration?
        var port: UInt32?
    }

    private typealias Reading = @Sendable (SourceNode, String) throws(ConfigurationError) -> BuildSpec.Step

    private static func way(_ name: String, isBackground: Bool, _ read: @escaping Reading) -> Field<Entry> {
        Field(name: name, isRequired: false) { node, path, entry, _ throws(ConfigurationError) in
            if entry.step != nil {
                throw ConfigurationError(origin: node.origin, path: path, message: "an entry has one of 'run', 'shell' and 'background'")
            }
            entry.step = try read(node, path)
            entry.isBackground = isBackground
        } describe: { _ in
            ConfigurationKey(name: name, shape: .value(type: "a command", form: .scalar, text: "", required: false), summary: "")
        }
    }

    private static let run = way("run", isBackground: false) { node, path throws(ConfigurationError) in try command(node, path: path) }
    private static let inShell = way("shell", isBackground: false) { node, path throws(ConfigurationError) in try shell(node, path: path) }
    private static let innerSchema = Schema<Entry>([run, inShell])

    private static let schema = Schema<Entry>(
        [
            run, inShell,
            way("background", isBackground: true) { node, path throws(ConfigurationError) in try command(node, path: path) },
            .value("time", \.time, ValueCodec<Duration>.duration(.milliseconds(1) ... .seconds(86_400)).optional(absence: "none"),
                "How long it may take, or a service to be ready"),
            .value("port", \.port, ValueCodec<UInt32>.number(1...65_535).optional(absence: "none"), "A service is ready when it listens here"),
        ]
    ) { entry, section throws(ConfigurationError) in
        if entry.step == nil {
            throw ConfigurationError(
                origin: section.node.origin, path: section.path, message: "what is to run? 'run', 'shell' or 'background'")
        }
        if entry.port != nil && !entry.isBackground { throw section.error("port", "only a 'background' entry has a port") }
        if entry.time != nil && entry.isBackground && entry.port == nil {
            throw section.error("time", "a service runs to the end of its phase; with 'port' this is how long it may take to be ready")
        }
    }

    /// The names of an entry's keys, for the schema's test.
    static var keys: [String] { schema.fields.map(\.name) }
}

extension SourceNode {
    var line: Int { if case .file(_, let line, _) = origin { line } else { 0 } }
}
