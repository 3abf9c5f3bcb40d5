import HatcheryProtocol

/// The two sets of rules, as nft(8) reads them. Each is one transaction: a table is there as a whole or not at all, and a second
/// load replaces the first.
///
/// SECURITY: refusals are answers and not silence, so that a program fails at once instead of after minutes. Tests:
/// Tests/NetworkTests, each with its twin that takes the rules away.
struct Firewall {
    let plan: NatPlan
    /// Whether the gateway's link leads to pasta and not to the host: then nothing can be refused on the host, and the gateway refuses
    /// what is the host's, too, and translates.
    var endsAtPasta = false
    /// With pasta: what the host answers for itself. Public addresses are among it.
    var hosts: [IPBlock] = []
    /// The gateway's end of the link to the host.
    static let uplink = "up"
    /// Inside the gateway nobody else has tables.
    static let gatewayTable = "hatchery"

    /// In the namespace of the gateway: what a sandbox sends is judged where it arrives, before it is routed anywhere.
    var gateway: String {
        """
        \(Firewall.emptied(Firewall.gatewayTable))
        table inet \(Firewall.gatewayTable) {
            \(sets)
            \(endsAtPasta ? Firewall.hostSets : "")
            \(Firewall.refuse)
            chain prerouting {
                type filter hook prerouting priority mangle; policy accept;
                iifname { "lo", "\(Firewall.uplink)" } accept
                # The only route back to a source leads to the sandbox whose address it is.
                fib saddr . iif oif missing counter drop
                ct state established,related accept
                jump refusals
            }
            chain refusals {
                \(resolvers)
                ip daddr @special4 goto refuse
                ip6 daddr @special6 goto refuse
                \(endsAtPasta ? "ip daddr @host4 goto refuse\n        ip6 daddr @host6 goto refuse" : "")
            }
            \(endsAtPasta ? Firewall.translation : "")
            chain forward {
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                # Nobody begins a conversation with a sandbox, another sandbox no more than the host.
                iifname "\(Firewall.uplink)" drop
                oifname != "\(Firewall.uplink)" goto refuse
                accept
            }
            chain input {
                type filter hook input priority filter; policy drop;
                iifname "lo" accept
                ct state established,related accept
                iifname "\(Firewall.uplink)" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                iifname != "\(Firewall.uplink)" goto refuse
            }
        }
        \(endsAtPasta ? hostElements : "")

        """
    }

    private static let hostSets = """
        set host4 { type ipv4_addr; flags interval; auto-merge; }
            set host6 { type ipv6_addr; flags interval; auto-merge; }
        """

    /// SECURITY: pasta sends a datagram from the port of the host that it came from. Such a port is drawn here, out of those that the
    /// kernel draws from as well, so that no sandbox takes a port that a service of the host would want. Test:
    /// a_sandbox_chooses_no_port_of_the_host in RootlessNetworkTests.
    private static let translation = """
        chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                oifname "\(uplink)" meta l4proto { tcp, udp } masquerade to :32768-60999 fully-random
                oifname "\(uplink)" masquerade
            }
        """

    /// With pasta: what replaces the host's addresses in the rules that are loaded already.
    var hostElements: String {
        func set(_ name: String, _ blocks: [IPBlock]) -> String {
            let elements = blocks.map(\.description).joined(separator: ", ")
            let add = elements.isEmpty ? "" : "\nadd element inet \(Firewall.gatewayTable) \(name) { \(elements) }"
            return "flush set inet \(Firewall.gatewayTable) \(name)" + add
        }
        return set("host4", hosts.filter { !$0.base.isVersion6 }) + "\n"
            + set("host6", hosts.filter { $0.base.isVersion6 }) + "\n"
    }

    /// In the host's own namespace: the host itself is out of reach, whatever its addresses, and so is what the host redirects to
    /// somewhere else (the published ports of containers).
    var host: String {
        let interface = plan.configuration.interface
        let uplink = plan.configuration.uplink.map { "oifname != \"\($0)\" goto refuse" } ?? ""
        return """
            \(Firewall.emptied(interface))
            table inet \(interface) {
                \(sets)
                \(Firewall.refuse)
                chain input {
                    type filter hook input priority filter; policy accept;
                    iifname != "\(interface)" accept
                    ct state established,related accept
                    iifname "\(interface)" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                    \(resolvers)
                    goto refuse
                }
                chain forward {
                    type filter hook forward priority filter; policy accept;
                    iifname "\(interface)" jump outward
                    oifname "\(interface)" jump inward
                }
                chain outward {
                    ct state established,related accept
                    \(resolvers)
                    ct status dnat goto refuse
                    ip daddr @special4 goto refuse
                    ip6 daddr @special6 goto refuse
                    \(uplink)
                }
                chain inward {
                    ct state established,related accept
                    counter drop
                }
                chain postrouting {
                    type nat hook postrouting priority srcnat; policy accept;
                    \(plan.blocks.map { block in
                        "\(block.base.isVersion6 ? "ip6" : "ip") saddr \(block) oifname != \"\(interface)\" masquerade"
                    }.joined(separator: "\n            "))
                }
            }

            """
    }

    /// Takes a table away, whether it is there or not: deleting alone would fail where it is not.
    static func emptied(_ table: String) -> String { "add table inet \(table)\ndelete table inet \(table)" }

    /// TCP is refused by a reset: the kernel sends fewer unreachable messages a second than a program can ask for.
    private static let refuse = """
        chain refuse {
                counter
                meta l4proto tcp reject with tcp reset
                reject with icmpx type admin-prohibited
            }
        """

    private var sets: String {
        """
        set special4 { type ipv4_addr; flags interval; auto-merge; elements = { \(Firewall.list(SpecialPurpose.blocks4)) }; }
            set special6 { type ipv6_addr; flags interval; auto-merge; elements = { \(Firewall.list(SpecialPurpose.blocks6)) }; }
        """
    }

    private static func list(_ blocks: [(block: IPBlock, what: String)]) -> String {
        blocks.map(\.block.description).joined(separator: ", ")
    }

    /// The operator's own name servers may be private: their port 53 is the one exception.
    private var resolvers: String {
        plan.configuration.dns.filter(SpecialPurpose.contains).map { server in
            "\(server.isVersion6 ? "ip6" : "ip") daddr \(server) meta l4proto { tcp, udp } th dport 53 accept"
        }.joined(separator: "\n            ")
    }
}
