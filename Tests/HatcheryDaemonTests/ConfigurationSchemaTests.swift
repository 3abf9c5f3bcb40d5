import Foundation
import Testing

@testable import HatcheryDaemon

/// Walks over every key that the tables have, so that a new key is tested the moment it exists.
@Suite struct ConfigurationSchemaTests {
    static let leaves = ConfigurationKey.leaves(of: Configuration().keys, template: true)
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A file that has nothing but `path`, one key a line, with `value`; and the line and column of the last key.
    private func document(_ path: String, lastKey: String? = nil, value: String) -> (yaml: String, line: Int, column: Int) {
        var lines: [String] = []
        var indent = ""
        let parts = path.split(separator: ".").map(String.init)
        for (index, part) in parts.enumerated() {
            if index > 0, parts[index - 1] == "rules" {
                lines.append(parts[index + 1] == "name" ? "- running: 5" : "- name: member")
                indent = "  "
                continue
            }
            if index > 0, parts[index - 1] == "zygotes" {
                // A zygote of a kind for which nothing else is required; the key under test may be `kind` itself.
                let kind = parts[index + 1] == "kind" ? [] : ["  kind: exec"]
                lines += parts[index + 1] == "name" ? kind.map { "- " + $0.dropFirst(2) } : ["- name: member"] + kind
                indent = "  "
                continue
            }
            let name = part == "NAME" ? "member" : part
            let isLast = index == parts.count - 1
            lines.append(indent + (isLast ? lastKey ?? name : name) + ":" + (isLast ? " " + value : ""))
            if part != "zygotes" && part != "rules" { indent += "  " }
        }
        let last = lines.last ?? ""
        return (lines.joined(separator: "\n"), lines.count, last.prefix { $0 == " " }.count + 1)
    }

    @Test(arguments: leaves.map(\.path))
    func aMisspelledKeyIsCaughtWithTheRightOne(path: String) {
        let key = String(path.split(separator: ".").last ?? "")
        let misspelled = key + "x"
        let (yaml, line, column) = document(path, lastKey: misspelled, value: "1")
        let error = ConfigurationErrorTests.refusal(of: yaml)
        #expect(error?.origin == .file("h.yaml", line: line, column: column), "\(yaml)")
        #expect(error?.message == "unknown key")
        #expect(error?.suggestion == key)
    }

    @Test(arguments: leaves)
    func aWrongTypeIsCaughtWhereItStands(leaf: ConfigurationKey.Leaf) {
        let key = String(leaf.path.split(separator: ".").last ?? "")
        // A list of lists is no value of any key, and a list none of a scalar's.
        let (yaml, line, column) = document(leaf.path, value: "[[]]")
        let error = ConfigurationErrorTests.refusal(of: yaml)
        let start = column + key.count + 2
        let isInside = error?.path.hasSuffix("[0]") ?? false
        #expect(error?.origin == .file("h.yaml", line: line, column: start + (isInside ? 1 : 0)), "\(yaml)")
        #expect(error?.message.hasPrefix("expected ") == true, "\(String(describing: error))")
    }

    @Test func everyDefaultReadsBackAsItself() throws {
        var overrides: [String] = []
        for leaf in ConfigurationKey.leaves(of: Configuration().keys) {
            // Keys of other kinds of zygote are refused on `exec`, whatever their value.
            if leaf.summary.hasPrefix("python:") || leaf.summary.hasPrefix("python, swift:") || leaf.summary.hasPrefix("swift:") { continue }
            overrides.append("\(leaf.path)=\(leaf.text.replacing("\"0660\"", with: "0660"))")
        }
        #expect(try Configuration(yaml: "", file: "h.yaml", overrides: overrides) == Configuration())
    }

    @Test func thePackagedExampleIsTheDefaults() throws {
        let path = Self.root.appendingPathComponent("packaging/hatchery.yaml").path
        let yaml = try String(contentsOfFile: path, encoding: .utf8)
        #expect(try Configuration(yaml: yaml, file: path) == Configuration())

        // With what is commented out switched on, it is still a configuration, and it shows every key. Prose has exactly
        // one space behind its mark; keys have none, or two and more.
        let lines = yaml.split(separator: "\n").map { line in
            line.replacing(/^( *)#(?! [^ ])/) { String($0.output.1) }
        }
        let full = lines.joined(separator: "\n")
        let configuration = try Configuration(yaml: full, file: path)
        #expect(configuration.zygotes.map(\.kind) == [.exec, .python, .swift])
        for leaf in Self.leaves {
            let key = leaf.path.split(separator: ".").last ?? ""
            #expect(full.contains("\(key):"), "\(leaf.path)")
        }
    }

    @Test func theDocumentationHasEveryKey() throws {
        let path = Self.root.appendingPathComponent("Docs/Configuration.md")
        let text = try String(contentsOf: path, encoding: .utf8)
        let rows = Self.leaves.map { leaf in
            let value = leaf.required ? "required" : "`\(leaf.text)`"
            let variable = EnvironmentNames.name(ofPath: leaf.path)
            return "| `\(leaf.path)` | \(leaf.type) | \(value) | `\(variable)` | \(leaf.summary) |"
        }
        let missing = rows.filter { !text.contains($0) }
        #expect(missing.isEmpty, "rows that Docs/Configuration.md lacks:\n\(missing.joined(separator: "\n"))")
    }
}
