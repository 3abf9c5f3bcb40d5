/// A seccomp policy as its text says it: one system call a line, with the reason.
///
/// This is a pure value. `SeccompPolicyParser` makes it of a text, `SeccompCompiler` makes a program of it. It stays
/// readable on purpose: the tests and `hatchery security-test` show the verdicts from here.
public struct SeccompPolicy: Sendable, Hashable {
    /// Where the text came from: a path, or the name of a built-in policy.
    public let file: String
    /// For calls that no line decides.
    public let defaultAction: DefaultAction
    /// In the order of the text. Of the lines of one call the first that matches decides.
    public let rules: [Rule]

    /// There is no `allow` among these.
    public enum DefaultAction: Sendable, Hashable {
        /// The call does nothing and fails with this errno.
        case errno(Int32)
        /// SIGSYS for the whole process.
        case kill
    }

    /// The first word of a line.
    public enum Verb: String, Sendable, Hashable, CaseIterable {
        case allow
        /// Refused, and no well-behaved program asks for it. Where violations kill, these kill.
        case refuse
        /// Refused with an errno that well-behaved programs know how to go on from: clone3 and ENOSYS. Never kills.
        case answer
        /// Allowed, and told to the sandbox's init where there is one that listens. For calls whose arguments are numbers.
        case tell
    }

    public struct Rule: Sendable, Hashable {
        public let line: Int
        public let verb: Verb
        public let syscall: String
        /// The errno of `refuse` and `answer`.
        public let errno: Int32?
        /// All must hold. Empty: the line decides whatever the arguments are.
        public let conditions: [Condition]
        /// The comment at the end of the line; empty where there is none.
        public let reason: String
    }

    public struct Condition: Sendable, Hashable {
        public let argument: Int
        public let test: Test
    }

    /// Arguments are 64 bits wide. The kernel looks at the low half only where its own parameter is an `int`: there a
    /// policy must do the same (`low32`), or set high bits slip past a refusal (CVE-2019-10063).
    public enum Test: Sendable, Hashable {
        case equal(UInt64)
        case notEqual(UInt64)
        case less(UInt64)
        case lessOrEqual(UInt64)
        case greater(UInt64)
        case greaterOrEqual(UInt64)
        /// `argN & mask == value`, and `low32(argN) == value` with mask 0xffffffff.
        case masked(mask: UInt64, equals: UInt64)
        /// `argN & mask != 0`
        case anyBit(mask: UInt64)
    }

    /// Whether the policy has a line that allows the call whatever its arguments are, before one that refuses it so.
    func allows(_ syscall: String) -> Bool {
        rules.first { $0.syscall == syscall && $0.conditions.isEmpty }?.verb == .allow
    }

    public init(text: String, file: String) throws(SeccompPolicyError) {
        var parser = SeccompPolicyParser(file: file)
        try parser.read(text)
        self.file = file
        (defaultAction, rules) = try parser.finish()
    }
}

/// What a `refuse` line does. The `errno` of the line is the default; `kill` ends the process, and the verdict of the run
/// is then `syscall_denied`.
public enum ViolationAction: Sendable, Hashable {
    case errno
    case kill
    /// The sandbox's init is asked: it counts, and answers with the errno of the line or ends the sandbox (Decisions/0023). The
    /// errno stands in the low half of the verdict, so that a child without a listener can make one of the other two of it.
    case listen
}

/// What is wrong with a policy, where, and what was probably meant.
public struct SeccompPolicyError: Error, Sendable, Hashable, CustomStringConvertible {
    public let file: String
    /// From 1; 0 where the fault is in no single line.
    public let line: Int
    /// From 1, in characters; 0 where the fault is in no single word.
    public let column: Int
    /// The word at fault.
    public let word: String
    public let problem: String
    /// The nearest right word.
    public let suggestion: String?

    public init(
        file: String, line: Int = 0, column: Int = 0, word: String = "", problem: String, suggestion: String? = nil
    ) {
        self.file = file
        self.line = line
        self.column = column
        self.word = word
        self.problem = problem
        self.suggestion = suggestion
    }

    public var description: String {
        var place = file
        if line > 0 { place += ":\(line)" }
        if column > 0 { place += ":\(column)" }
        let meant = suggestion.map { ", did you mean '\($0)'?" } ?? ""
        return "\(place): \(problem)\(meant)"
    }
}
