/// Divides a command line into our options and the program's words, before anything is parsed.
///
/// What follows the program belongs to the program, dashes and all, as `python3`, `env` and `ssh` have it: `run ls -l` needs no
/// `--`. A general parser cannot know where that point is; here it is one pass.
public struct ArgumentSplit: Sendable, Hashable {
    /// Our options, each short one on its own and with its value behind it.
    public var options: [String] = []
    /// The program and its arguments, or the script and its arguments, untouched.
    public var rest: [String] = []

    /// Options without a value. Every other option takes the next word, also one that starts with a dash.
    static let longFlags: Set<String> = [
        "--tail", "--json", "--detach", "--help", "--version", "--interactive", "--tty", "--progress", "--imports",
    ]
    static let shortFlags: Set<Character> = ["i", "t", "h"]
    static let shortOptions: Set<Character> = ["v", "w", "e", "m", "c", "f"]

    /// - Parameters:
    ///   - arguments: behind the verb.
    ///   - isPython: whether -c and -m end our options, as they do for python3.
    ///   - isCall: whether options may stand behind the first word too, as in `call HANDLER --zygote NAME`.
    public init(_ arguments: [String], isPython: Bool, isCall isInterleaved: Bool = false) {
        var words = arguments[...]
        var isCall = isInterleaved
        while let word = words.first {
            if word == "--" {
                rest += words.dropFirst()
                return
            }
            if isInterleaved, word == "-" || !word.hasPrefix("-") || ArgumentSplit.isNumber(word) {
                rest.append(word)
                words = words.dropFirst()
                continue
            }
            if word == "-" || !word.hasPrefix("-") || (isCall && ArgumentSplit.isNumber(word)) { break }
            words = words.dropFirst()
            if word.hasPrefix("--") {
                options.append(word)
                if !word.contains("="), !ArgumentSplit.longFlags.contains(word), let value = words.popFirst() {
                    options.append(value)
                }
                continue
            }
            let letter = word.dropFirst().first!
            if ArgumentSplit.shortFlags.contains(letter) {
                // -it is -i -t. A letter in it that is none of ours stays in sight of the parser, which names it.
                options += word.dropFirst().map { "-\($0)" }
            } else if ArgumentSplit.shortOptions.contains(letter) {
                // -eNAME=VALUE is -e NAME=VALUE.
                options.append("-\(letter)")
                if word.count > 2 {
                    options.append(String(word.dropFirst(2)))
                } else if let value = words.popFirst() {
                    options.append(value)
                }
                if isPython && (letter == "c" || letter == "m") { break }
                if isPython && letter == "f" { isCall = true }
            } else {
                options.append(word)
            }
        }
        rest += words
    }

    /// A negative number is an argument of a call, not an option: no option of ours is a digit.
    private static func isNumber(_ word: String) -> Bool {
        guard let second = word.dropFirst().first else { return false }
        return second.isNumber || second == "."
    }
}
