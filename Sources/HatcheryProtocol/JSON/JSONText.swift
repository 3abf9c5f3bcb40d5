/// Texts that are to be one JSON value (RFC 8259): whether they are, of which kind, and what it is.
public enum JSONText {
    public enum Kind: Sendable, Hashable { case object, array, string, number, literal }

    /// Every level of nesting is a level of our stack.
    public static let maximumDepth = 512

    /// nil where the text is not one JSON value.
    public static func kind(of text: String) -> Kind? { kind(of: Array(text.utf8)) }

    /// nil where the bytes are not UTF-8, or not one JSON value. Nothing is built: ten megabytes cost ten megabytes.
    public static func kind(of bytes: [UInt8]) -> Kind? { scan(bytes, keeps: false)?.kind }

    /// The value of the bytes; nil as of `kind`.
    public static func value(of bytes: [UInt8]) -> JSONValue? { scan(bytes, keeps: true) }

    /// A JSON text without its line ends. They stand between its parts alone: within a string they are escaped.
    public static func onOneLine(_ text: String) -> String {
        String(decoding: text.utf8.filter { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }, as: UTF8.self)
    }

    private static func scan(_ bytes: [UInt8], keeps: Bool) -> JSONValue? {
        guard String(validating: bytes, as: UTF8.self) != nil else { return nil }
        return bytes.withUnsafeBufferPointer { buffer in
            var scanner = JSONScanner(buffer, keeps: keeps)
            scanner.skipSpace()
            guard let value = scanner.value(depth: 0) else { return nil }
            scanner.skipSpace()
            return scanner.isAtEnd ? value : nil
        }
    }
}

/// A value as JSON knows them.
public enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A number without fraction and exponent that fits.
    case integer(Int64)
    /// Any other number; what is beyond a double's range is an infinity.
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Of a name that comes twice the last value counts.
    case object([String: JSONValue])

    public var kind: JSONText.Kind {
        switch self {
        case .null, .bool: .literal
        case .integer, .number: .number
        case .string: .string
        case .array: .array
        case .object: .object
        }
    }

    /// The member of an object; nil where there is none, and of every other kind.
    public subscript(name: String) -> JSONValue? {
        if case .object(let members) = self { members[name] } else { nil }
    }
}
