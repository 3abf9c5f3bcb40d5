import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// One script with its arguments and limits, checked and ready to go: everything that can be refused was.
package struct ScriptRun: Sendable {
    /// Where a script lies inside, when its interpreter is started anew. In a Python zygote's child it lies nowhere.
    static let place = "/tmp/hatchery-script"

    package let file: ScriptFile
    package let payload: Payload
    package private(set) var options: RunOptions
    /// The sealed memory that the child's copy is made of, held as long as the request is not made.
    private let memory: SealedFile?

    /// - Parameters:
    ///   - arguments: one JSON value, as bytes; nil leaves the script's stdin at /dev/null.
    ///   - options: limits, network and the like; `stdin` must be `.none`. The caps of the streams are lowered to the policy's.
    ///   - zygotes: those of the daemon. A Python script goes to the one named `python`, or named in the options; where the policy
    ///     names an interpreter of its own for Python, that runs it unless the options name a zygote.
    package init(
        _ file: ScriptFile, arguments: [UInt8]?, options: RunOptions, policy: ScriptPolicy, zygotes: [ZygoteListing]
    ) throws(HatcheryError) {
        self.file = file
        self.options = try ScriptRun.bounded(options, policy)
        if let arguments {
            try ScriptRun.check(arguments)
            self.options.stdin = .bytes(arguments)
        }
        let usesZygote = options.sandbox.zygote != nil || file.interpreter == ScriptPolicy.usualInterpreters[".py"]
        if file.isPython && usesZygote && ScriptRun.isPythonZygote(options.sandbox.zygote ?? "python", zygotes) {
            payload = .python(source: file.bytes, name: file.name)
            memory = nil
            return
        }
        // Not the interpreter's name, which all of a kind share.
        if options.sandbox.title.isEmpty {
            self.options.sandbox.title = (file.name.split(separator: "/").last.map(String.init) ?? "script").prefix(bytes: WireLimits.titleBytes)
        }
        let path = "\(ScriptRun.place)/\(file.name.split(separator: "/").last ?? "script")"
        let memory = try SealedFile(file.bytes)
        self.memory = memory
        self.options.filesIn.append(.init(descriptor: memory.raw, name: file.name, to: path))
        payload = .program(file.interpreter, [path])
    }

    /// Before anything is asked of a daemon.
    package static func check(_ arguments: [UInt8]) throws(HatcheryError) {
        guard arguments.count <= ScriptPolicy.maximumArgumentBytes else {
            throw invalid(
                "the arguments are longer than \(ByteSize.format(UInt64(ScriptPolicy.maximumArgumentBytes)))",
                "pass large data as a file")
        }
        guard JSONText.kind(of: arguments) != nil else {
            throw invalid("the arguments are not one JSON value", "write a JSON text such as {\"name\": 1}")
        }
    }

    package static func bounded(_ asked: RunOptions, _ policy: ScriptPolicy) throws(HatcheryError) -> RunOptions {
        var options = asked
        let time = asked.sandbox.time ?? policy.defaultTime
        guard time > .zero, time <= ScriptPolicy.maximumTime else {
            throw invalid(
                "a script's time is at most \(DurationText.format(ScriptPolicy.maximumTime)) and more than nothing", "ask for less")
        }
        guard asked.stdin == .none else { throw invalid("a script's stdin is its arguments", "leave `stdin` out") }
        guard !asked.sandbox.detached else { throw invalid("a script is waited for", "leave `detached` out") }
        options.sandbox.time = time
        // What nobody asked for is the profile's to say, below ours.
        options.outputLimit = asked.outputLimit.map { min($0, ScriptPolicy.maximumStdoutBytes) }
        options.stderrLimit = asked.stderrLimit.map { min($0, ScriptPolicy.maximumStderrBytes) }
        options.ceiling = .init(stdout: ScriptPolicy.maximumStdoutBytes, stderr: ScriptPolicy.maximumStderrBytes)
        return options
    }

    private static func isPythonZygote(_ name: String, _ zygotes: [ZygoteListing]) -> Bool {
        zygotes.contains { $0.name == name && $0.kind == "python" && $0.state != .failed }
    }

    /// Passes the streams on as they come, to descriptors of the caller's.
    package mutating func forward(stdout: Int32, stderr: Int32) {
        options.stdoutTarget = .forward(stdout)
        options.stderrTarget = .forward(stderr)
    }

    /// The audit record of this run, but for its end.
    package func record(user: String?) -> AuditRecord {
        var record = AuditRecord(.script, name: file.name, user: user)
        record.sha256 = file.sha256
        record.limited(by: options.sandbox, stdout: min(options.outputLimit ?? .max, ScriptPolicy.maximumStdoutBytes),
            stderr: min(options.stderrLimit ?? options.outputLimit ?? .max, ScriptPolicy.maximumStderrBytes))
        return record
    }

    private static func invalid(_ detail: String, _ hint: String) -> HatcheryError {
        HatcheryError(.invalidRequest, side: .client, detail: detail, hint: hint)
    }
}

/// Sealed memory that several may hold.
private final class SealedFile: Sendable {
    private let descriptor: Descriptor

    init(_ bytes: [UInt8]) throws(HatcheryError) {
        do throws(SystemError) {
            descriptor = try SealedMemory.make(name: "hatchery-script", bytes: bytes)
        } catch {
            throw HatcheryError(client: error)
        }
    }

    var raw: Int32 { descriptor.raw }
}
