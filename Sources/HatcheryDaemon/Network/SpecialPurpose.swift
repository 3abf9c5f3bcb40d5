import HatcheryProtocol

/// Where sandboxes never go: every block of the IANA special-purpose registries of IPv4 and IPv6 (RFC 6890 and its updates), and
/// what is not unicast at all.
///
/// SECURITY: networks behind the host, other sandboxes, the cloud's metadata service and every way to write a private address as
/// another one are in here. Tests: PrivateAddressesAreRefusedAtOnce of Tests/NetworkTests.
enum SpecialPurpose {
    static let blocks: [(block: IPBlock, what: String)] = table.map { (IPBlock($0.0)!, $0.1) }

    static let blocks4 = blocks.filter { !$0.block.base.isVersion6 }
    static let blocks6 = blocks.filter { $0.block.base.isVersion6 }

    static func contains(_ address: IPAddress) -> Bool { blocks.contains { $0.block.contains(address) } }

    /// Of these a name server cannot be, even where the operator says so.
    static let neverForwarded = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"].map { IPBlock($0)! }

    private static let table = [
        ("0.0.0.0/8", "this network; 0.0.0.0 is the host itself"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared address space of carriers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, with the metadata services of clouds"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "IETF protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT relays: tunnels"),
        ("192.88.99.0/24", "6to4 relays: tunnels"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
        // Global unicast is 2000::/3; everything else is refused as a whole. That holds ::1, IPv4-mapped (::ffff:0:0/96) and
        // IPv4-compatible addresses, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), discard (100::/64), segment routing (5f00::/16), ULA
        // (fc00::/7), link-local (fe80::/10), site-local (fec0::/10) and multicast (ff00::/8).
        ("::/3", "not unicast of the internet: unspecified, loopback, IPv4-mapped and -compatible, NAT64, discard"),
        ("4000::/2", "not assigned, and segment routing"),
        ("8000::/1", "not assigned, ULA, link-local, site-local, multicast"),
        ("2001::/23", "IETF protocol assignments: Teredo, benchmarking, ORCHID"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4: IPv4 addresses in another form"),
        ("2620:4f:8000::/48", "AS112"),
        ("3ffe::/16", "6bone, given back"),
        ("3fff::/20", "documentation"),
    ]
}
