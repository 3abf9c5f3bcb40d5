import Foundation
import HatcheryProtocol
import HatcherySystem

/// The addresses of one daemon's network: who has which, and what a sandbox is told. Pure but for reading the host's resolver.
struct NatPlan: Sendable {
    let configuration: NatConfiguration
    /// By which of both the host lets sandboxes out.
    let hasIPv4: Bool
    let hasIPv6: Bool
    /// The largest packet of a sandbox, bytes.
    let mtu: UInt32
    let servers: [IPAddress]

    /// Below are the network's own address, the host's and the gateway's.
    static let firstOffset: UInt32 = 4
    /// Interfaces of the gateway with lower numbers are its own.
    static let firstIndex: Int32 = 16
    static let hostLinkAddress: [UInt8] = [0x02, 0x48, 0x63, 0, 0, 1]
    static let gatewayLinkAddress: [UInt8] = [0x02, 0x48, 0x63, 0, 0, 2]
    static let childLinkAddress: [UInt8] = [0x02, 0x48, 0x63, 0, 0, 3]

    /// How many sandboxes can have an address at once.
    static func slots(_ configuration: NatConfiguration) -> UInt32 {
        // The last address of an IPv4 block is its broadcast address.
        min(configuration.subnet.count, configuration.subnet6.count) - firstOffset - 1
    }

    var blocks: [IPBlock] { (hasIPv4 ? [configuration.subnet] : []) + (hasIPv6 ? [configuration.subnet6] : []) }

    func hostAddress(in block: IPBlock) -> IPAddress { block.base.advanced(by: 1) }

    func gatewayAddress(in block: IPBlock) -> IPAddress { block.base.advanced(by: 2) }

    /// The length of the prefix that host and gateway share.
    func linkPrefix(of block: IPBlock) -> UInt8 { block.base.bits - 2 }

    func childAddress(_ slot: UInt32, in block: IPBlock) -> IPAddress { block.base.advanced(by: NatPlan.firstOffset + slot) }

    func setup(_ slot: UInt32) -> NetworkSetup {
        NetworkSetup(
            routes: blocks.map { .init(address: childAddress(slot, in: $0), gateway: gatewayAddress(in: $0)) },
            linkAddress: NatPlan.childLinkAddress, gatewayLinkAddress: NatPlan.gatewayLinkAddress, resolver: resolver)
    }

    /// What makes the pair of a sandbox, with its inner end in the network namespace `namespace`, and its outer end ready.
    func pair(_ slot: UInt32, namespace: Int32) -> [NetlinkMessage] {
        let index = NatPlan.firstIndex + Int32(slot)
        var messages = [
            Links.pair(
                .init(index: index, name: "s\(slot)", linkAddress: NatPlan.gatewayLinkAddress, isUp: true),
                .init(
                    index: NetworkSetup.interfaceIndex, name: NetworkSetup.interfaceName,
                    linkAddress: NatPlan.childLinkAddress, namespace: namespace),
                mtu: mtu)
        ]
        for block in blocks {
            let address = childAddress(slot, in: block)
            messages.append(Links.route(to: (address, address.bits), on: index, family: address.family))
            messages.append(Links.neighbour(address, NatPlan.childLinkAddress, on: index))
        }
        return messages
    }

    /// The text of /etc/resolv.conf.
    private var resolver: String {
        // glibc reads the first three.
        let lines = servers.prefix(3).map { "nameserver \($0)\n" }.joined()
        return lines.isEmpty ? "# no name server of the host has a public address; the operator can name some in nat.dns\n" : lines
    }

    /// The name servers that sandboxes get: those of the configuration, else the host's own that anybody may reach.
    static func servers(_ configuration: NatConfiguration) -> [IPAddress] {
        if !configuration.dns.isEmpty { return configuration.dns }
        // systemd-resolved names itself in resolv.conf, and the real servers here.
        for path in ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"] {
            guard let text = try? Files.readText(path, limit: 65_536) else { continue }
            let servers = self.servers(in: text).filter { !SpecialPurpose.contains($0) }
            if !servers.isEmpty { return servers }
        }
        return []
    }

    /// The addresses of `nameserver` lines, resolv.conf(5).
    static func servers(in text: String) -> [IPAddress] {
        text.split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            return words.count >= 2 && words[0] == "nameserver" ? IPAddress(String(words[1])) : nil
        }
    }
}
