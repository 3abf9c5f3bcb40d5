/// A command line as text, split into words by the quoting rules of POSIX (XCU 2.2), by no shell.
///
/// What only a shell could do is an error and not a word: a `|` that was meant as a pipe must not reach a program as an argument.
public enum CommandLineText {
    /// Why a text is not a list of words.
    public struct Malformed: Error, Sendable, Hashable, CustomStringConvertible {
        public var description: String
    }

    /// - Parameter text: words between blanks. `'…'` holds anything, `"…"` anything with `\` before `"`, `\`, `$` and `` ` ``,
    ///   and `\` outside of quotes holds the next character. There are no variables, patterns or comments.
    /// - Throws: for an unfinished quote, for NUL, and for an unquoted operator, substitution, pattern or line end.
    public static func split(_ text: String) throws(Malformed) -> [String] {
        var splitter = Splitter(text: text)
        return try splitter.split()
    }

    private struct Splitter {
        private let scalars: [Unicode.Scalar]
        private var index = 0
        private var words: [String] = []
        /// nil between words: '' is a word, a blank is none.
        private var word: String.UnicodeScalarView?

        init(text: String) { scalars = Array(text.unicodeScalars) }

        mutating func split() throws(Malformed) -> [String] {
            while index < scalars.count {
                let scalar = scalars[index]
                index += 1
                switch scalar {
                case "\0": throw Malformed(description: "a NUL character at character \(index)")
                case " ", "\t": finishWord()
                case "'": try singleQuoted()
                case "\"": try doubleQuoted()
                case "\\": try escaped()
                default:
                    if let problem = CommandLineText.problem(with: scalar, atStart: word == nil) {
                        throw Malformed(description: "an unquoted \(problem) at character \(index)")
                    }
                    append(scalar)
                }
            }
            finishWord()
            return words
        }

        private mutating func finishWord() {
            if let word { words.append(String(word)) }
            word = nil
        }

        private mutating func append(_ scalar: Unicode.Scalar) {
            if word == nil { word = String.UnicodeScalarView() }
            word?.append(scalar)
        }

        private mutating func singleQuoted() throws(Malformed) {
            let start = index
            if word == nil { word = String.UnicodeScalarView() }
            while index < scalars.count {
                let scalar = scalars[index]
                index += 1
                if scalar == "'" { return }
                try refuseNUL(scalar)
                append(scalar)
            }
            throw Malformed(description: "the ' at character \(start) is never closed")
        }

        private mutating func doubleQuoted() throws(Malformed) {
            let start = index
            if word == nil { word = String.UnicodeScalarView() }
            while index < scalars.count {
                let scalar = scalars[index]
                index += 1
                switch scalar {
                case "\"": return
                case "$", "`": throw Malformed(description: "a \(scalar) in double quotes at character \(index), which only a shell expands")
                case "\\" where index < scalars.count && "\"\\$`".unicodeScalars.contains(scalars[index]):
                    append(scalars[index])
                    index += 1
                case "\\" where index < scalars.count && scalars[index] == "\n": index += 1
                default:
                    try refuseNUL(scalar)
                    append(scalar)
                }
            }
            throw Malformed(description: "the \" at character \(start) is never closed")
        }

        private mutating func escaped() throws(Malformed) {
            guard index < scalars.count else { throw Malformed(description: "a \\ with nothing behind it") }
            let scalar = scalars[index]
            index += 1
            try refuseNUL(scalar)
            // A line that goes on.
            if scalar != "\n" { append(scalar) }
        }

        private func refuseNUL(_ scalar: Unicode.Scalar) throws(Malformed) {
            if scalar == "\0" { throw Malformed(description: "a NUL character at character \(index)") }
        }
    }

    /// What an unquoted character would be to a shell; nil for ordinary ones.
    private static func problem(with scalar: Unicode.Scalar, atStart: Bool) -> String? {
        switch scalar {
        case "|", "&", ";", "<", ">", "(", ")": "'\(scalar)', an operator of shells"
        case "\n", "\r": "end of line: one command, one line"
        case "$", "`": "'\(scalar)', which only a shell expands"
        case "*", "?", "[": "'\(scalar)', a pattern that only a shell expands"
        case "#" where atStart: "'#', a comment to a shell"
        case "~" where atStart: "'~', which only a shell expands"
        default: nil
        }
    }
}
