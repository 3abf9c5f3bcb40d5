import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// A zygote in Swift: an executable that loads its own state once, registers handlers, and serves. Each call of a handler runs
/// in a sandboxed child that was cloned from it, with the state in memory.
///
/// ```swift
/// import HatcheryZygote
///
/// let table = try Table(contentsOf: CommandLine.arguments[1])
/// let service = ZygoteService()
/// service.handle("lookup") { (word: String) in table[word] }
/// service.serve()
/// ```
///
/// Until `serve` there may be no other thread: no Dispatch, no Task, no library that starts one. A child may start any.
/// Docs/Zygotes.md says what else holds.
public final class ZygoteService {
    /// What a raw handler is called with. stdin, stdout and stderr are the caller's.
    public struct RawCall: Sendable {
        /// The arguments of the call: strings as they are, other values as JSON.
        public var arguments: [String]
        /// The same as it came: a JSON array or object.
        public var json: String
    }

    /// What `hatchery call` got wrong, as opposed to an error of the handler's own.
    struct Misuse: Error {
        var message: String
    }

    /// Takes the arguments, gives the line of JSON that ends stdout, or an exit status alone.
    typealias Handler = (JSONValue, String) throws -> (status: Int32, answer: String?)

    private(set) var handlers: [String: Handler] = [:]
    private(set) var hooks: [() throws -> Void] = []

    public init() {}

    /// Registers a handler with one argument. A call gives it as the only element of a JSON array, or as a JSON object.
    ///
    /// An error that it throws ends the child with status 1, and its type and description on stderr.
    /// - Parameter name: as callers say it; it must not be registered yet.
    public func handle<Input: Decodable, Output: Encodable>(_ name: String, _ body: @escaping (Input) throws -> Output) {
        add(name) { arguments, _ in
            let input: Input
            do {
                input = try JSON.decode(Input.self, from: try ZygoteService.only(arguments))
            } catch let error as DecodingError {
                throw Misuse(message: "the argument does not fit: \(JSON.describe(error))")
            }
            return (0, try ZygoteService.render(try body(input)))
        }
    }

    /// Registers a handler without arguments.
    public func handle<Output: Encodable>(_ name: String, _ body: @escaping () throws -> Output) {
        add(name) { arguments, _ in
            guard arguments == .array([]) || arguments == .object([:]) else {
                throw Misuse(message: "it takes no arguments")
            }
            return (0, try ZygoteService.render(try body()))
        }
    }

    /// Registers a handler that reads stdin and writes stdout itself; what it returns is the exit status.
    public func handleRaw(_ name: String, _ body: @escaping (RawCall) throws -> Int32) {
        add(name) { arguments, json in
            var words: [String] = []
            if case .array(let elements) = arguments {
                words = elements.map { if case .string(let text) = $0 { text } else { JSON.text(of: $0) } }
            }
            return (try body(RawCall(arguments: words, json: json)), nil)
        }
    }

    /// Has something done in every child before it knows of a request: generators seeded anew that a library holds, pages
    /// written that a first call would write. In a nursery that is ahead of the request. Where it throws, the child is not used.
    public func inEachChild(_ body: @escaping () throws -> Void) { hooks.append(body) }

    /// Serves until the daemon ends this process. Never returns: not here, and not in a child.
    public func serve() -> Never { ServiceStart.serve(self) }

    // MARK: -

    private func add(_ name: String, _ handler: @escaping Handler) {
        precondition(handlers[name] == nil, "two handlers are called \"\(name)\"")
        precondition(!name.isEmpty && name.utf8.count <= WireLimits.nameBytes, "a handler's name has 1 to 64 bytes")
        handlers[name] = handler
    }

    private static func only(_ arguments: JSONValue) throws -> JSONValue {
        guard case .array(let elements) = arguments else { return arguments }
        guard elements.count == 1 else { throw Misuse(message: "it takes one argument, \(elements.count) were given") }
        return elements[0]
    }

    private static func render(_ output: some Encodable) throws -> String {
        do {
            return try JSON.text(of: output)
        } catch let error as EncodingError {
            throw Misuse(message: "the value that it returned is not JSON: \(JSON.describe(error))")
        }
    }
}
