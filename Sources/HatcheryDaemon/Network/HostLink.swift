import Glibc
import HatcheryProtocol
import HatcherySystem

/// The link between the gateway of root's daemon and the host: a pair of virtual devices.
enum HostLink {
    /// Makes the pair, one end in the gateway.
    /// - Parameters:
    ///   - socket: of the gateway.
    ///   - host: a descriptor of the host's network namespace.
    static func make(_ plan: NatPlan, socket: borrowing NetlinkSocket, host: Int32) throws(SystemError) {
        var attempts = 40
        while true {
            do throws(SystemError) {
                return try makeOnce(plan, socket: socket, host: host)
            } catch {
                // A daemon that was killed a moment ago: its end of the link goes with its namespace, in the kernel's own time.
                attempts -= 1
                if error.errno != EEXIST || attempts == 0 { throw error }
                usleep(50_000)
            }
        }
    }

    private static func makeOnce(_ plan: NatPlan, socket: borrowing NetlinkSocket, host: Int32) throws(SystemError) {
        try socket.perform([
            Links.pair(
                .init(index: Gateway.uplinkIndex, name: Firewall.uplink, linkAddress: NatPlan.gatewayLinkAddress),
                .init(
                    index: 0, name: plan.configuration.interface, linkAddress: NatPlan.hostLinkAddress, namespace: host),
                mtu: plan.mtu),
            Links.withoutLinkLocalAddress(Gateway.uplinkIndex),
        ])
    }

    /// Addresses and routes of the host's end; called in the host's network namespace.
    static func bringUpHostsEnd(_ plan: NatPlan) throws(SystemError) {
        let name = plan.configuration.interface
        let index = Int32(bitPattern: if_nametoindex(name))
        if index == 0 { throw SystemError("if_nametoindex", errno: ENODEV, subject: name) }
        var messages = [Links.withoutLinkLocalAddress(index), Links.bringUp(index)]
        for block in plan.blocks {
            let gateway = plan.gatewayAddress(in: block)
            messages += [
                Links.address(plan.hostAddress(in: block), prefix: plan.linkPrefix(of: block), on: index),
                Links.neighbour(gateway, NatPlan.gatewayLinkAddress, on: index),
                Links.route(to: (block.base, block.prefix), via: gateway, on: index, family: gateway.family),
            ]
        }
        try NetlinkSocket().perform(messages)
    }
}
