import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery call HANDLER [--zygote NAME] [--json-args JSON]`
struct CallCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "call", abstract: "Call a handler of a Swift zygote, or MODULE:FUNCTION of a Python zygote.",
        usage: "hatchery call [options] HANDLER [ARG...]",
        discussion: """
            The value that it returns is printed as a line of JSON behind what it printed itself. Each ARG is JSON where it \
            reads as JSON, else a string. Without --zygote it is the one that has the handler, and "python" for MODULE:FUNCTION.
            """)

    @OptionGroup(title: "Sandbox") var flags: SandboxFlags
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("An array of arguments, or an object of named ones.", valueName: "json"))
    var jsonArgs: String?
    @Argument(help: "The handler, and its arguments.") var words: [String] = []

    func validate() throws {
        guard let handler = words.first, !handler.isEmpty else { throw ValidationError("which handler? hatchery call HANDLER [ARG...]") }
        guard let jsonArgs else { return }
        if words.count > 1 { throw ValidationError("give either ARGs or --json-args") }
        guard let kind = JSONText.kind(of: jsonArgs), kind == .array || kind == .object else {
            throw ValidationError("--json-args is not a JSON array or object")
        }
    }

    func perform() -> Int32 {
        RunDriver.perform(flags) { options throws(HatcheryError) in
            if options.zygote == nil { options.zygote = try zygote() }
            return .call(words[0], json: jsonArgs ?? FlagValues.callArguments(Array(words.dropFirst())))
        }
    }

    /// The zygote that has the handler, by the daemon's own word.
    private func zygote() throws(HatcheryError) -> String {
        if words[0].contains(":") { return "python" }
        let connection = try DaemonLocator.connect(flags.daemon.socket, reactor: RunDriver.ownReactor(), startsDaemon: false)
        defer { connection.close() }
        return try CallCommand.choose(words[0], among: OneQuestion.ask(connection, .zygotes).zygotes().get())
    }

    static func choose(_ handler: String, among zygotes: [ZygoteListing]) throws(HatcheryError) -> String {
        let services = zygotes.filter { $0.kind == "swift" && $0.state != .retiring }
        let names = Set(services.filter { $0.handlers.contains(handler) }.map(\.name)).sorted()
        if names.count == 1 { return names[0] }
        let known = services.flatMap { zygote in zygote.handlers.map { "\(zygote.name): \($0)" } }.sorted()
        throw HatcheryError(
            .notFound, side: .client,
            detail: names.isEmpty
                ? "no zygote has a handler \"\(handler)\"" : "several zygotes have it: \(names.joined(separator: ", "))",
            hint: names.isEmpty
                ? (known.isEmpty ? "no zygote of kind swift is ready" : "handlers: \(known.joined(separator: ", "))")
                : "choose one by --zygote")
    }
}
