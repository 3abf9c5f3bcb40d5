import HatcheryProtocol

/// The network behind address translation, for profiles and requests with `nat`. Docs/Network.md tells what is made of it.
public struct NatConfiguration: Sendable, Equatable {
    public enum Mode: String, Sendable, CaseIterable {
        /// A request for nat is refused.
        case off
        /// Made when the first request or profile wants it.
        case auto
        /// The daemon does not start where it cannot be made.
        case required
    }

    public var mode = Mode.auto
    /// The host's end of the one link between host and sandboxes. The table of the firewall has the same name.
    public var interface = "hatchery0"
    public var subnet = IPBlock("10.203.0.0/16")!
    public var subnet6 = IPBlock("fd68:6174:6368::/64")!
    /// The only interface that sandboxes may go out by; nil leaves it to the host's routes.
    public var uplink: String?
    public var mtu: UInt32 = 1500
    /// Empty takes the host's own name servers, as far as their addresses are public.
    public var dns: [IPAddress] = []
    /// pasta(1) for daemons of ordinary users; nil takes it from where packages put it.
    public var pasta: String?

    public init() {}

    static let schema = Schema<NatConfiguration>([
        .value("mode", \.mode, .choice, "Whether sandboxes can have a network: required refuses to start where they cannot"),
        .value("interface", \.interface, interfaceName, "Name of the host's end of the link to the sandboxes, and of the firewall's table"),
        .value("subnet", \.subnet, block(isVersion6: false), "Block of IPv4 that sandboxes get their addresses from, /8 to /28"),
        .value("subnet6", \.subnet6, block(isVersion6: true), "Block of IPv6 that sandboxes get their addresses from, /8 to /112"),
        .value("uplink", \.uplink, interfaceName.optional(absence: "any"), "Only interface of the host that sandboxes go out by"),
        .value("mtu", \.mtu, .number(1280...65_535), "Largest packet of a sandbox in bytes, 1280 to 65535; by pasta always 65520"),
        .value("dns", \.dns, .list(of: address), "Name servers of networked sandboxes; none named: the host's that have public addresses"),
        .value("pasta", \.pasta, ValueCodec<String>.absolutePath.optional(absence: "auto"),
            "The program pasta, by which a daemon of an ordinary user gives a network; auto: where packages put it"),
    ]) { nat, section throws(ConfigurationError) in
        for server in nat.dns where SpecialPurpose.neverForwarded.contains(where: { $0.contains(server) }) {
            throw section.error("dns", "\(server) means this host itself or nobody, and sandboxes never reach it")
        }
    }

    /// As the kernel takes it, and without what would need escaping in a set of firewall rules.
    private static let interfaceName = ValueCodec<String>.text.refined("the name of a network interface") { name in
        let isName = (1...15).contains(name.utf8.count) && name.utf8.allSatisfy { isWordByte($0) || "-.".utf8.contains($0) }
            && name != "." && name != ".." && !name.hasPrefix("-")
        return isName ? nil : "'\(name)' is not the name of an interface: at most 15 letters, digits, '_', '-' and '.'"
    }

    private static let address = ValueCodec<IPAddress>(type: "an IP address", format: { $0.description }) { node in
        guard case .scalar(let text, _) = node.content else { return nil }
        return IPAddress(text)
    }

    private static func block(isVersion6: Bool) -> ValueCodec<IPBlock> {
        let longest: UInt8 = isVersion6 ? 112 : 28
        let example = isVersion6 ? "fd68:6174:6368::/64" : "10.203.0.0/16"
        return ValueCodec<IPBlock>(type: "a block of addresses, such as \(example)", format: { $0.description }) {
            node throws(ValueTextError) in
            guard case .scalar(let text, _) = node.content, let block = IPBlock(text), block.base.isVersion6 == isVersion6
            else { return nil }
            guard (8...longest).contains(block.prefix) else {
                throw ValueTextError("the block \(text) is not between /8 and /\(longest)")
            }
            return block
        }
    }
}
