import HatcheryProtocol

/// How a leaf is read and written.
package struct ValueCodec<Value: Sendable>: Sendable {
    /// What to write there, for errors ("expected …") and for the documentation.
    package let type: String
    package let form: ConfigurationKey.Form
    package let format: @Sendable (Value) -> String
    private let decodeNode: @Sendable (SourceNode, String) throws(ConfigurationError) -> Value

    package init(
        type: String, form: ConfigurationKey.Form, format: @escaping @Sendable (Value) -> String,
        decode: @escaping @Sendable (SourceNode, String) throws(ConfigurationError) -> Value
    ) {
        self.type = type
        self.form = form
        self.format = format
        self.decodeNode = decode
    }

    /// - Parameter read: the value; nil where the node is of another type; the sentence that says why the value is impossible.
    package init(
        type: String, format: @escaping @Sendable (Value) -> String,
        read: @escaping @Sendable (SourceNode) throws(ValueTextError) -> Value?
    ) {
        self.init(type: type, form: .scalar, format: format) { node, path throws(ConfigurationError) in
            do throws(ValueTextError) {
                if let value = try read(node) { return value }
            } catch {
                throw ConfigurationError(origin: node.origin, path: path, message: error.description)
            }
            throw wrongType(node, path: path, expected: type)
        }
    }

    package func decode(_ node: SourceNode, path: String) throws(ConfigurationError) -> Value { try decodeNode(node, path) }

    /// The same type, where writing nothing, or the word `absence`, means nil.
    package func optional(absence: String) -> ValueCodec<Value?> {
        ValueCodec<Value?>(
            type: "\(type), or \(absence)", form: form, format: { $0.map(format) ?? absence }
        ) { node, path throws(ConfigurationError) in
            switch node.content {
            case .nothing, .scalar(absence, isQuoted: false): nil
            default: try decode(node, path: path)
            }
        }
    }

    /// The same type with fewer values; `problem` says what is wrong with one that is not among them.
    package func refined(_ type: String, _ problem: @escaping @Sendable (Value) -> String?) -> ValueCodec {
        ValueCodec(type: type, form: form, format: format) { node, path throws(ConfigurationError) in
            let value: Value
            do throws(ConfigurationError) {
                value = try decode(node, path: path)
            } catch {
                // Of two names for a type the narrower one helps.
                guard error.message == wrongType(node, path: path, expected: self.type).message else { throw error }
                throw wrongType(node, path: path, expected: type)
            }
            guard let sentence = problem(value) else { return value }
            throw ConfigurationError(origin: node.origin, path: path, message: sentence)
        }
    }
}

package func wrongType(_ node: SourceNode, path: String, expected type: String) -> ConfigurationError {
    ConfigurationError(origin: node.origin, path: path, message: "expected \(type), found \(node.found)")
}

// MARK: - Scalars

extension ValueCodec where Value == String {
    /// Any text that can be a C string, quoted or not. The kernel reads arguments and names up to the first NUL, and what
    /// was checked must be what is used.
    package static let text = ValueCodec(type: "a text", format: quoted) { node throws(ValueTextError) in
        guard case .scalar(let text, _) = node.content else { return nil }
        guard !text.utf8.contains(0) else { throw ValueTextError("the text contains a NUL character") }
        return text
    }

    /// Absolute, without `..`, so that the path that was reviewed is the path that is opened.
    package static let absolutePath = text.refined("an absolute path") { path in
        guard path.hasPrefix("/") else { return "'\(path)' is not an absolute path" }
        guard !path.split(separator: "/").contains("..") else { return "the path '\(path)' contains '..'" }
        return path.utf8.count < 4096 ? nil : "a path has fewer than 4096 bytes"
    }
}

extension ValueCodec where Value == Bool {
    package static let truth = ValueCodec(type: "true or false", format: { $0 ? "true" : "false" }) { node throws(ValueTextError) in
        switch node.content {
        case .scalar("true", isQuoted: false): true
        case .scalar("false", isQuoted: false): false
        default: nil
        }
    }
}

extension ValueCodec where Value == UInt32 {
    package static func number(_ range: ClosedRange<UInt32>) -> ValueCodec {
        ValueCodec(type: "a whole number", format: { "\($0)" }) { node throws(ValueTextError) in
            guard case .scalar(let text, isQuoted: false) = node.content, !text.isEmpty,
                text.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") })
            else { return nil }
            guard let value = UInt32(text), range.contains(value) else {
                throw ValueTextError("\(text) is not between \(range.lowerBound) and \(range.upperBound)")
            }
            return value
        }
    }

    /// Octal digits, quoted or not: to YAML 1.1 a plain 0660 is 432, to YAML 1.2 it is 660, and to us it is the text that
    /// chmod takes.
    package static let fileMode = ValueCodec(type: "a file mode in octal, such as \"0660\"", format: formatMode) {
        node throws(ValueTextError) in
        guard case .scalar(let text, _) = node.content, let mode = UInt32(text, radix: 8), !text.hasPrefix("+"),
            (3...4).contains(text.utf8.count)
        else { return nil }
        guard mode <= 0o777 else { throw ValueTextError("the mode \(text) has bits beside read, write and execute") }
        guard mode & 0o222 != 0 else { throw ValueTextError("nobody can connect to a socket with mode \(text)") }
        return mode
    }

    private static func formatMode(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return "\"" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits + "\""
    }
}

extension ValueCodec where Value == Double {
    /// A decimal number, such as `1.5`: no exponents, no infinity.
    package static func decimal(_ range: ClosedRange<Double>) -> ValueCodec {
        ValueCodec(type: "a number", format: formatDecimal) { node throws(ValueTextError) in
            guard case .scalar(let text, isQuoted: false) = node.content, let value = Double(text),
                text.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") || $0 == UInt8(ascii: ".") })
            else { return nil }
            guard range.contains(value) else {
                throw ValueTextError(
                    "\(text) is not between \(formatDecimal(range.lowerBound)) and \(formatDecimal(range.upperBound))")
            }
            return value
        }
    }

    private static func formatDecimal(_ value: Double) -> String {
        value == value.rounded() && value.magnitude < 1e15 ? "\(Int64(value))" : "\(value)"
    }
}

extension ValueCodec where Value == UInt64 {
    package static func size(_ range: ClosedRange<UInt64>) -> ValueCodec {
        ValueCodec(type: "a size, such as 512M", format: ByteSize.format) { node throws(ValueTextError) in
            guard case .scalar(let text, isQuoted: false) = node.content else { return nil }
            let value = try ByteSize.parse(text)
            guard range.contains(value) else {
                throw ValueTextError(
                    "\(text) is not between \(ByteSize.format(range.lowerBound)) and \(ByteSize.format(range.upperBound))")
            }
            return value
        }
    }
}

extension ValueCodec where Value == Duration {
    package static func duration(_ range: ClosedRange<Duration>) -> ValueCodec {
        ValueCodec(type: "a duration, such as 30s", format: DurationText.format) { node throws(ValueTextError) in
            guard case .scalar(let text, isQuoted: false) = node.content else { return nil }
            let value = try DurationText.parse(text)
            guard range.contains(value) else {
                throw ValueTextError(
                    "\(text) is not between \(DurationText.format(range.lowerBound)) and "
                        + DurationText.format(range.upperBound))
            }
            return value
        }
    }
}

extension ValueCodec where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One word of a fixed set.
    package static var choice: ValueCodec {
        let words = Value.allCases.map(\.rawValue)
        let type = "one of \(words.joined(separator: ", "))"
        return ValueCodec(type: type, format: { $0.rawValue }) { node throws(ValueTextError) in
            guard case .scalar(let text, _) = node.content else { return nil }
            if let value = Value(rawValue: text) { return value }
            let meant = nearestName(to: text, in: words).map { "; did you mean '\($0)'?" } ?? ""
            throw ValueTextError("'\(text)' is not \(type)\(meant)")
        }
    }
}
