import Hatchery
import HatcheryProtocol

/// Which commands may run, and with what arguments.
public struct CommandPolicy: Sendable, Hashable {
    /// The programs that may run: the name that callers write, and the program's absolute path in the sandbox. There is no PATH.
    public var programs: [String: String]
    /// A regular expression that every argument must match as a whole; nil lets every text pass.
    public var argumentPattern: String?
    /// Bytes of UTF-8 of one argument.
    public var maximumArgumentBytes = 4096
    public var maximumArguments = 256

    public init(programs: [String: String]) { self.programs = programs }

    /// Programs by their absolute paths, under the last component's name.
    public init(paths: [String]) {
        programs = Dictionary(
            paths.map { (String($0.split(separator: "/").last ?? ""), $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The program's path and the arguments of a command line.
    ///
    /// - Throws: `.notPermitted` where the policy refuses, `.invalidRequest` where the text cannot be split. No argument is part of
    ///   the message: it may be a secret.
    public func check(_ words: [String]) throws(HatcheryError) -> (program: String, arguments: [String]) {
        guard let name = words.first else {
            throw HatcheryError(.invalidRequest, side: .client, detail: "the command line is empty")
        }
        let isPath = name.hasPrefix("/") && programs.values.contains(name)
        guard let path = isPath ? name : programs[name] else {
            throw refused(
                "\"\(name.plain(limitBytes: 200))\" is not an allowed program", "allowed are: \(programs.keys.sorted().joined(separator: " "))")
        }
        guard path.hasPrefix("/") else {
            throw HatcheryError(.invalidRequest, side: .client, detail: "the path of \(name), \"\(path)\", is not absolute")
        }
        let arguments = Array(words.dropFirst())
        guard arguments.count <= maximumArguments else {
            throw refused("\(arguments.count) arguments are more than \(maximumArguments)", "")
        }
        let pattern = try compiled()
        for (number, argument) in arguments.enumerated() {
            guard argument.utf8.count <= maximumArgumentBytes else {
                throw refused("argument \(number + 1) is longer than \(maximumArgumentBytes) bytes", "")
            }
            guard let pattern else { continue }
            guard (try? pattern.wholeMatch(in: argument)) ?? nil != nil else {
                throw refused("argument \(number + 1) is not of the form that is allowed", "it must match \(argumentPattern ?? "")")
            }
        }
        return (path, arguments)
    }

    private func compiled() throws(HatcheryError) -> Regex<AnyRegexOutput>? {
        guard let argumentPattern else { return nil }
        do {
            return try Regex(argumentPattern)
        } catch {
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "the pattern for arguments is not a regular expression: \(error)")
        }
    }

    private func refused(_ detail: String, _ hint: String) -> HatcheryError {
        HatcheryError(.notPermitted, side: .client, detail: detail, hint: hint)
    }
}
