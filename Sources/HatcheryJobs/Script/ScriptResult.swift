import Hatchery
import HatcheryProtocol

/// What came of a script.
public struct ScriptResult: Sendable, Hashable {
    public var run: RunResult
    /// The script's path below the base directory.
    public var name: String
    /// Of the bytes that ran.
    public var sha256: String
    /// What the policy let pass with a word.
    public var warnings: [String]

    package init(_ run: RunResult, _ file: ScriptFile) {
        self.run = run
        name = file.name
        sha256 = file.sha256
        warnings = file.warnings
    }

    /// What the script printed, where that is one JSON value and whole. Read anew at every call.
    public var value: JSONValue? {
        run.stdoutTruncatedBytes == 0 ? JSONText.value(of: run.stdoutBytes) : nil
    }

    /// What the signal that ended the script means.
    public var signalMeaning: String? { run.signal.map { SignalMeaning.of($0) } }

    /// The fields of a result, and behind them `script`.
    public var json: String {
        var writer = JSONWriter()
        run.write(to: &writer) { result in
            result.object("script") { script in
                script.string("name", name)
                script.string("sha256", sha256)
                script.array("warnings") { list in
                    for warning in warnings { list.string(nil, warning) }
                }
                script.string("signal_meaning", signalMeaning)
                let isValue = run.stdoutTruncatedBytes == 0 && JSONText.kind(of: run.stdoutBytes) != nil
                script.bool("stdout_is_json", isValue)
                if isValue { script.verbatim("value", JSONText.onOneLine(run.stdout)) } else { script.string("value", nil) }
            }
        }
        return writer.text
    }
}

/// What signals mean to somebody who did not send them (signal(7)).
public enum SignalMeaning {
    public static func of(_ signal: Int32) -> String {
        switch signal {
        case 1: "hang-up of the terminal"
        case 2: "interrupted from the keyboard"
        case 3: "quit from the keyboard"
        case 4: "an illegal instruction"
        case 5: "a trap for a debugger"
        case 6: "the program gave up on itself (abort)"
        case 7: "a bus error: a bad access to mapped memory"
        case 8: "an arithmetic error, such as a division by zero"
        case 9: "killed; no program can refuse it"
        case 10, 12: "a signal of the program's own use"
        case 11: "an invalid access to memory"
        case 13: "wrote to a pipe that nobody reads"
        case 14: "an alarm that the program had set"
        case 15: "asked to end"
        case 24: "the limit of CPU time"
        case 25: "the limit of a file's size"
        case 31: "a system call that is not allowed"
        default: "signal \(signal)"
        }
    }
}
