/// Codable values as JSON. What a call takes and returns travels so, and neither the command line nor a zygote links
/// Foundation: its coders would cost a child more time than its whole spawn.
///
/// The forms are those of Foundation's JSONEncoder and JSONDecoder with their defaults, but for the types that those treat specially: Data is an array of numbers here, URL and Decimal what their own `encode(to:)` says.
public enum JSON {
    /// - Throws: EncodingError, for an infinite number for example.
    public static func text(of value: some Encodable) throws -> String {
        let node = JSONNode()
        try JSONTreeEncoder(node: node, codingPath: []).encodeAny(value)
        var writer = JSONWriter()
        node.write(into: &writer, key: nil)
        return writer.text
    }

    /// A value that was read, as text on one line.
    public static func text(of value: JSONValue) -> String {
        var writer = JSONWriter()
        write(value, into: &writer, key: nil)
        return writer.text
    }

    private static func write(_ value: JSONValue, into writer: inout JSONWriter, key: String?) {
        switch value {
        case .null: writer.verbatim(key, "null")
        case .bool(let value): writer.bool(key, value)
        case .integer(let value): writer.integer(key, value)
        case .number(let value): writer.number(key, value)
        case .string(let value): writer.string(key, value)
        case .array(let items): writer.array(key) { writer in for item in items { write(item, into: &writer, key: nil) } }
        case .object(let members):
            writer.object(key) { writer in
                for (name, value) in members.sorted(by: { $0.key < $1.key }) { write(value, into: &writer, key: name) }
            }
        }
    }

    /// - Throws: DecodingError; `describe` makes a line of it.
    public static func decode<Value: Decodable>(_ type: Value.Type, from value: JSONValue) throws -> Value {
        try JSONTreeDecoder(value: value, codingPath: []).decodeAny(type)
    }

    /// An error of either coder in one line; any other as it describes itself.
    public static func describe(_ error: any Error) -> String {
        func line(_ path: [any CodingKey], _ text: String) -> String {
            let place = path.map { key in key.intValue.map { "[\($0)]" } ?? "." + key.stringValue }.joined()
            return place.isEmpty ? text : "\(place): \(text)"
        }
        switch error {
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
            DecodingError.dataCorrupted(let context):
            return line(context.codingPath, context.debugDescription)
        case DecodingError.keyNotFound(let key, let context):
            return line(context.codingPath, "\"\(key.stringValue)\" is missing")
        case EncodingError.invalidValue(_, let context): return line(context.codingPath, context.debugDescription)
        default: return "\(error)"
        }
    }
}

/// What JSON has a form of its own for.
protocol JSONScalar {
    /// nil where JSON has none for this value.
    var json: String? { get }
    init?(json: JSONValue)
}

extension Bool: JSONScalar {
    var json: String? { self ? "true" : "false" }
    init?(json: JSONValue) {
        guard case .bool(let value) = json else { return nil }
        self = value
    }
}

extension String: JSONScalar {
    var json: String? {
        var writer = JSONWriter()
        writer.string(nil, self)
        return writer.text
    }
    init?(json: JSONValue) {
        guard case .string(let value) = json else { return nil }
        self = value
    }
}

extension JSONScalar where Self: FixedWidthInteger {
    var json: String? { String(self) }
    init?(json: JSONValue) {
        switch json {
        case .integer(let value): self.init(exactly: value)
        // 2.0 and 1e3 are integers too. Above 2^53 the double has been rounded: better no number than another one.
        case .number(let value) where abs(value) <= 0x1p53: self.init(exactly: value)
        default: return nil
        }
    }
}

extension JSONScalar where Self: BinaryFloatingPoint {
    var json: String? { isFinite ? "\(self)" : nil }
    init?(json: JSONValue) {
        switch json {
        case .integer(let value): self.init(value)
        case .number(let value) where value.isFinite: self.init(value)
        default: return nil
        }
    }
}

extension Int: JSONScalar {}
extension Int8: JSONScalar {}
extension Int16: JSONScalar {}
extension Int32: JSONScalar {}
extension Int64: JSONScalar {}
extension UInt: JSONScalar {}
extension UInt8: JSONScalar {}
extension UInt16: JSONScalar {}
extension UInt32: JSONScalar {}
extension UInt64: JSONScalar {}
extension Float: JSONScalar {}
extension Double: JSONScalar {}

/// A place in an array, or the name that superEncoder takes.
struct JSONKey: CodingKey {
    var stringValue: String
    var intValue: Int?

    init(_ index: Int) {
        stringValue = "\(index)"
        intValue = index
    }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { self.init(intValue) }

    static let parent = JSONKey(stringValue: "super")
}
