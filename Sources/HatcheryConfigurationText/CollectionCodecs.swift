extension ValueCodec {
    /// A list of `element`, or one alone.
    package static func list<Element: Sendable>(orOne element: ValueCodec<Element>) -> ValueCodec where Value == [Element] {
        let list = ValueCodec.list(of: element)
        return ValueCodec(type: "\(list.type), or one alone", form: .list, format: list.format) {
            node, path throws(ConfigurationError) in
            if case .scalar = node.content { return [try element.decode(node, path: path)] }
            return try list.decode(node, path: path)
        }
    }

    /// A list of `element`.
    package static func list<Element: Sendable>(of element: ValueCodec<Element>) -> ValueCodec where Value == [Element] {
        ValueCodec(
            type: "a list, each \(element.type)", form: .list,
            format: { "[" + $0.map(element.format).joined(separator: ", ") + "]" }
        ) { node, path throws(ConfigurationError) in
            guard case .sequence(let nodes) = node.content else {
                throw wrongType(node, path: path, expected: "a list, each \(element.type)")
            }
            var values: [Element] = []
            for (index, node) in nodes.enumerated() {
                values.append(try element.decode(node, path: "\(path)[\(index)]"))
            }
            return values
        }
    }
}

extension ValueCodec where Value == [String: String] {
    /// Environment variables. The value may look like a number; it is the text that counts.
    package static let environment = ValueCodec(
        type: "a mapping of variables to texts", form: .mapping, format: formatEnvironment
    ) { node, path throws(ConfigurationError) in
        guard let entries = node.entries else {
            throw wrongType(node, path: path, expected: "a mapping of variables to texts")
        }
        var variables: [String: String] = [:]
        for entry in entries {
            let variablePath = joinPath(path, entry.key)
            guard isVariableName(entry.key) else {
                throw ConfigurationError(
                    origin: entry.keyOrigin, path: variablePath, message: "not the name of an environment variable")
            }
            if case .nothing = entry.value.content {
                throw ConfigurationError(
                    origin: entry.value.origin, path: variablePath,
                    message: "the variable has no value; write \"\" for an empty one")
            }
            variables[entry.key] = try ValueCodec<String>.text.decode(entry.value, path: variablePath)
        }
        return variables
    }

    private static func formatEnvironment(_ variables: [String: String]) -> String {
        let pairs = variables.sorted { $0.key < $1.key }.map { "\($0.key): \(quoted($0.value))" }
        return "{" + pairs.joined(separator: ", ") + "}"
    }

    private static func isVariableName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
        return name.utf8.count <= 256 && name.utf8.allSatisfy(isWordByte)
    }
}

/// Letters, digits and underscores of ASCII.
package func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
    default: false
    }
}

/// A text as YAML: plain where that is safe inside a flow collection, in double quotes elsewhere.
package func quoted(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { isWordByte($0) || "/.-+".utf8.contains($0) }
    let isRead = ["", "~", "null", "Null", "NULL", "-", "---", "..."].contains(text) || text.hasPrefix("- ")
    if isPlain && !isRead { return text }
    var escaped = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": escaped += "\\\""
        case "\\": escaped += "\\\\"
        case "\n": escaped += "\\n"
        case "\t": escaped += "\\t"
        case _ where scalar.value < 0x20 || scalar.value == 0x7F:
            let digits = String(scalar.value, radix: 16)
            escaped += "\\x" + (digits.count == 1 ? "0" : "") + digits
        default: escaped.unicodeScalars.append(scalar)
        }
    }
    return escaped + "\""
}
