import Hatchery
import HatcheryProtocol

extension BuildReport {
    /// One JSON object on one line.
    public var json: String {
        var writer = JSONWriter()
        writer.object { build in
            build.string("name", name)
            build.string("outcome", outcome.rawValue)
            build.integer("exit_status", exitStatus)
            build.number("wall_seconds", wallSeconds)
            build.array("phases") { list in
                for phase in phases { list.object { phase.write(to: &$0) } }
            }
            build.array("missing_outputs") { list in
                for output in missingOutputs {
                    list.object { object in
                        object.string("path", output.path)
                        object.string("why", output.why)
                    }
                }
            }
        }
        return writer.text
    }

    /// JUnit's XML: a suite for each phase, a case for each step.
    public var junit: String {
        let cases = phases.flatMap(\.steps)
        var text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        text += "<testsuites name=\"\(XMLText.attribute(name))\" "
        text += "tests=\"\(cases.count + phases.count(where: \.failedOutsideItsSteps))\" "
        text += "failures=\"\(cases.count { $0.outcome == .failed })\" errors=\"\(phases.count(where: \.failedOutsideItsSteps))\" "
        text += "time=\"\(XMLText.seconds(wallSeconds))\">\n"
        for phase in phases { text += phase.junit }
        return text + "</testsuites>\n"
    }
}

extension BuildReport.Phase {
    /// Its sandbox could not be made, for example. Readers of JUnit's XML look at cases alone: without one of its own such a
    /// failure would read as a run in which every test was skipped.
    fileprivate var failedOutsideItsSteps: Bool {
        outcome == .failed && !steps.contains { $0.outcome == .failed || $0.outcome == .cancelled }
    }

    fileprivate func write(to object: inout JSONWriter) {
        object.string("phase", phase.rawValue)
        object.string("outcome", outcome.rawValue)
        object.string("message", message)
        object.string("id", id)
        object.number("wall_seconds", wallSeconds)
        object.integer("peak_memory_bytes", peakMemoryBytes)
        object.array("layers") { list in
            for layer in receipt.active.layers { list.string(nil, layer.name) }
        }
        object.array("steps") { list in
            for step in steps { list.object { step.write(to: &$0) } }
        }
    }

    fileprivate var junit: String {
        let (failures, skipped) = (steps.count { $0.outcome == .failed }, steps.count { $0.outcome == .skipped })
        let errors = failedOutsideItsSteps ? 1 : 0
        var text = "  <testsuite name=\"\(phase.rawValue)\" tests=\"\(steps.count + errors)\" failures=\"\(failures)\" "
        text += "errors=\"\(errors)\" "
        text += "skipped=\"\(skipped)\" time=\"\(XMLText.seconds(wallSeconds))\">\n"
        if failedOutsideItsSteps {
            text += "    <testcase classname=\"\(phase.rawValue)\" name=\"\(phase.rawValue)\" time=\"0.0\">\n"
            text += "      <error message=\"\(XMLText.attribute(message ?? outcome.rawValue))\"/>\n    </testcase>\n"
        }
        for step in steps { text += step.junit }
        return text + "  </testsuite>\n"
    }
}

extension BuildReport.Step {
    fileprivate func write(to object: inout JSONWriter) {
        object.integer("number", number)
        object.string("command", text)
        object.bool("background", isBackground)
        object.integer("line", line)
        object.string("outcome", outcome.rawValue)
        object.integer("exit_status", exitStatus)
        object.string("message", message)
        object.number("wall_seconds", wallSeconds)
        object.number("cpu_seconds", cpuSeconds)
        object.string("stdout", StreamText(stdout).string)
        object.string("stderr", StreamText(stderr).string)
        object.integer("dropped_bytes", droppedBytes)
    }

    fileprivate var junit: String {
        var text = "    <testcase classname=\"\(phase.rawValue)\" name=\"\(number). \(XMLText.attribute(self.text))\" "
        text += "time=\"\(XMLText.seconds(wallSeconds))\">\n"
        switch outcome {
        case .failed, .cancelled: text += "      <failure message=\"\(XMLText.attribute(message ?? outcome.rawValue))\"/>\n"
        case .skipped: text += "      <skipped/>\n"
        case .passed, .stopped: break
        }
        for (name, bytes) in [("system-out", stdout), ("system-err", stderr)] where !bytes.isEmpty {
            text += "      <\(name)>\(XMLText.content(StreamText(bytes, isCutAtStart: true).string))</\(name)>\n"
        }
        return text + "    </testcase>\n"
    }
}

/// Texts as XML 1.0 takes them: of the control characters only tab and the line ends are allowed, escaped or not.
enum XMLText {
    static func content(_ text: String) -> String { escaped(text, isAttribute: false) }
    static func attribute(_ text: String) -> String { escaped(text, isAttribute: true) }

    static func seconds(_ seconds: Double) -> String { "\((seconds * 1000).rounded() / 1000)" }

    private static func escaped(_ text: String, isAttribute: Bool) -> String {
        var escaped = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped.append(contentsOf: "&amp;".unicodeScalars)
            case "<": escaped.append(contentsOf: "&lt;".unicodeScalars)
            case ">": escaped.append(contentsOf: "&gt;".unicodeScalars)
            case "\"" where isAttribute: escaped.append(contentsOf: "&quot;".unicodeScalars)
            case "\n" where isAttribute: escaped.append(contentsOf: "&#10;".unicodeScalars)
            case "\t", "\n": escaped.append(scalar)
            case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF: escaped.append("\u{FFFD}")
            default: escaped.append(scalar)
            }
        }
        return String(escaped)
    }
}
