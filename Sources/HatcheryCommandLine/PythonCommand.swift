import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery python [options] [-c CODE | -m MODULE | -f MODULE:FUNCTION | SCRIPT] [ARG...]`
struct PythonCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "python", abstract: "Run Python from a zygote that has its imports done.",
        usage: "hatchery python [options] [-c CODE | -m MODULE | -f MODULE:FUNCTION | SCRIPT] [ARG...]",
        discussion: """
            What follows CODE, MODULE or SCRIPT belongs to the program, dashes and all. SCRIPT may be - for stdin. \
            With -i -t and none of them you get the prompt.
            """)

    @OptionGroup(title: "Sandbox") var flags: SandboxFlags
    @Option(name: .customShort("c"), parsing: .unconditional, help: ArgumentHelp("Run this code.", valueName: "code"))
    var code: String?
    @Option(name: .customShort("m"), parsing: .unconditional, help: ArgumentHelp("Run a module.", valueName: "module"))
    var module: String?
    @Option(
        name: .customShort("f"), parsing: .unconditional,
        help: ArgumentHelp(
            "Call a function; its value is printed as a line of JSON. Each ARG is JSON where it reads as JSON, else a string.",
            valueName: "module:function"))
    var function: String?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("With -f: an array of arguments, or an object of named ones.", valueName: "json"))
    var jsonArgs: String?
    @Option(
        help: ArgumentHelp(
            "Save the figures that the program leaves open there, as figure-N.png.", valueName: "dir"))
    var plots: String?
    @Flag(help: "Tell on stderr which modules the program imported beyond the zygote's preload.") var imports = false
    @Argument(help: "The script, and its arguments.") var words: [String] = []

    func validate() throws {
        switch [code, module, function].compactMap({ $0 }).count {
        case 0 where words.isEmpty && !isInteractive:
            throw ValidationError(
                "what is to run? -c CODE, -m MODULE, -f MODULE:FUNCTION or SCRIPT; -i -t alone is for typing Python")
        case 0, 1: break
        default: throw ValidationError("-c, -m and -f exclude each other")
        }
        if let function {
            let parts = function.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                throw ValidationError("-f: '\(function)' is not MODULE:FUNCTION")
            }
        }
        guard let jsonArgs else { return }
        if function == nil { throw ValidationError("--json-args belongs to -f") }
        if !words.isEmpty { throw ValidationError("give either ARGs or --json-args") }
        guard let kind = JSONText.kind(of: jsonArgs), kind == .array || kind == .object else {
            throw ValidationError("--json-args is not a JSON array or object")
        }
    }

    func perform() -> Int32 {
        RunDriver.perform(flags, plots: plots, tellsImports: imports) { _ throws(HatcheryError) in try payload() }
    }

    private var isInteractive: Bool { flags.interactive && flags.tty }

    func payload() throws(HatcheryError) -> Payload {
        if let code { return .python(code: code, words) }
        if let module { return .python(module: module, words) }
        if let function { return .call(function, json: jsonArgs ?? FlagValues.callArguments(words)) }
        // The standard library's own console: the prompt, with readline where there is one.
        if words.isEmpty { return .python(module: "code") }
        if words[0] == "-" && (flags.interactive || flags.stdin == "-") {
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "stdin cannot be both the script and the program's input")
        }
        return try .python(script: words[0], Array(words.dropFirst()))
    }
}
