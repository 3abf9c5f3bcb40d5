import Glibc
import Hatchery
import HatcheryJobs
import HatcherySystem
import Synchronization

/// Shows a build as it runs: headings and times on stderr, the steps' own output on the stream that they wrote it to, that of
/// services line by line behind their prefix.
final class BuildConsole: Sendable {
    private enum Color: String {
        case bold = "1"
        case green = "32"
        case red = "31"
        case cyan = "36"
        case faint = "2"
    }

    private struct State {
        /// Services' lines that are not whole yet.
        var pending: [String: [UInt8]] = [:]
        /// Whether the last byte of a step's own output was not a line's end.
        var isMidLine = false
    }

    private let isQuiet: Bool
    private let colors: Bool
    private let state = Mutex(State())

    init(isQuiet: Bool, colors: Bool) {
        self.isQuiet = isQuiet
        self.colors = colors
    }

    func show(_ event: BuildEvent) {
        if isQuiet { return }
        switch event {
        case .phaseStarted: break
        case .stepStarted(let step, let count):
            note(paint("==>", .cyan) + " " + paint("\(step.phase.rawValue) \(step.number)/\(count)", .bold) + ": \(title(step))")
        case .serviceReady(let step): note("    \(prefix(step)) is ready")
        case .output(let step, let isStderr, let bytes):
            if step.isBackground { lines(step, bytes) } else { plain(bytes, isStderr ? STDERR_FILENO : STDOUT_FILENO) }
        case .stepEnded(let step): ended(step)
        case .phaseEnded(let phase):
            if phase.outcome == .failed, let message = phase.message { note("    " + paint("\(phase.phase.rawValue): \(message)", .red)) }
        }
    }

    func finish(_ report: BuildReport) {
        if isQuiet { return }
        note("")
        for phase in report.phases {
            for step in phase.steps {
                let time = step.outcome == .skipped ? "       " : padded(seconds(step.wallSeconds), 7)
                note("\(time)  \(word(step.outcome))  \(phase.phase.rawValue) \(step.number): \(title(step))")
            }
        }
        for output in report.missingOutputs { note(paint("--out \(output.path): \(output.why)", .red)) }
        let verdict = report.outcome == .passed ? paint("passed", .green) : paint("\(report.outcome.rawValue), exit status \(report.exitStatus)", .red)
        note("\(padded(seconds(report.wallSeconds), 7))  \(verdict)")
    }

    // MARK: Pieces

    private func ended(_ step: BuildReport.Step) {
        if step.isBackground { flush(step) }
        if step.droppedBytes > 0 { note("    \(step.droppedBytes) bytes of its output were dropped") }
        let what = step.outcome == .passed ? paint("ok", .green) : step.outcome == .stopped ? "stopped" : paint(step.message ?? "failed", .red)
        let name = step.isBackground ? prefix(step) + " " : ""
        note("    \(name)\(what) \(paint("(\(seconds(step.wallSeconds)))", .faint))")
    }

    private func lines(_ step: BuildReport.Step, _ bytes: [UInt8]) {
        let name = prefix(step)
        let whole: [[UInt8]] = state.withLock { state in
            var pending = (state.pending[name] ?? []) + bytes
            var lines: [[UInt8]] = []
            while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                lines.append(Array(pending[..<end]))
                pending.removeSubrange(...end)
            }
            // One that never ends its line is shown all the same.
            if pending.count > 8192 {
                lines.append(pending)
                pending = []
            }
            state.pending[name] = pending
            return lines
        }
        for line in whole { note(Array((paint(name, .faint) + " ").utf8) + line) }
    }

    private func flush(_ step: BuildReport.Step) {
        let rest = state.withLock { $0.pending.removeValue(forKey: prefix(step)) } ?? []
        if !rest.isEmpty { note(Array((paint(prefix(step), .faint) + " ").utf8) + rest) }
    }

    private func plain(_ bytes: [UInt8], _ target: Int32) {
        state.withLock { $0.isMidLine = bytes.last != UInt8(ascii: "\n") }
        try? writeAll(target, bytes)
    }

    private func note(_ text: String) { note(Array(text.utf8)) }

    private func note(_ bytes: [UInt8]) {
        let begins = state.withLock { state in
            defer { state.isMidLine = false }
            return state.isMidLine
        }
        try? writeAll(STDERR_FILENO, (begins ? [UInt8(ascii: "\n")] : []) + bytes + [UInt8(ascii: "\n")])
    }

    private func prefix(_ step: BuildReport.Step) -> String {
        let program = step.text.split(whereSeparator: \.isWhitespace).first.map { $0.split(separator: "/").last ?? $0 } ?? "service"
        return "[\(program) \(step.number)]"
    }

    private func title(_ step: BuildReport.Step) -> String {
        let lines = step.text.split(separator: "\n")
        return String(lines.first ?? "").prefix(200) + (lines.count > 1 ? " …" : "") + (step.isBackground ? " &" : "")
    }

    private func word(_ outcome: BuildReport.Outcome) -> String {
        switch outcome {
        case .passed: paint("ok     ", .green)
        case .failed: paint("FAILED ", .red)
        case .skipped: paint("skipped", .faint)
        case .cancelled: paint("ended  ", .red)
        case .stopped: "stopped"
        }
    }

    private func seconds(_ seconds: Double) -> String { "\((seconds * 100).rounded() / 100)s" }
    private func padded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
    private func paint(_ text: String, _ color: Color) -> String { colors ? "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m" : text }
}
