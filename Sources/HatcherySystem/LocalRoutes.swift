import CHatchery
import Glibc
import HatcheryProtocol

/// What the host answers for itself: the destinations that its routing delivers to its own sockets (table `local` of rtnetlink(7)). It
/// holds every address of every interface, its broadcast and anycast addresses, and whole blocks where an operator made such.
public enum LocalRoutes {
    private static let table: UInt8 = 255  // RT_TABLE_LOCAL
    private static let kinds: Set<UInt8> = [2, 3, 4]  // RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST
    private static let newRoute: UInt16 = 24  // RTM_NEWROUTE
    private static let getRoute: UInt16 = 26  // RTM_GETROUTE
    private static let done: UInt16 = 3, failed: UInt16 = 2  // NLMSG_DONE, NLMSG_ERROR
    /// NLM_F_DUMP_INTR: the table changed between two parts of the answer, which is then no answer.
    private static let interrupted: UInt16 = 0x10
    private static let attempts = 16

    /// A descriptor, not blocking, that becomes readable when an address or a route of the calling thread's network namespace
    /// changes. What is read from it says no more than that.
    public static func changes() throws(SystemError) -> Descriptor {
        // RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
        try socket(groups: 0x10 | 0x40 | 0x100 | 0x400, flags: Int32(SOCK_NONBLOCK.rawValue))
    }

    /// The blocks of the calling thread's network namespace, IPv4 before IPv6, each once, in order.
    /// - Throws: EAGAIN where the table never stood still.
    public static func blocks() throws(SystemError) -> [IPBlock] {
        let socket = try socket(groups: 0, flags: 0)
        // With it the kernel leaves the other tables out, of which some have a million routes (NETLINK_GET_STRICT_CHK).
        var on: Int32 = 1
        _ = setsockopt(socket.raw, 270, 12, &on, socklen_t(MemoryLayout<Int32>.size))
        for _ in 0..<attempts {
            if let four = try dump(socket.raw, UInt8(AF_INET)), let six = try dump(socket.raw, UInt8(AF_INET6)) {
                return Array(Set(four)).sorted(by: precedes) + Array(Set(six)).sorted(by: precedes)
            }
        }
        throw SystemError("rtnetlink", errno: EAGAIN, subject: "the table of local addresses")
    }

    private static func precedes(_ one: IPBlock, _ other: IPBlock) -> Bool {
        (one.base.bytes + [one.prefix]).lexicographicallyPrecedes(other.base.bytes + [other.prefix])
    }

    private static func socket(groups: UInt32, flags: Int32) throws(SystemError) -> Descriptor {
        let raw = Glibc.socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | flags, 0)
        let descriptor = Descriptor(owning: try checkErrno(raw, "socket(AF_NETLINK)"))
        let bound = hatchery_netlink_bind(descriptor.raw, groups)
        try check(bound, "bind(AF_NETLINK)")
        return descriptor
    }

    /// nil where the answer is of no use, and another try may give one.
    private static func dump(_ socket: Int32, _ family: UInt8) throws(SystemError) -> [IPBlock]? {
        // rtm_family, the prefixes and the tos, rtm_table; NLM_F_DUMP is NLM_F_ROOT | NLM_F_MATCH.
        let question = NetlinkMessage(
            type: getRoute, flags: 0x300, fixed: [family, 0, 0, 0, table, 0, 0, 0] + [0, 0, 0, 0])
        try checkErrno(send(socket, question.bytes, question.bytes.count, 0), "send(AF_NETLINK)")
        var blocks: [IPBlock] = []
        var isWhole = true
        // The kernel's parts of a dump are at most this large.
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let length = recv(socket, &buffer, buffer.count, 0)
            if length < 0 && hatchery_errno() == EINTR { continue }
            try checkErrno(length, "recv(AF_NETLINK)")
            for part in NetlinkPart.parts(of: buffer[..<length]) {
                if part.flags & interrupted != 0 { isWhole = false }
                switch part.type {
                case done: return isWhole ? blocks : nil
                case failed:
                    let code = part.body.count >= 4 ? -Int32(bitPattern: NetlinkPart.word(part.body, 0)) : EPROTO
                    // A kernel without IPv6 has no such table.
                    if code == EAFNOSUPPORT || code == EOPNOTSUPP || code == ENOENT { return [] }
                    throw SystemError("rtnetlink", errno: code, subject: "the table of local addresses")
                case newRoute: if let block = block(part.body, family) { blocks.append(block) }
                default: break
                }
            }
        }
    }

    /// The destination of a route, where it is one of ours: an rtmsg and its attributes.
    private static func block(_ body: ArraySlice<UInt8>, _ family: UInt8) -> IPBlock? {
        guard body.count >= 12 else { return nil }
        let start = body.startIndex
        guard body[start] == family, body[start + 4] == table, kinds.contains(body[start + 7]) else { return nil }
        let destination = NetlinkPart.attributes(of: body.dropFirst(12)).first { $0.type == 1 }  // RTA_DST
        let size = family == UInt8(AF_INET) ? 4 : 16
        let bytes = destination.map { Array($0.value) } ?? [UInt8](repeating: 0, count: size)
        guard bytes.count == size, let address = IPAddress(bytes: bytes) else { return nil }
        return IPBlock("\(address)/\(body[start + 1])")
    }
}

/// One message of an answer, or one attribute.
struct NetlinkPart {
    var type: UInt16
    var flags: UInt16
    var body: ArraySlice<UInt8>

    /// The messages of what one recv(2) gave; what is cut off at the end is left out.
    static func parts(of bytes: ArraySlice<UInt8>) -> [NetlinkPart] {
        var parts: [NetlinkPart] = []
        var rest = bytes
        while rest.count >= 16 {
            let length = Int(word(rest, 0))
            guard (16...rest.count).contains(length) else { break }
            let kinds = word(rest, 4)
            parts.append(
                NetlinkPart(
                    type: UInt16(truncatingIfNeeded: kinds), flags: UInt16(truncatingIfNeeded: kinds >> 16),
                    body: rest.prefix(length).dropFirst(16)))
            rest = rest.dropFirst((length + 3) & ~3)
        }
        return parts
    }

    static func attributes(of bytes: ArraySlice<UInt8>) -> [(type: UInt16, value: ArraySlice<UInt8>)] {
        var attributes: [(type: UInt16, value: ArraySlice<UInt8>)] = []
        var rest = bytes
        while rest.count >= 4 {
            let head = word(rest, 0)
            let length = Int(head & 0xFFFF)
            guard (4...rest.count).contains(length) else { break }
            attributes.append((UInt16(head >> 16) & 0x3FFF, rest.prefix(length).dropFirst(4)))
            rest = rest.dropFirst((length + 3) & ~3)
        }
        return attributes
    }

    /// The 32 bits at an offset, in the machine's order.
    static func word(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> UInt32 {
        bytes.dropFirst(offset).withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
    }
}
