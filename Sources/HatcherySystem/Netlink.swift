import CHatchery
import Glibc

/// One rtnetlink request, rtnetlink(7): a header, a fixed part, attributes.
public struct NetlinkMessage: Sendable {
    private(set) var bytes: [UInt8]

    /// - Parameter fixed: the ifinfomsg, ifaddrmsg, rtmsg or ndmsg of the type.
    init(type: UInt16, flags: UInt16 = 0, fixed: [UInt8]) {
        bytes = []
        // The length is known at the end.
        append(UInt32(0))
        append(type)
        append(flags | NetlinkMessage.request | NetlinkMessage.acknowledge)
        append(UInt32(0))
        append(UInt32(0))
        bytes += fixed
        close(at: 0, UInt32.self)
    }

    static let request: UInt16 = 0x1
    static let acknowledge: UInt16 = 0x4
    static let replace: UInt16 = 0x100
    static let exclusive: UInt16 = 0x200
    static let create: UInt16 = 0x400

    mutating func attribute(_ type: UInt16, _ value: [UInt8]) {
        nested(type) { $0.bytes += value }
    }

    mutating func attribute(_ type: UInt16, _ value: UInt32) {
        nested(type) { $0.append(value) }
    }

    mutating func attribute(_ type: UInt16, _ value: String) {
        attribute(type, Array(value.utf8) + [0])
    }

    mutating func nested(_ type: UInt16, _ body: (inout NetlinkMessage) -> Void) {
        let start = bytes.count
        append(UInt16(0))
        append(type)
        body(&self)
        close(at: start, UInt16.self)
        while bytes.count % 4 != 0 { bytes.append(0) }
        close(at: 0, UInt32.self)
    }

    mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    /// Writes how much has come since `start` into the length that stands there.
    private mutating func close<Length: FixedWidthInteger>(at start: Int, _: Length.Type) {
        let length = Length(bytes.count - start)
        withUnsafeBytes(of: length) { for (offset, byte) in $0.enumerated() { bytes[start + offset] = byte } }
    }
}

/// A conversation with the network stack of the namespace that the calling thread was in when it was opened.
public struct NetlinkSocket: ~Copyable, Sendable {
    private let descriptor: Descriptor

    public init() throws(SystemError) {
        let raw = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        descriptor = Descriptor(owning: try checkErrno(raw, "socket(AF_NETLINK)"))
    }

    /// Has all of them done, in order, in one system call.
    /// - Throws: the errno of the first that was refused; those behind it were tried all the same.
    public borrowing func perform(_ messages: [NetlinkMessage]) throws(SystemError) {
        let bytes = messages.flatMap(\.bytes)
        try checkErrno(send(descriptor.raw, bytes, bytes.count, 0), "send(AF_NETLINK)")
        var answers = 0
        var refused: Int32 = 0
        var buffer = [UInt8](repeating: 0, count: 8192)
        while answers < messages.count {
            let length = recv(descriptor.raw, &buffer, buffer.count, 0)
            if length < 0 && hatchery_errno() == EINTR { continue }
            try checkErrno(length, "recv(AF_NETLINK)")
            for code in NetlinkSocket.results(buffer[..<length]) {
                answers += 1
                if refused == 0 { refused = code }
            }
        }
        if refused != 0 { throw SystemError("rtnetlink", errno: refused) }
    }

    /// The errno of each acknowledgement, 0 for success (NLMSG_ERROR).
    private static func results(_ bytes: ArraySlice<UInt8>) -> [Int32] {
        var results: [Int32] = []
        var offset = bytes.startIndex
        func word(_ at: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << (8 * UInt32($1)) }
        }
        while offset + 20 <= bytes.endIndex {
            let length = Int(word(offset))
            let type = word(offset + 4) & 0xFFFF
            if length < 20 || type != 2 { break }
            results.append(-Int32(bitPattern: word(offset + 16)))
            offset += (length + 3) & ~3
        }
        return results
    }
}
