/// Reads the text of a policy. The grammar is in seccomp/README.md:
///
///     default              errno ENOSYS
///     foreign-architecture kill
///     allow  NAME                [CONDITION and CONDITION …]   # reason
///     refuse NAME ERRNO          [CONDITION and CONDITION …]   # reason
///     answer NAME ERRNO          [CONDITION and CONDITION …]   # reason
///
/// A condition is `argN OP VALUE`, `argN & MASK == VALUE`, `argN & MASK != 0` or `low32(argN) == VALUE`.
struct SeccompPolicyParser {
    let file: String

    private var defaultAction: SeccompPolicy.DefaultAction?
    private var foreignArchitectureSeen = false
    private var rules: [SeccompPolicy.Rule] = []
    /// The line that decides a call without conditions: nothing after it can match.
    private var decidedAt: [String: Int] = [:]

    init(file: String) { self.file = file }

    mutating func read(_ text: String) throws(SeccompPolicyError) {
        var number = 0
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            number += 1
            try read(line: line, number: number)
        }
    }

    /// Both general lines must stand there: a policy says what it does with the unknown, it does not inherit it.
    func finish() throws(SeccompPolicyError) -> (SeccompPolicy.DefaultAction, [SeccompPolicy.Rule]) {
        guard let defaultAction else {
            throw SeccompPolicyError(file: file, problem: "no line 'default errno NAME' or 'default kill'")
        }
        guard foreignArchitectureSeen else {
            throw SeccompPolicyError(file: file, problem: "no line 'foreign-architecture kill'")
        }
        return (defaultAction, rules)
    }

    private mutating func read(line: Substring, number: Int) throws(SeccompPolicyError) {
        var words = Words(line, file: file, line: number)
        guard let first = words.next() else { return }
        switch first.text {
        case "default": try readDefault(first, &words)
        case "foreign-architecture": try readForeignArchitecture(first, &words)
        default:
            guard let verb = SeccompPolicy.Verb(rawValue: first.text) else {
                let known = SeccompPolicy.Verb.allCases.map(\.rawValue) + ["default", "foreign-architecture"]
                throw words.error(first, "a line starts with a verb, not with '\(first.text)'", among: known)
            }
            try readRule(verb, &words)
        }
    }

    private mutating func readDefault(_ first: Word, _ words: inout Words) throws(SeccompPolicyError) {
        guard defaultAction == nil else { throw words.error(first, "a second 'default'") }
        let action = try words.require("'errno NAME' or 'kill'")
        switch action.text {
        case "errno": defaultAction = .errno(try readErrno(&words))
        case "kill": defaultAction = .kill
        default: throw words.error(action, "the default is 'errno NAME' or 'kill'", among: ["errno", "kill"])
        }
        try words.requireEnd()
    }

    private mutating func readForeignArchitecture(_ first: Word, _ words: inout Words) throws(SeccompPolicyError) {
        guard !foreignArchitectureSeen else { throw words.error(first, "a second 'foreign-architecture'") }
        let action = try words.require("'kill'")
        // Nothing milder is offered: the same number is another call there, so no line of a policy would hold.
        guard action.text == "kill" else {
            throw words.error(action, "a foreign architecture can only be killed", among: ["kill"])
        }
        foreignArchitectureSeen = true
        try words.requireEnd()
    }

    private mutating func readRule(_ verb: SeccompPolicy.Verb, _ words: inout Words) throws(SeccompPolicyError) {
        let name = try words.require("the name of a system call")
        guard SeccompNames.isSyscall(name.text) else {
            throw words.error(name, "no system call '\(name.text)'", among: SeccompNames.allSyscalls())
        }
        if let line = decidedAt[name.text] {
            throw words.error(name, "this line never matches: line \(line) decides '\(name.text)' whatever its arguments")
        }
        let errno: Int32? = verb == .allow || verb == .tell ? nil : try readErrno(&words)
        let conditions = try readConditions(&words)
        if conditions.isEmpty { decidedAt[name.text] = words.line }
        rules.append(
            SeccompPolicy.Rule(
                line: words.line, verb: verb, syscall: name.text, errno: errno, conditions: conditions,
                reason: words.comment))
    }

    private func readErrno(_ words: inout Words) throws(SeccompPolicyError) -> Int32 {
        let word = try words.require("the name of an errno")
        guard let errno = SeccompNames.errnos[word.text] else {
            throw words.error(word, "no errno '\(word.text)' for a policy", among: SeccompNames.errnos.keys.sorted())
        }
        return errno
    }

    private func readConditions(_ words: inout Words) throws(SeccompPolicyError) -> [SeccompPolicy.Condition] {
        var conditions: [SeccompPolicy.Condition] = []
        guard var word = words.next() else { return [] }
        while true {
            let condition = try readCondition(word, &words)
            // Two tests of one argument are nearly always a slip, and a line stays short enough for BPF's short jumps.
            guard !conditions.contains(where: { $0.argument == condition.argument }) else {
                throw words.error(word, "argument \(condition.argument) is tested twice in one line")
            }
            conditions.append(condition)
            guard let joint = words.next() else { return conditions }
            guard joint.text == "and" else {
                throw words.error(joint, "'and' or '#' expected, not '\(joint.text)'", among: ["and"])
            }
            word = try words.require("a condition after 'and'")
        }
    }

    private func readCondition(
        _ word: Word, _ words: inout Words
    ) throws(SeccompPolicyError) -> SeccompPolicy.Condition {
        if let argument = argumentIndex(word.text, prefix: "low32(arg", suffix: ")") {
            let comparison = try words.require("'=='")
            guard comparison.text == "==" else {
                throw words.error(comparison, "low32() can only be compared by '=='", among: ["=="])
            }
            let valueWord = try words.require("a value")
            let value = try readValue(valueWord, words)
            guard value <= UInt64(UInt32.max) else {
                throw words.error(valueWord, "'\(valueWord.text)' has more than 32 bits: low32() is never that")
            }
            return .init(argument: argument, test: .masked(mask: UInt64(UInt32.max), equals: value))
        }
        guard let argument = argumentIndex(word.text, prefix: "arg", suffix: "") else {
            throw words.error(
                word, "a condition starts with arg0 … arg5 or low32(arg0) … low32(arg5)",
                among: (0...5).flatMap { ["arg\($0)", "low32(arg\($0))"] })
        }
        let comparison = try words.require("a comparison")
        let test =
            comparison.text == "&" ? try readMask(&words) : try readComparison(comparison, &words)
        return .init(argument: argument, test: test)
    }

    private func readComparison(
        _ comparison: Word, _ words: inout Words
    ) throws(SeccompPolicyError) -> SeccompPolicy.Test {
        let value = try readValue(try words.require("a value"), words)
        switch comparison.text {
        case "==": return .equal(value)
        case "!=": return .notEqual(value)
        case "<": return .less(value)
        case "<=": return .lessOrEqual(value)
        case ">": return .greater(value)
        case ">=": return .greaterOrEqual(value)
        default: throw words.error(comparison, "no comparison '\(comparison.text)': == != < <= > >= &")
        }
    }

    private func readMask(_ words: inout Words) throws(SeccompPolicyError) -> SeccompPolicy.Test {
        let maskWord = try words.require("a mask")
        let mask = try readValue(maskWord, words)
        let comparison = try words.require("'==' or '!='")
        let valueWord = try words.require("a value")
        let value = try readValue(valueWord, words)
        guard mask != 0, value & ~mask == 0 else {
            throw words.error(valueWord, "the mask '\(maskWord.text)' never gives '\(valueWord.text)'")
        }
        switch (comparison.text, value) {
        case ("==", _): return .masked(mask: mask, equals: value)
        case ("!=", 0): return .anyBit(mask: mask)
        default: throw words.error(comparison, "a mask can be followed by '== VALUE' or '!= 0'")
        }
    }

    /// A number, a named constant, or several of them joined by `|`.
    private func readValue(_ word: Word, _ words: Words) throws(SeccompPolicyError) -> UInt64 {
        var value: UInt64 = 0
        for part in word.text.split(separator: "|", omittingEmptySubsequences: false) {
            guard let bits = SeccompNames.constants[String(part)] ?? number(part) else {
                throw words.error(
                    word, "no constant or number '\(part)'", wanted: String(part),
                    among: SeccompNames.constants.keys.sorted())
            }
            value |= bits
        }
        return value
    }

    private func number(_ text: Substring) -> UInt64? {
        // "+1" is a number to Swift; in a policy it is a typing error.
        guard let first = text.utf8.first, UInt8(ascii: "0")...UInt8(ascii: "9") ~= first else { return nil }
        return text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    }

    private func argumentIndex(_ text: String, prefix: String, suffix: String) -> Int? {
        (0...5).first { text == "\(prefix)\($0)\(suffix)" }
    }
}

/// A word and where it stands.
private struct Word {
    let text: String
    let column: Int
}

/// The words of one line, without its comment.
private struct Words {
    let file: String
    let line: Int
    let comment: String
    private var words: ArraySlice<Word>
    private let endColumn: Int

    init(_ text: Substring, file: String, line: Int) {
        self.file = file
        self.line = line
        let hash = text.firstIndex(of: "#")
        let code = hash.map { text[..<$0] } ?? text
        comment = hash.map { trimmed(text[$0...].dropFirst()) } ?? ""
        words = code.split(whereSeparator: isBlank)
            .map { Word(text: String($0), column: text.distance(from: text.startIndex, to: $0.startIndex) + 1) }[...]
        endColumn = code.count + 1
    }

    mutating func next() -> Word? { words.popFirst() }

    mutating func require(_ what: String) throws(SeccompPolicyError) -> Word {
        guard let word = next() else {
            throw SeccompPolicyError(file: file, line: line, column: endColumn, problem: "\(what) is missing")
        }
        return word
    }

    mutating func requireEnd() throws(SeccompPolicyError) {
        if let word = next() { throw error(word, "nothing may follow here, but '\(word.text)' does") }
    }

    func error(
        _ word: Word, _ problem: String, wanted: String? = nil, among candidates: [String] = []
    ) -> SeccompPolicyError {
        SeccompPolicyError(
            file: file, line: line, column: word.column, word: word.text, problem: problem,
            suggestion: SeccompNames.nearest(to: wanted ?? word.text, among: candidates))
    }
}

private func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" || character == "\r" }

private func trimmed(_ text: Substring) -> String {
    var text = text.drop(while: isBlank)
    while let last = text.last, isBlank(last) { text.removeLast() }
    return String(text)
}
