import HatcheryProtocol
import Testing

@testable import HatcheryDaemon

/// What the network of sandboxes reads and writes as text. What it does is shown by Tests/ServiceTests.
@Suite struct NetworkTests {
    private static let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

    @Test(arguments: [
        ("eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", true),
        // A network, a block that begins with 0, a route that refuses, one that is down.
        ("eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", false),
        ("eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", false),
        ("*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n", false),
        ("eth0\t00000000\t0102A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n", false),
        ("", false),
    ])
    func aDefaultRouteOfIPv4IsOneToEverywhereThatIsUp(line: String, isOne: Bool) {
        #expect(DefaultRoutes.hasIPv4(Self.header + line) == isOne)
    }

    @Test(arguments: [
        ("\(zero) 00 \(zero) 00 20014860000000000000000000000001 00000400 00000001 00000000 00000003 eth0", true),
        // The kernel's own answer where there is none, a network, a route that refuses.
        ("\(zero) 00 \(zero) 00 \(zero) ffffffff 00000001 00000000 00200200       lo", false),
        ("20014860000000000000000000000000 40 \(zero) 00 \(zero) 00000100 00000001 00000000 00000001 eth0", false),
        ("\(zero) 00 \(zero) 00 \(zero) 00000400 00000001 00000000 00000201 eth0", false),
        ("", false),
    ])
    func aDefaultRouteOfIPv6IsOneToEverywhereThatIsUp(line: String, isOne: Bool) {
        #expect(DefaultRoutes.hasIPv6(line + "\n") == isOne)
    }

    private static let zero = String(repeating: "0", count: 32)

    private let plan = NatPlan(configuration: NatConfiguration(), hasIPv4: true, hasIPv6: true, mtu: 1500, servers: [])

    @Test func theHostsAddressesReplaceThoseBeforeThem() {
        let hosts = ["192.0.2.1/32", "192.0.2.255/32", "2001:db8::1/128"].compactMap { IPBlock($0) }
        let text = Firewall(plan: plan, endsAtPasta: true, hosts: hosts).hostElements
        #expect(
            text == """
                flush set inet hatchery host4
                add element inet hatchery host4 { 192.0.2.1/32, 192.0.2.255/32 }
                flush set inet hatchery host6
                add element inet hatchery host6 { 2001:db8::1/128 }

                """)
        // A set without elements cannot be written.
        let none = Firewall(plan: plan, endsAtPasta: true).hostElements
        #expect(none == "flush set inet hatchery host4\nflush set inet hatchery host6\n")
    }

    @Test func onlyAGatewayThatEndsAtPastaTranslatesAndRefusesTheHost() {
        #expect(!Firewall(plan: plan).gateway.contains("masquerade"))
        #expect(!Firewall(plan: plan).gateway.contains("host4"))
        #expect(Firewall(plan: plan, endsAtPasta: true).gateway.contains("ip6 daddr @host6 goto refuse"))
    }
}
