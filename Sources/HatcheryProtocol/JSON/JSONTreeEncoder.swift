/// A place in the tree that is being written.
final class JSONNode {
    enum Kind { case empty, scalar, array, object }

    private(set) var kind = Kind.empty
    /// As text.
    private var scalar = ""
    private var children: [(name: String?, node: JSONNode)] = []

    func set(_ json: String) {
        kind = .scalar
        scalar = json
    }

    /// What asks for a container first decides what this is.
    func become(_ container: Kind) {
        if kind == .empty { kind = container }
    }

    func child(_ name: String?) -> JSONNode {
        let node = JSONNode()
        children.append((name, node))
        return node
    }

    var count: Int { children.count }

    /// Something that encoded nothing at all is an empty object.
    func write(into writer: inout JSONWriter, key: String?) {
        func all(_ writer: inout JSONWriter) { for child in children { child.node.write(into: &writer, key: child.name) } }
        switch kind {
        case .scalar: writer.verbatim(key, scalar)
        case .array: writer.array(key, all)
        case .object, .empty: writer.object(key, all)
        }
    }
}

struct JSONTreeEncoder: Encoder {
    let node: JSONNode
    var codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        node.become(.object)
        return KeyedEncodingContainer(JSONKeyedWriter<Key>(node: node, codingPath: codingPath))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        node.become(.array)
        return JSONArrayWriter(node: node, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { JSONSingleWriter(encoder: self) }

    func encodeAny(_ value: some Encodable) throws {
        guard let scalar = value as? any JSONScalar else { return try value.encode(to: self) }
        guard let json = scalar.json else {
            throw EncodingError.invalidValue(
                value, .init(codingPath: codingPath, debugDescription: "JSON has no form for \(value)"))
        }
        node.set(json)
    }
}

private struct JSONSingleWriter: SingleValueEncodingContainer {
    let encoder: JSONTreeEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }

    mutating func encodeNil() throws { encoder.node.set("null") }
    mutating func encode<Value: Encodable>(_ value: Value) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Bool) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: String) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Double) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Float) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Int) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Int8) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Int16) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Int32) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: Int64) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: UInt) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: UInt8) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: UInt16) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: UInt32) throws { try encoder.encodeAny(value) }
    mutating func encode(_ value: UInt64) throws { try encoder.encodeAny(value) }
}

private struct JSONKeyedWriter<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let node: JSONNode
    let codingPath: [any CodingKey]

    private func encoder(_ key: any CodingKey) -> JSONTreeEncoder {
        JSONTreeEncoder(node: node.child(key.stringValue), codingPath: codingPath + [key])
    }

    mutating func encodeNil(forKey key: Key) throws { encoder(key).node.set("null") }
    mutating func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Bool, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: String, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Double, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Float, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Int, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Int8, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Int16, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Int32, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: Int64, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: UInt, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: UInt8, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: UInt16, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: UInt32, forKey key: Key) throws { try encoder(key).encodeAny(value) }
    mutating func encode(_ value: UInt64, forKey key: Key) throws { try encoder(key).encodeAny(value) }

    mutating func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> { encoder(key).container(keyedBy: type) }
    mutating func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer { encoder(key).unkeyedContainer() }
    mutating func superEncoder() -> any Encoder { encoder(JSONKey.parent) }
    mutating func superEncoder(forKey key: Key) -> any Encoder { encoder(key) }
}

private struct JSONArrayWriter: UnkeyedEncodingContainer {
    let node: JSONNode
    let codingPath: [any CodingKey]
    var count: Int { node.count }

    private func encoder() -> JSONTreeEncoder {
        let index = count
        return JSONTreeEncoder(node: node.child(nil), codingPath: codingPath + [JSONKey(index)])
    }

    mutating func encodeNil() throws { encoder().node.set("null") }
    mutating func encode<Value: Encodable>(_ value: Value) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Bool) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: String) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Double) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Float) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Int) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Int8) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Int16) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Int32) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: Int64) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: UInt) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: UInt8) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: UInt16) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: UInt32) throws { try encoder().encodeAny(value) }
    mutating func encode(_ value: UInt64) throws { try encoder().encodeAny(value) }

    mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        encoder().container(keyedBy: type)
    }
    mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { encoder().unkeyedContainer() }
    mutating func superEncoder() -> any Encoder { encoder() }
}
