/// What a message between a client and hatcheryd is. Numbers are never reused.
public enum FrameKind: UInt16, Sendable, CaseIterable {
    // Requests.
    case hello = 1
    case spawn = 2
    case kill = 3
    case list = 4
    case zygotes = 5
    case ping = 6
    case reload = 7
    case lookUp = 8
    case logs = 20
    case statistics = 21

    // Replies. `welcome` answers hello, `failure` answers anything.
    case welcome = 101
    case spawned = 102
    case ended = 103
    case failure = 104
    case listing = 105
    case zygoteListing = 106
    case done = 107
    case logLines = 120
    case statisticsListing = 121
}

/// One message: 20 bytes of header, then fields. SOCK_SEQPACKET keeps it whole.
///
/// | offset | size | what |
/// |---|---|---|
/// | 0 | 4 | "HTCH" |
/// | 4 | 2 | version |
/// | 6 | 2 | kind |
/// | 8 | 4 | request number, chosen by the client, echoed in every answer |
/// | 12 | 4 | length of the body |
/// | 16 | 2 | number of descriptors that come with the message |
/// | 18 | 2 | zero |
public struct Frame: Sendable, Hashable {
    public static let version: UInt16 = 1
    public static let headerBytes = 20
    public static let magic: UInt32 = 0x4843_5448  // "HTCH", little-endian

    public var kind: FrameKind
    public var request: UInt32
    public var descriptorCount: UInt16
    public var body: [UInt8]

    public init(kind: FrameKind, request: UInt32, descriptorCount: Int = 0, body: [UInt8] = []) {
        self.kind = kind
        self.request = request
        self.descriptorCount = UInt16(descriptorCount)
        self.body = body
    }

    /// Why a message is not a frame.
    public enum Malformed: Error, Sendable, Hashable, CustomStringConvertible {
        case tooShort(bytes: Int)
        case tooLong(bytes: Int)
        case badMagic(UInt32)
        case unknownVersion(UInt16)
        case unknownKind(UInt16)
        case wrongLength(announced: UInt32, actual: Int)
        case reservedNotZero(UInt16)
        case wrongDescriptorCount(announced: Int, actual: Int)

        public var description: String {
            switch self {
            case .tooShort(let bytes): "a message of \(bytes) bytes is shorter than a header (\(Frame.headerBytes))"
            case .tooLong(let bytes): "a message of \(bytes) bytes is longer than the limit (\(WireLimits.frameBytes))"
            case .badMagic(let value): "the message does not start with HTCH but with 0x\(String(value, radix: 16))"
            case .unknownVersion(let value): "version \(value) is unknown; this side speaks \(Frame.version)"
            case .unknownKind(let value): "message kind \(value) is unknown"
            case .wrongLength(let announced, let actual): "the header announces \(announced) bytes, \(actual) came"
            case .reservedNotZero(let value): "the reserved field is \(value) instead of 0"
            case .wrongDescriptorCount(let announced, let actual):
                "the header announces \(announced) descriptors, \(actual) came"
            }
        }
    }

    /// Whether the body leaves room for the header in one message.
    public var fits: Bool { body.count <= WireLimits.frameBytes - Frame.headerBytes }

    public func encoded() -> [UInt8] {
        precondition(fits, "a frame's body is too long; the sender checks `fits`")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Frame.headerBytes + body.count)
        func put<Value: FixedWidthInteger>(_ value: Value) {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }
        put(Frame.magic)
        put(Frame.version)
        put(kind.rawValue)
        put(request)
        put(UInt32(body.count))
        put(descriptorCount)
        put(UInt16(0))
        bytes.append(contentsOf: body)
        return bytes
    }

    /// - Parameters:
    ///   - bytes: one whole message.
    ///   - descriptors: how many descriptors really came with it.
    public init(decoding bytes: [UInt8], descriptors: Int) throws(Malformed) {
        guard bytes.count >= Frame.headerBytes else { throw .tooShort(bytes: bytes.count) }
        guard bytes.count <= WireLimits.frameBytes else { throw .tooLong(bytes: bytes.count) }
        func integer<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type) -> Value {
            bytes.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
        }
        let magic = integer(0, UInt32.self)
        guard magic == Frame.magic else { throw .badMagic(magic) }
        let version = integer(4, UInt16.self)
        guard version == Frame.version else { throw .unknownVersion(version) }
        let length = integer(12, UInt32.self)
        guard Int(length) == bytes.count - Frame.headerBytes else {
            throw .wrongLength(announced: length, actual: bytes.count - Frame.headerBytes)
        }
        let reserved = integer(18, UInt16.self)
        guard reserved == 0 else { throw .reservedNotZero(reserved) }
        let announced = Int(integer(16, UInt16.self))
        guard announced == descriptors else {
            throw .wrongDescriptorCount(announced: announced, actual: descriptors)
        }
        let rawKind = integer(6, UInt16.self)
        guard let kind = FrameKind(rawValue: rawKind) else { throw .unknownKind(rawKind) }
        self.kind = kind
        self.request = integer(8, UInt32.self)
        self.descriptorCount = UInt16(announced)
        self.body = Array(bytes[Frame.headerBytes...])
    }
}
