import HatcheryProtocol

/// Why a call gave no value although its child ran.
public struct CallError: Error, Sendable, CustomStringConvertible {
    /// How the child ended, and what it printed: stderr holds the error that the handler threw, with its type.
    public var result: RunResult
    /// In a line: what is missing.
    public var reason: String

    public var description: String {
        let words = result.stderr.split(separator: "\n").suffix(20).joined(separator: "\n")
        return words.isEmpty ? reason : "\(reason): \(words)"
    }
}

extension HatcheryClient {
    /// Calls a handler of a Swift zygote, or a function of a Python one, in a sandbox of its own.
    ///
    /// ```swift
    /// let factors = try await client.call("factors", Question(number: 360), returning: Factors.self, zygote: "lookup")
    /// ```
    ///
    /// - Parameters:
    ///   - function: a handler's name, or `module:function`.
    ///   - argument: its one argument. For several or named ones there is `run(.call(function, json: …))`.
    ///   - options: limits and the rest; `options.sandbox.zygote` is overridden by `zygote`.
    /// - Throws: `HatcheryError` where no child ever ran, `CallError` where it gave no value of the wanted type.
    public func call<Argument: Encodable, Value: Decodable>(
        _ function: String, _ argument: Argument, returning type: Value.Type = Value.self, zygote: String,
        options: RunOptions = RunOptions()
    ) async throws -> Value {
        try await call(function, json: "[\(JSON.text(of: argument))]", returning: type, zygote: zygote, options: options)
    }

    /// The same for a function without arguments.
    public func call<Value: Decodable>(
        _ function: String, returning type: Value.Type = Value.self, zygote: String, options: RunOptions = RunOptions()
    ) async throws -> Value {
        try await call(function, json: "[]", returning: type, zygote: zygote, options: options)
    }

    private func call<Value: Decodable>(
        _ function: String, json: String, returning type: Value.Type, zygote: String, options: RunOptions
    ) async throws -> Value {
        var options = options
        options.sandbox.zygote = zygote
        let result = try await run(.call(function, json: json), options)
        guard result.verdict == .exited, result.exitCode == 0 else {
            let end = result.exitCode.map { "exit status \($0)" } ?? result.signalName ?? ""
            throw CallError(result: result, reason: "\(function): \(result.verdict.name) \(end)")
        }
        // By bytes: CR and LF together are one character to Swift, which is not the character LF.
        guard let line = result.stdoutBytes.split(separator: UInt8(ascii: "\n")).last, let value = JSONText.value(of: Array(line)) else {
            throw CallError(result: result, reason: "\(function): no value of JSON ends its output")
        }
        do {
            return try JSON.decode(type, from: value)
        } catch {
            throw CallError(result: result, reason: "\(function): the value is not a \(type): \(JSON.describe(error))")
        }
    }
}
