struct JSONTreeDecoder: Decoder {
    let value: JSONValue
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .object(let members) = value else { throw mismatch([String: JSONValue].self, "an object") }
        return KeyedDecodingContainer(JSONKeyedReader<Key>(members: members, codingPath: codingPath))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .array(let items) = value else { throw mismatch([JSONValue].self, "an array") }
        return JSONArrayReader(items: items, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer { JSONSingleReader(decoder: self) }

    func decodeAny<Value: Decodable>(_ type: Value.Type) throws -> Value {
        guard let scalar = type as? any JSONScalar.Type else { return try type.init(from: self) }
        guard let decoded = scalar.init(json: value) as? Value else { throw mismatch(type, "\(type)") }
        return decoded
    }

    private func mismatch(_ type: Any.Type, _ expected: String) -> DecodingError {
        let found =
            switch value {
            case .integer(let number): "the number \(number)"
            case .number(let number): "the number \(number)"
            case .null: "null"
            default: "\(value.kind)"
            }
        return .typeMismatch(
            type, .init(codingPath: codingPath, debugDescription: "expected \(expected), found \(found)"))
    }
}

private struct JSONSingleReader: SingleValueDecodingContainer {
    let decoder: JSONTreeDecoder
    var codingPath: [any CodingKey] { decoder.codingPath }

    func decodeNil() -> Bool { decoder.value == .null }
    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try decoder.decodeAny(type) }
    func decode(_ type: Bool.Type) throws -> Bool { try decoder.decodeAny(type) }
    func decode(_ type: String.Type) throws -> String { try decoder.decodeAny(type) }
    func decode(_ type: Double.Type) throws -> Double { try decoder.decodeAny(type) }
    func decode(_ type: Float.Type) throws -> Float { try decoder.decodeAny(type) }
    func decode(_ type: Int.Type) throws -> Int { try decoder.decodeAny(type) }
    func decode(_ type: Int8.Type) throws -> Int8 { try decoder.decodeAny(type) }
    func decode(_ type: Int16.Type) throws -> Int16 { try decoder.decodeAny(type) }
    func decode(_ type: Int32.Type) throws -> Int32 { try decoder.decodeAny(type) }
    func decode(_ type: Int64.Type) throws -> Int64 { try decoder.decodeAny(type) }
    func decode(_ type: UInt.Type) throws -> UInt { try decoder.decodeAny(type) }
    func decode(_ type: UInt8.Type) throws -> UInt8 { try decoder.decodeAny(type) }
    func decode(_ type: UInt16.Type) throws -> UInt16 { try decoder.decodeAny(type) }
    func decode(_ type: UInt32.Type) throws -> UInt32 { try decoder.decodeAny(type) }
    func decode(_ type: UInt64.Type) throws -> UInt64 { try decoder.decodeAny(type) }
}

private struct JSONKeyedReader<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let members: [String: JSONValue]
    let codingPath: [any CodingKey]

    var allKeys: [Key] { members.keys.sorted().compactMap { Key(stringValue: $0) } }
    func contains(_ key: Key) -> Bool { members[key.stringValue] != nil }

    private func decoder(_ key: any CodingKey) throws -> JSONTreeDecoder {
        guard let value = members[key.stringValue] else {
            throw DecodingError.keyNotFound(
                key, .init(codingPath: codingPath, debugDescription: "\"\(key.stringValue)\" is missing"))
        }
        return JSONTreeDecoder(value: value, codingPath: codingPath + [key])
    }

    func decodeNil(forKey key: Key) throws -> Bool { try decoder(key).value == .null }
    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value { try decoder(key).decodeAny(type) }
    func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try decoder(key).decodeAny(type) }
    func decode(_ type: String.Type, forKey key: Key) throws -> String { try decoder(key).decodeAny(type) }
    func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try decoder(key).decodeAny(type) }
    func decode(_ type: Float.Type, forKey key: Key) throws -> Float { try decoder(key).decodeAny(type) }
    func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try decoder(key).decodeAny(type) }
    func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try decoder(key).decodeAny(type) }
    func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try decoder(key).decodeAny(type) }
    func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try decoder(key).decodeAny(type) }
    func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try decoder(key).decodeAny(type) }
    func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try decoder(key).decodeAny(type) }
    func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try decoder(key).decodeAny(type) }
    func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try decoder(key).decodeAny(type) }
    func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try decoder(key).decodeAny(type) }
    func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try decoder(key).decodeAny(type) }

    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<Nested> { try decoder(key).container(keyedBy: type) }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { try decoder(key).unkeyedContainer() }
    func superDecoder() throws -> any Decoder { try decoder(JSONKey.parent) }
    func superDecoder(forKey key: Key) throws -> any Decoder { try decoder(key) }
}

private struct JSONArrayReader: UnkeyedDecodingContainer {
    let items: [JSONValue]
    let codingPath: [any CodingKey]
    private(set) var currentIndex = 0

    init(items: [JSONValue], codingPath: [any CodingKey]) {
        self.items = items
        self.codingPath = codingPath
    }

    var count: Int? { items.count }
    var isAtEnd: Bool { currentIndex == items.count }

    private mutating func decoder() throws -> JSONTreeDecoder {
        let path = codingPath + [JSONKey(currentIndex)]
        guard !isAtEnd else {
            throw DecodingError.valueNotFound(
                JSONValue.self, .init(codingPath: path, debugDescription: "the array has \(items.count) elements"))
        }
        defer { currentIndex += 1 }
        return JSONTreeDecoder(value: items[currentIndex], codingPath: path)
    }

    mutating func decodeNil() throws -> Bool {
        guard !isAtEnd, items[currentIndex] == .null else { return false }
        currentIndex += 1
        return true
    }

    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try decoder().decodeAny(type) }
    mutating func decode(_ type: Bool.Type) throws -> Bool { try decoder().decodeAny(type) }
    mutating func decode(_ type: String.Type) throws -> String { try decoder().decodeAny(type) }
    mutating func decode(_ type: Double.Type) throws -> Double { try decoder().decodeAny(type) }
    mutating func decode(_ type: Float.Type) throws -> Float { try decoder().decodeAny(type) }
    mutating func decode(_ type: Int.Type) throws -> Int { try decoder().decodeAny(type) }
    mutating func decode(_ type: Int8.Type) throws -> Int8 { try decoder().decodeAny(type) }
    mutating func decode(_ type: Int16.Type) throws -> Int16 { try decoder().decodeAny(type) }
    mutating func decode(_ type: Int32.Type) throws -> Int32 { try decoder().decodeAny(type) }
    mutating func decode(_ type: Int64.Type) throws -> Int64 { try decoder().decodeAny(type) }
    mutating func decode(_ type: UInt.Type) throws -> UInt { try decoder().decodeAny(type) }
    mutating func decode(_ type: UInt8.Type) throws -> UInt8 { try decoder().decodeAny(type) }
    mutating func decode(_ type: UInt16.Type) throws -> UInt16 { try decoder().decodeAny(type) }
    mutating func decode(_ type: UInt32.Type) throws -> UInt32 { try decoder().decodeAny(type) }
    mutating func decode(_ type: UInt64.Type) throws -> UInt64 { try decoder().decodeAny(type) }

    mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
        try decoder().container(keyedBy: type)
    }
    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { try decoder().unkeyedContainer() }
    mutating func superDecoder() throws -> any Decoder { try decoder() }
}
