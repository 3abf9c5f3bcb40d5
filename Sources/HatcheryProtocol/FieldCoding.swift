/// The byte format of every body: a sequence of fields, each `tag: UInt16, length: UInt32, bytes`, little-endian.
///
/// Lengths come before contents and nothing is separated by characters, so that no value can be mistaken for structure
/// (CVE-2024-31317: a newline in a value injected commands into Android's zygote).
public struct FieldWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init() {}

    public mutating func append(tag: UInt16, bytes value: some Collection<UInt8>) {
        appendInteger(tag)
        appendInteger(UInt32(value.count))
        bytes.append(contentsOf: value)
    }

    public mutating func append(tag: UInt16, string: String) {
        append(tag: tag, bytes: Array(string.utf8))
    }

    public mutating func append<Value: FixedWidthInteger & Sendable>(tag: UInt16, integer: Value) {
        appendInteger(tag)
        appendInteger(UInt32(MemoryLayout<Value>.size))
        appendInteger(integer)
    }

    /// A field whose value is itself a sequence of fields.
    public mutating func append(tag: UInt16, nested build: (inout FieldWriter) -> Void) {
        var inner = FieldWriter()
        build(&inner)
        append(tag: tag, bytes: inner.bytes)
    }

    private mutating func appendInteger<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
}

/// Why bytes are not what the contract says.
public enum FieldError: Error, Sendable, Hashable, CustomStringConvertible {
    case truncatedHeader(offset: Int)
    case truncatedValue(tag: UInt16, announced: Int, available: Int)
    case wrongSize(tag: UInt16, expected: Int, actual: Int)
    case notUTF8(tag: UInt16)
    case containsNUL(tag: UInt16)
    case containsControl(tag: UInt16)
    case unknownTag(UInt16)
    case duplicate(tag: UInt16)
    case missing(tag: UInt16)
    case outOfRange(tag: UInt16, value: UInt64)
    case tooMany(tag: UInt16, limit: Int)
    case tooLong(tag: UInt16, limit: Int)

    public var description: String {
        switch self {
        case .truncatedHeader(let offset): "a field is cut off at byte \(offset)"
        case .truncatedValue(let tag, let announced, let available):
            "field \(tag) announces \(announced) bytes, but \(available) are left"
        case .wrongSize(let tag, let expected, let actual): "field \(tag) has \(actual) bytes instead of \(expected)"
        case .notUTF8(let tag): "field \(tag) is not UTF-8"
        case .containsNUL(let tag): "field \(tag) contains a NUL byte"
        case .containsControl(let tag): "field \(tag) contains a control character"
        case .unknownTag(let tag): "field \(tag) is unknown"
        case .duplicate(let tag): "field \(tag) comes twice"
        case .missing(let tag): "field \(tag) is missing"
        case .outOfRange(let tag, let value): "field \(tag) has the impossible value \(value)"
        case .tooMany(let tag, let limit): "field \(tag) comes more than \(limit) times"
        case .tooLong(let tag, let limit): "field \(tag) is longer than \(limit) bytes"
        }
    }
}

/// Walks over the fields of a body without copying. It does not outlive the bytes that it was given.
public struct FieldReader {
    /// One field: its tag and its bytes, still in place.
    public struct Field {
        public let tag: UInt16
        public let bytes: UnsafeRawBufferPointer

        public func integer<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws(FieldError) -> Value {
            guard bytes.count == MemoryLayout<Value>.size else {
                throw .wrongSize(tag: tag, expected: MemoryLayout<Value>.size, actual: bytes.count)
            }
            return Value(littleEndian: bytes.loadUnaligned(as: Value.self))
        }

        public func bool() throws(FieldError) -> Bool {
            let value: UInt8 = try integer()
            guard value <= 1 else { throw .outOfRange(tag: tag, value: UInt64(value)) }
            return value == 1
        }

        /// The bytes as text that can also be a C string: UTF-8 without NUL.
        public func string(limit: Int) throws(FieldError) -> String {
            guard bytes.count <= limit else { throw .tooLong(tag: tag, limit: limit) }
            guard !bytes.contains(0) else { throw .containsNUL(tag: tag) }
            guard let text = String(validating: bytes, as: UTF8.self) else { throw .notUTF8(tag: tag) }
            return text
        }
    }

    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    /// - Parameter bytes: must stay valid while the reader and its fields are used.
    public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The next field, or nil at the end.
    public mutating func next() throws(FieldError) -> Field? {
        let remaining = bytes.count - offset
        if remaining == 0 { return nil }
        guard remaining >= FieldReader.headerSize else { throw .truncatedHeader(offset: offset) }
        let tag = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
        let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt32.self)))
        guard length <= remaining - FieldReader.headerSize else {
            throw .truncatedValue(tag: tag, announced: length, available: remaining - FieldReader.headerSize)
        }
        let start = offset + FieldReader.headerSize
        offset = start + length
        return Field(tag: tag, bytes: UnsafeRawBufferPointer(rebasing: bytes[start..<offset]))
    }

    public static let headerSize = 6

    /// Reads the fields of an array; the reader lives as long as `body`.
    public static func reading<Result>(
        _ bytes: [UInt8], _ body: (FieldReader) throws(FieldError) -> Result
    ) throws(FieldError) -> Result {
        // Array.withUnsafeBytes rethrows untyped, so the typed error travels in a Result.
        let outcome: Swift.Result<Result, FieldError> = bytes.withUnsafeBytes { buffer in
            do throws(FieldError) {
                return .success(try body(FieldReader(buffer)))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }
}
