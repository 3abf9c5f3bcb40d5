import HatcheryProtocol

/// One thing that a hostile program might try, and how it is known whether it was stopped.
public struct Probe: Sendable {
    /// What is done. `{name}` in an attempt stands for a value of the stage (`Stage.values`), such as the number of a process
    /// outside.
    enum Action: Sendable {
        /// In a forked child of the agent in sandbox A.
        case attempt(String)
        /// In the agent itself, which has just what a program has.
        case inAgent(String)
        /// Something that takes more than one sandbox, or the host's part.
        case scenario(@Sendable (Stage) async throws -> Observation)
    }

    /// What must hold for the probe to mean anything here. Otherwise it is skipped, never passed.
    enum Need: Sendable {
        /// The kernel knows this system call.
        case kernel(String)
        /// The same attempt, made outside, gets this far: an answer that begins with `ok` unless another is named.
        case outside(String, answers: String = "ok")
        /// This layer is said to be active (or left out on purpose).
        case layer(Layer)
        /// Every sandbox has ids of its own.
        case distinctIDs
        /// The suite runs as root.
        case root
        /// The architecture has foreign entries.
        case foreignEntries
    }

    /// `class.what`, lower case; it never changes, because documents and reports name it.
    public let id: String
    /// The layers that it shows: without one of them it may fail.
    public let layers: [Layer]
    public let tried: String
    public let expected: String
    /// Published escapes that it stands for.
    public let published: [String]
    /// The kinds of zygote it is made for.
    public let zygotes: [ZygoteKind]
    let needs: [Need]
    let action: Action
    let holds: @Sendable (String) -> Bool

    public var group: String { String(id.prefix { $0 != "." }) }

    init(
        _ id: String, _ tried: String, _ layers: [Layer], _ action: Action, _ expectation: Expectation,
        needs: [Need] = [], published: [String] = [], zygotes: [ZygoteKind] = [.exec, .python]
    ) {
        self.id = id
        self.tried = tried
        self.layers = layers
        self.action = action
        expected = expectation.text
        holds = expectation.holds
        self.needs = needs
        self.published = published
        self.zygotes = zygotes
    }
}

/// The kinds of zygote that the suite has an agent for.
public enum ZygoteKind: String, CaseIterable, Sendable {
    case exec, python
}

/// What an answer must be, in words and as a test.
struct Expectation: Sendable {
    let text: String
    let holds: @Sendable (String) -> Bool

    /// The answer is one of these words: names of errnos as a rule.
    static func refused(_ words: String...) -> Expectation {
        Expectation(text: words.joined(separator: " or ")) { words.contains($0) }
    }

    /// Whatever the attempt names, it is not there: no such file, or none for us.
    static let absent = Expectation(text: "ENOENT, EACCES or ENOTDIR") {
        ["ENOENT", "EACCES", "ENOTDIR"].contains($0)
    }

    /// A name that is there or not, and cannot be written.
    static let unwritable = Expectation(text: "EROFS, EACCES, EPERM, ENOENT or ETXTBSY") {
        ["EROFS", "EACCES", "EPERM", "ENOENT", "ETXTBSY", "ENOTDIR"].contains($0)
    }

    static func exactly(_ answer: String) -> Expectation { Expectation(text: answer) { $0 == answer } }

    static func that(_ text: String, _ holds: @escaping @Sendable (String) -> Bool) -> Expectation {
        Expectation(text: text, holds: holds)
    }

    /// An exhaustion that was stopped: one of these errnos, after at most `limit` pieces.
    static func bounded(_ errnos: [String], by limit: Int) -> Expectation {
        Expectation(text: errnos.joined(separator: " or ") + " after at most \(limit)") { answer in
            let words = answer.split(separator: " ")
            guard words.count == 3, errnos.contains(String(words[0])), let count = Int(words[2]) else { return false }
            return count >= 0 && count <= limit
        }
    }
}

/// What a scenario saw.
enum Observation: Sendable {
    /// Judged by the probe's expectation.
    case saw(String)
    /// It cannot be judged here.
    case skipped(String)
}
