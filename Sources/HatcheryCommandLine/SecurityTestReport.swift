import Hatchery
import HatcheryProtocol
import HatcherySecuritySuite

/// The report of `hatchery security-test` as text, JSON and JUnit XML.
enum ReportText {
    // MARK: Text

    static func line(_ result: ProbeResult) -> String {
        let name = padded(result.probe.id, 34) + padded(result.zygote.rawValue, 8)
        switch result.verdict {
        case .passed: return "passed   \(name)\(result.got)\n"
        case .skipped: return "skipped  \(name)\(result.got)\n"
        case .failed:
            return """
                FAILED   \(name)\(result.got)
                         tried:    \(result.probe.tried)
                         expected: \(result.probe.expected)
                         layers:   \(result.probe.layers.map(\.name).joined(separator: " "))

                """
        }
    }

    static func summary(_ report: SuiteReport) -> String {
        var text = ""
        for (zygote, receipt) in report.receipts {
            text += "\n\(zygote.rawValue): \(receipt.active.layers.map(\.name).joined(separator: " "))\n"
            for missing in receipt.missing { text += "  without \(missing.layer.name): \(missing.why)\n" }
        }
        let failed = report.results.filter { $0.verdict == .failed }
        if !failed.isEmpty {
            text += "\nunexpected:\n"
            for result in failed { text += "  \(result.probe.id) (\(result.zygote.rawValue)): \(result.got)\n" }
        }
        return text
            + "\nProbes: \(report.count(.passed)) passed, \(report.count(.failed)) failed, \(report.count(.skipped)) skipped\n"
    }

    static func list(_ probes: [Probe], _ isJSON: Bool) -> String {
        guard isJSON else {
            return probes.map { padded($0.id, 34) + $0.tried + "\n" }.joined() + "\(probes.count) probes\n"
        }
        var writer = JSONWriter()
        writer.array { list in
            for probe in probes { list.object { describe(probe, &$0) } }
        }
        return writer.text + "\n"
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    // MARK: JSON

    private static func describe(_ probe: Probe, _ writer: inout JSONWriter) {
        writer.string("id", probe.id)
        writer.string("class", probe.group)
        writer.array("layers") { list in for layer in probe.layers { list.string(nil, layer.name) } }
        writer.array("published") { list in for name in probe.published { list.string(nil, name) } }
        writer.array("zygotes") { list in for kind in probe.zygotes { list.string(nil, kind.rawValue) } }
        writer.string("tried", probe.tried)
        writer.string("expected", probe.expected)
    }

    static func json(_ report: SuiteReport) -> String {
        var writer = JSONWriter()
        writer.object { object in
            object.string("daemon", report.daemon)
            object.array("without") { list in for layer in report.without.layers { list.string(nil, layer.name) } }
            for verdict in [ProbeResult.Verdict.passed, .failed, .skipped] {
                object.integer(verdict.rawValue, report.count(verdict))
            }
            object.array("receipts") { list in
                for (zygote, receipt) in report.receipts {
                    list.object { write(receipt, zygote, &$0) }
                }
            }
            object.array("results") { list in
                for result in report.results {
                    list.object { entry in
                        entry.string("zygote", result.zygote.rawValue)
                        entry.string("verdict", result.verdict.rawValue)
                        entry.string("got", result.got)
                        entry.number("seconds", result.seconds)
                        describe(result.probe, &entry)
                    }
                }
            }
        }
        return writer.text + "\n"
    }

    private static func write(_ receipt: Receipt, _ zygote: ZygoteKind, _ writer: inout JSONWriter) {
        writer.string("zygote", zygote.rawValue)
        writer.array("active") { list in for layer in receipt.active.layers { list.string(nil, layer.name) } }
        writer.array("missing") { list in
            for missing in receipt.missing {
                list.object {
                    $0.string("layer", missing.layer.name)
                    $0.string("why", missing.why)
                }
            }
        }
    }

    // MARK: JUnit

    /// One suite for each class, as forges and build servers read it.
    static func junit(_ report: SuiteReport) -> String {
        var text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"hatchery security-test\">\n"
        var groups: [String] = []
        for result in report.results where !groups.contains(result.probe.group) { groups.append(result.probe.group) }
        for group in groups {
            let results = report.results.filter { $0.probe.group == group }
            text += "  <testsuite name=\"\(group)\" tests=\"\(results.count)\""
                + " failures=\"\(results.count { $0.verdict == .failed })\""
                + " skipped=\"\(results.count { $0.verdict == .skipped })\">\n"
            for result in results { text += testCase(result) }
            text += "  </testsuite>\n"
        }
        return text + "</testsuites>\n"
    }

    private static func testCase(_ result: ProbeResult) -> String {
        let open = "    <testcase classname=\"\(result.probe.group).\(result.zygote.rawValue)\""
            + " name=\"\(result.probe.id)\" time=\"\(result.seconds)\""
        switch result.verdict {
        case .passed: return open + "/>\n"
        case .skipped: return open + "><skipped message=\"\(escaped(result.got))\"/></testcase>\n"
        case .failed:
            let message = "tried to \(result.probe.tried); expected \(result.probe.expected); got \(result.got)"
            return open + "><failure message=\"\(escaped(message))\"/></testcase>\n"
        }
    }

    /// XML 1.0: the five characters, and no control character at all.
    private static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&apos;"
            case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF: result += "?"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
