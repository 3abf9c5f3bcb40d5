import Glibc
import HatcheryProtocol

/// Interfaces, addresses, routes and neighbours, as requests to the network stack.
public enum Links {
    /// One end of a pair of virtual Ethernet devices, veth(4).
    public struct End: Sendable {
        /// 0 lets the kernel choose.
        public var index: Int32
        public var name: String
        public var linkAddress: [UInt8]
        /// The network namespace that it is born in; nil for the socket's own.
        public var namespace: Int32?
        public var isUp: Bool

        public init(index: Int32, name: String, linkAddress: [UInt8], namespace: Int32? = nil, isUp: Bool = false) {
            self.index = index
            self.name = name
            self.linkAddress = linkAddress
            self.namespace = namespace
            self.isUp = isUp
        }
    }

    private static let newLink: UInt16 = 16
    private static let newAddress: UInt16 = 20
    private static let newRoute: UInt16 = 24
    private static let newNeighbour: UInt16 = 28
    private static let up: UInt32 = 1  // IFF_UP

    /// Both ends at once, each where it belongs. A device that is moved later costs the kernel a grace period of RCU, 20 ms where
    /// making one costs 0.5 ms.
    public static func pair(_ end: End, _ peer: End, mtu: UInt32) -> NetlinkMessage {
        var message = NetlinkMessage(
            type: newLink, flags: NetlinkMessage.create | NetlinkMessage.exclusive, fixed: information(end))
        describe(end, mtu, &message)
        message.nested(18) { information in  // IFLA_LINKINFO
            information.attribute(1, "veth")  // IFLA_INFO_KIND
            information.nested(2) { data in  // IFLA_INFO_DATA
                data.nested(1) { body in  // VETH_INFO_PEER
                    for byte in Links.information(peer) { body.append(byte) }
                    describe(peer, mtu, &body)
                }
            }
        }
        return message
    }

    private static func describe(_ end: End, _ mtu: UInt32, _ message: inout NetlinkMessage) {
        message.attribute(3, end.name)  // IFLA_IFNAME
        message.attribute(1, end.linkAddress)  // IFLA_ADDRESS
        message.attribute(4, mtu)  // IFLA_MTU
        if let namespace = end.namespace { message.attribute(28, UInt32(namespace)) }  // IFLA_NET_NS_FD
    }

    /// The ifinfomsg of an end.
    private static func information(_ end: End) -> [UInt8] { information(index: end.index, isUp: end.isUp) }

    private static func information(index: Int32, isUp: Bool) -> [UInt8] {
        [0, 0, 0, 0] + word(UInt32(bitPattern: index)) + word(isUp ? up : 0) + word(isUp ? up : 0)
    }

    /// Brings an interface up.
    public static func bringUp(_ index: Int32) -> NetlinkMessage {
        NetlinkMessage(type: newLink, fixed: information(index: index, isUp: true))
    }

    /// - Parameter bytes: the largest packet of the interface.
    public static func mtu(_ bytes: UInt32, of index: Int32) -> NetlinkMessage {
        var message = NetlinkMessage(type: newLink, fixed: information(index: index, isUp: false))
        message.attribute(4, bytes)  // IFLA_MTU
        return message
    }

    /// Takes a device away, and with one end of a pair the other. When it is done, it is done.
    public static func remove(_ index: Int32) -> NetlinkMessage {
        NetlinkMessage(type: 17, fixed: information(index: index, isUp: false))  // RTM_DELLINK
    }

    /// No address of IPv6 that nobody gave. EAFNOSUPPORT or EOPNOTSUPP where the kernel has no IPv6.
    public static func withoutLinkLocalAddress(_ index: Int32) -> NetlinkMessage {
        var message = NetlinkMessage(type: newLink, fixed: information(index: index, isUp: false))
        message.nested(26) { specification in  // IFLA_AF_SPEC
            specification.nested(UInt16(AF_INET6)) { $0.attribute(8, [1]) }  // IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE
        }
        return message
    }

    public static func address(_ address: IPAddress, prefix: UInt8, on index: Int32) -> NetlinkMessage {
        // Nobody else can have it: no duplicate address detection, which would take a second (IFA_F_NODAD).
        let flags: UInt8 = address.isVersion6 ? 2 : 0
        var message = NetlinkMessage(
            type: newAddress, flags: NetlinkMessage.create | NetlinkMessage.exclusive,
            fixed: [address.family, prefix, flags, 0] + word(UInt32(bitPattern: index)))
        message.attribute(2, address.bytes)  // IFA_LOCAL
        message.attribute(1, address.bytes)  // IFA_ADDRESS
        return message
    }

    /// - Parameter destination: nil for the default route.
    public static func route(
        to destination: (address: IPAddress, prefix: UInt8)?, via gateway: IPAddress? = nil, on index: Int32, family: UInt8
    ) -> NetlinkMessage {
        let scope: UInt8 = gateway == nil && family == UInt8(AF_INET) ? 253 : 0  // RT_SCOPE_LINK, RT_SCOPE_UNIVERSE
        var message = NetlinkMessage(
            type: newRoute, flags: NetlinkMessage.create | NetlinkMessage.replace,
            // RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST
            fixed: [family, destination?.prefix ?? 0, 0, 0, 254, 4, scope, 1] + word(0))
        if let destination { message.attribute(1, destination.address.bytes) }  // RTA_DST
        if let gateway { message.attribute(5, gateway.bytes) }  // RTA_GATEWAY
        message.attribute(4, UInt32(bitPattern: index))  // RTA_OIF
        return message
    }

    /// A neighbour that is never asked for and never forgotten (NUD_PERMANENT).
    public static func neighbour(_ address: IPAddress, _ linkAddress: [UInt8], on index: Int32) -> NetlinkMessage {
        var message = NetlinkMessage(
            type: newNeighbour, flags: NetlinkMessage.create | NetlinkMessage.replace,
            fixed: [address.family, 0, 0, 0] + word(UInt32(bitPattern: index)) + [0x80, 0, 0, 0])
        message.attribute(1, address.bytes)  // NDA_DST
        message.attribute(2, linkAddress)  // NDA_LLADDR
        return message
    }

    private static func word(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }
}
