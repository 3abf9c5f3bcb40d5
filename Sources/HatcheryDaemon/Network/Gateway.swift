import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The router between the sandboxes of one daemon and the host: a network namespace of its own, one link to the host, the host's
/// rules. Lives on the thread of `Networks` and nowhere else, since a network namespace belongs to a thread.
///
/// The namespace has no name and no file: it lasts as long as this object, and with it go the pairs, their addresses, and the
/// link to the host. A daemon that is killed leaves the host's table alone behind, which speaks of an interface that is gone; the
/// next gateway of that name replaces it.
final class Gateway {
    struct Failure: Error {
        var detail: String
        var errno: Int32 = 0
        var hint = ""

        init(_ detail: String, errno: Int32 = 0, hint: String = "") {
            self.detail = detail
            self.errno = errno
            self.hint = hint
        }

        init(_ failure: PacketFilter.Failure) { self.init(failure.detail, hint: failure.hint) }

        init(_ error: SystemError) { self.init("\(error)") }
    }

    let plan: NatPlan
    private let socket: NetlinkSocket
    private let host: Descriptor
    private static let uplinkIndex: Int32 = 2

    /// Builds everything, or nothing.
    init(_ configuration: NatConfiguration) throws(Failure) {
        try Gateway.checkHost(configuration)
        plan = NatPlan(
            configuration: configuration, hasIPv6: Gateway.setting("ipv6/conf/all/forwarding") == "1",
            servers: NatPlan.servers(configuration))
        do throws(SystemError) {
            host = try Files.open("/proc/thread-self/ns/net", flags: O_RDONLY)
            socket = try Gateway.enterNamespace(host.raw)
        } catch {
            throw Failure(error)
        }
        do throws(Failure) {
            try build()
        } catch {
            leave()
            throw error
        }
    }

    /// Takes the thread into a namespace of its own.
    private static func enterNamespace(_ host: Int32) throws(SystemError) -> NetlinkSocket {
        try check(hatchery_unshare(Int32(hatchery_clone_newnet)), "unshare(CLONE_NEWNET)")
        do throws(SystemError) {
            return try NetlinkSocket()
        } catch {
            _ = hatchery_set_namespace(host, Int32(hatchery_clone_newnet))
            throw error
        }
    }

    private static func checkHost(_ configuration: NatConfiguration) throws(Failure) {
        guard Capabilities.isEffective(CAP_NET_ADMIN), Capabilities.isEffective(CAP_SYS_ADMIN) else {
            throw Failure(
                "network nat needs a daemon with CAP_NET_ADMIN and CAP_SYS_ADMIN",
                hint: "in a container give it --cap-add NET_ADMIN --cap-add SYS_ADMIN")
        }
        guard setting("ipv4/ip_forward") == "1" else {
            throw Failure(
                "this host does not forward packets, so that nothing of a sandbox would leave it",
                hint: "as root: sysctl -w net.ipv4.ip_forward=1 (and for good: a file in /etc/sysctl.d)")
        }
    }

    /// A setting of the network namespace that this thread is in.
    private static func setting(_ name: String) -> String? {
        (try? Files.readText("/proc/sys/net/\(name)", limit: 64)).map { String($0.prefix { $0 != "\n" }) }
    }

    private func build() throws(Failure) {
        do throws(SystemError) {
            try set()
            try link()
        } catch {
            if error.errno == EEXIST {
                let name = plan.configuration.interface
                throw Failure(
                    "this host has an interface \(name) already: another hatcheryd has its network there",
                    hint: "give each daemon its own nat.interface, nat.subnet and nat.subnet6")
            }
            throw Failure(error)
        }
        // The rules before the traffic.
        do throws(PacketFilter.Failure) {
            let firewall = Firewall(plan: plan)
            try PacketFilter.load(firewall.gateway)
            try onHost { () throws(PacketFilter.Failure) in try PacketFilter.load(firewall.host) }
        } catch {
            throw Failure(error)
        }
        do throws(SystemError) {
            try bringUp()
        } catch {
            throw Failure(error)
        }
    }

    /// The namespace routes, believes nobody, and gives no interface an address by itself.
    private func set() throws(SystemError) {
        var settings = [
            ("ipv4/ip_forward", "1"), ("ipv4/conf/all/send_redirects", "0"), ("ipv4/conf/default/send_redirects", "0"),
            ("ipv4/conf/default/accept_redirects", "0"), ("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0"),
            // A refusal is an answer each time, not six times and then once a second.
            ("ipv4/icmp_ratelimit", "0"),
        ]
        if access("/proc/sys/net/ipv6", F_OK) == 0 {
            settings += [
                ("ipv6/conf/default/addr_gen_mode", "1"), ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/all/forwarding", "1"), ("ipv6/icmp/ratelimit", "0"),
            ]
        }
        for (name, value) in settings { try Files.write("/proc/sys/net/\(name)", value) }
    }

    private func link() throws(SystemError) {
        var attempts = 40
        while true {
            do throws(SystemError) {
                return try linkOnce()
            } catch {
                // A daemon that was killed a moment ago: its end of the link goes with its namespace, in the kernel's own time.
                attempts -= 1
                if error.errno != EEXIST || attempts == 0 { throw error }
                usleep(50_000)
            }
        }
    }

    private func linkOnce() throws(SystemError) {
        try socket.perform([
            Links.pair(
                .init(index: Gateway.uplinkIndex, name: Firewall.uplink, linkAddress: NatPlan.gatewayLinkAddress),
                .init(
                    index: 0, name: plan.configuration.interface, linkAddress: NatPlan.hostLinkAddress,
                    namespace: host.raw),
                mtu: plan.configuration.mtu),
            Links.withoutLinkLocalAddress(Gateway.uplinkIndex),
        ])
    }

    /// Addresses and routes of both ends.
    private func bringUp() throws(SystemError) {
        let plan = self.plan
        let name = plan.configuration.interface
        try onHost { () throws(SystemError) in
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
        var messages = [Links.bringUp(1), Links.bringUp(Gateway.uplinkIndex)]
        for block in plan.blocks {
            let host = plan.hostAddress(in: block)
            messages += [
                Links.address(plan.gatewayAddress(in: block), prefix: plan.linkPrefix(of: block), on: Gateway.uplinkIndex),
                Links.neighbour(host, NatPlan.hostLinkAddress, on: Gateway.uplinkIndex),
                Links.route(to: nil, via: host, on: Gateway.uplinkIndex, family: host.family),
            ]
        }
        try socket.perform(messages)
    }

    // step 41 (front)
    /// Makes the pair of one sandbox. It goes when the sandbox's network namespace goes.
    /// - Parameter namespace: a descriptor of the sandbox's network namespace.
    /// - Throws: EEXIST or EBUSY where the kernel has not yet taken the last pair of this slot away.
    func attach(_ slot: UInt32, namespace: Int32) throws(SystemError) {
        try socket.perform(plan.pair(slot, namespace: namespace))
    }

    /// Takes everything away that is the host's; the namespace and all that is in it end with this object.
    func end() {
        _ = try? onHost { () throws(PacketFilter.Failure) in
            try PacketFilter.load(Firewall.emptied(plan.configuration.interface) + "\n")
        }
        leave()
    }

    private func leave() {
        // The end of the namespace would do it, some time later.
        try? socket.perform([Links.remove(Gateway.uplinkIndex)])
        _ = hatchery_set_namespace(host.raw, Int32(hatchery_clone_newnet))
    }

    /// Does something in the host's namespace.
    private func onHost<Outcome, Problem: Error>(_ body: () throws(Problem) -> Outcome) throws(Problem) -> Outcome {
        let own = try? Files.open("/proc/thread-self/ns/net", flags: O_RDONLY)
        guard let own else { preconditionFailure("a thread has a network namespace") }
        precondition(hatchery_set_namespace(host.raw, Int32(hatchery_clone_newnet)) == 0, "the host's namespace is open")
        defer { precondition(hatchery_set_namespace(own.raw, Int32(hatchery_clone_newnet)) == 0, "the gateway's namespace is open") }
        return try body()
    }
}
