/// What the init of a networked sandbox gives its interface (step 42), and where names are asked for.
public struct NetworkSetup: Sendable, Hashable {
    /// One for each version of IP that goes out.
    public struct Route: Sendable, Hashable {
        public var address: IPAddress
        public var gateway: IPAddress

        public init(address: IPAddress, gateway: IPAddress) {
            self.address = address
            self.gateway = gateway
        }
    }

    /// Where the front put the sandbox's end of the pair.
    public static let interfaceIndex: Int32 = 2
    public static let interfaceName = "eth0"

    public var routes: [Route]
    /// Link addresses of both ends: fixed, so that neither has to ask for the other's.
    public var linkAddress: [UInt8]
    public var gatewayLinkAddress: [UInt8]
    /// The whole text of /etc/resolv.conf.
    public var resolver: String

    public init(routes: [Route], linkAddress: [UInt8], gatewayLinkAddress: [UInt8], resolver: String) {
        self.routes = routes
        self.linkAddress = linkAddress
        self.gatewayLinkAddress = gatewayLinkAddress
        self.resolver = resolver
    }
}

extension NetworkSetup {
    private enum Tag {
        static let address: UInt16 = 1
        static let gateway: UInt16 = 2
        static let linkAddress: UInt16 = 3
        static let gatewayLinkAddress: UInt16 = 4
        static let resolver: UInt16 = 5
    }

    func encode(into writer: inout FieldWriter) {
        for route in routes {
            writer.append(tag: Tag.address, bytes: route.address.bytes)
            writer.append(tag: Tag.gateway, bytes: route.gateway.bytes)
        }
        writer.append(tag: Tag.linkAddress, bytes: linkAddress)
        writer.append(tag: Tag.gatewayLinkAddress, bytes: gatewayLinkAddress)
        writer.append(tag: Tag.resolver, string: resolver)
    }

    init(decoding bytes: UnsafeRawBufferPointer) throws(FieldError) {
        var reader = FieldReader(bytes)
        self.init(routes: [], linkAddress: [], gatewayLinkAddress: [], resolver: "")
        var address: IPAddress?
        while let field = try reader.next() {
            switch field.tag {
            case Tag.address: address = IPAddress(bytes: Array(field.bytes))
            case Tag.gateway:
                guard let own = address, let gateway = IPAddress(bytes: Array(field.bytes)) else {
                    throw .outOfRange(tag: field.tag, value: UInt64(field.bytes.count))
                }
                routes.append(Route(address: own, gateway: gateway))
            case Tag.linkAddress: linkAddress = Array(field.bytes)
            case Tag.gatewayLinkAddress: gatewayLinkAddress = Array(field.bytes)
            case Tag.resolver: resolver = try field.string(limit: WireLimits.pathBytes)
            default: throw .unknownTag(field.tag)
            }
        }
    }
}
