import Glibc
import HatcheryProtocol
import HatcherySystem

/// What a sandbox is to run.
///
/// Nothing of it ever reaches a zygote: it travels to the child in sealed memory of its own.
public struct Payload: Sendable, Hashable {
    /// The zygote that is made for this kind of payload, unless the options name another.
    public var usualZygote: String
    package var plan: LaunchPlan

    /// How it is called where nobody says otherwise: the name of what runs, without its arguments, which may hold secrets.
    package var usualTitle: String {
        let target = String(decoding: plan.target, as: UTF8.self)
        let name = target.split(separator: "/").last.map(String.init) ?? target
        let title =
            switch plan.mode {
            case .program, .script: name
            case .code: "python -c"
            case .module: "python -m \(target)"
            case .call: target
            }
        let isPlain = !title.unicodeScalars.contains { $0.properties.generalCategory == .control }
        return isPlain ? title.prefix(bytes: WireLimits.titleBytes) : title.debugDescription.prefix(bytes: WireLimits.titleBytes)
    }

    package init(usualZygote: String, plan: LaunchPlan) {
        self.usualZygote = usualZygote
        self.plan = plan
    }

    /// A program of the sandbox's root file system: an absolute path, or a name that is looked up in the sandbox's PATH.
    /// No shell is involved.
    public static func program(_ program: String, _ arguments: [String] = []) -> Payload {
        Payload(
            usualZygote: "exec",
            plan: LaunchPlan(mode: .program, target: Array(program.utf8), arguments: arguments.map { Array($0.utf8) }))
    }

    /// Python code, as of `python3 -c`.
    public static func python(code: String, _ arguments: [String] = []) -> Payload {
        Payload(
            usualZygote: "python",
            plan: LaunchPlan(mode: .code, source: Array(code.utf8), arguments: arguments.map { Array($0.utf8) }))
    }

    /// A Python module, as of `python3 -m`.
    public static func python(module: String, _ arguments: [String] = []) -> Payload {
        Payload(
            usualZygote: "python",
            plan: LaunchPlan(mode: .module, target: Array(module.utf8), arguments: arguments.map { Array($0.utf8) }))
    }

    /// A Python script given as bytes.
    /// - Parameter name: what the script sees as `sys.argv[0]`.
    public static func python(source: [UInt8], name: String, _ arguments: [String] = []) -> Payload {
        Payload(
            usualZygote: "python",
            plan: LaunchPlan(
                mode: .script, target: Array(name.utf8), source: source, arguments: arguments.map { Array($0.utf8) }))
    }

    /// A Python script, read here and now with the caller's own rights; `-` reads the caller's stdin to its end.
    ///
    /// - Throws: `.programNotFound` where there is no such file, `.programNotExecutable` where it cannot be read, is no
    ///   file, or is longer than 32 MiB.
    public static func python(script path: String, _ arguments: [String] = []) throws(HatcheryError) -> Payload {
        .python(source: try read(script: path), name: path, arguments)
    }

    /// A function of the zygote: `module:function` in Python, a handler's name in Swift. The value that it returns is the
    /// last line of stdout, as JSON.
    ///
    /// - Parameter json: an array of positional arguments, or an object of named ones.
    public static func call(_ function: String, json: String = "[]", zygote: String = "python") -> Payload {
        Payload(
            usualZygote: zygote,
            plan: LaunchPlan(mode: .call, target: Array(function.utf8), jsonArguments: Array(json.utf8)))
    }

    private static func read(script path: String) throws(HatcheryError) -> [UInt8] {
        let limit = WireLimits.launchPlanBytes
        let bytes: [UInt8]
        do throws(SystemError) {
            if path == "-" {
                bytes = try readAll(STDIN_FILENO, limit: limit + 1)
            } else {
                let file = try Files.open(path, flags: O_RDONLY | O_NOCTTY)
                bytes = try readAll(file.raw, limit: limit + 1)
            }
        } catch {
            let isAbsent = error.errno == ENOENT || error.errno == ENOTDIR
            throw HatcheryError(
                isAbsent ? .programNotFound : .programNotExecutable, side: .client, errno: error.errno,
                detail: "can't open file '\(path)'", hint: FileHints.hint(error.errno))
        }
        guard bytes.count <= limit else {
            throw HatcheryError(
                .programNotExecutable, side: .client, errno: EFBIG,
                detail: "the script '\(path)' is longer than \(ByteSize.format(UInt64(limit)))",
                hint: "move its data to a file, and bring that in with --in or -v")
        }
        return bytes
    }
}
