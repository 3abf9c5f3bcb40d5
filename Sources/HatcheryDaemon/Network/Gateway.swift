import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The router between the sandboxes of one daemon and the internet: a network namespace of its own, with one link out of it. Root's
/// daemon has that link end on the host, with rules there (`HostLink`); the one of an ordinary user has it end at pasta. Lives on the
/// thread of `Networks` and nowhere else, since a network namespace belongs to a thread.
///
/// The namespace has no name and no file: it lasts as long as this object, and with it go the pairs, their addresses, and the
/// link. A daemon that is killed leaves the host's table alone behind, which speaks of an interface that is gone; the
/// next gateway of that name replaces it.
final class Gateway {
    struct Failure: Error {
        var detail: String
        var errno: Int32 = 0
        var hint = ""
        var kind = HatcheryError.Kind.setupFailed

        init(_ detail: String, errno: Int32 = 0, hint: String = "", kind: HatcheryError.Kind = .setupFailed) {
            self.detail = detail
            self.errno = errno
            self.hint = hint
            self.kind = kind
        }

        init(_ failure: PacketFilter.Failure) { self.init(failure.detail, hint: failure.hint) }

        init(_ error: SystemError) { self.init("\(error)") }
    }

    let plan: NatPlan
    private let socket: NetlinkSocket
    /// The host's network namespace, where this thread may go back to it.
    private let host: Outside?
    /// A thread that stays in the host's, where this one may not: nobody without rights over a namespace enters it.
    private let hostThread: WorkThread?
    /// The program, where the link ends there; nil where it ends on the host.
    private let pastaProgram: String?
    /// The one that carries the link, dead or alive.
    private(set) var pasta: Pasta?
    /// What the rules hold to be the host's.
    private var hosts: [IPBlock] = []
    static let uplinkIndex: Int32 = 2
    /// The largest packet of pasta's: what it carries is taken apart and put together again anyway.
    static let pastaMTU: UInt32 = 65_520

    /// Builds everything, or nothing. With pasta all but the link: `connect()`.
    /// - Parameter hostThread: given where this daemon has no rights over the host's network; it is in the host's namespace, and
    ///   lives as long as this daemon.
    init(_ configuration: NatConfiguration, hostThread: WorkThread?) throws(Failure) {
        self.hostThread = hostThread
        if let hostThread {
            pastaProgram = try Pasta.program(configuration)
            plan = try Gateway.pastaPlan(configuration, hostThread)
        } else {
            pastaProgram = nil
            plan = try Gateway.rootPlan(configuration)
        }
        do throws(SystemError) {
            host = hostThread == nil ? try Outside() : nil
            socket = try Gateway.enterNamespace(host?.raw)
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

    /// The network namespace that a thread was in when it asked.
    private final class Outside {
        private let descriptor: Descriptor

        init() throws(SystemError) { descriptor = try Files.open("/proc/thread-self/ns/net", flags: O_RDONLY) }

        var raw: Int32 { descriptor.raw }
    }

    /// Takes the thread into a namespace of its own.
    private static func enterNamespace(_ host: Int32?) throws(SystemError) -> NetlinkSocket {
        try check(hatchery_unshare(Int32(hatchery_clone_newnet)), "unshare(CLONE_NEWNET)")
        do throws(SystemError) {
            return try NetlinkSocket()
        } catch {
            if let host { _ = hatchery_set_namespace(host, Int32(hatchery_clone_newnet)) }
            throw error
        }
    }

    private static func rootPlan(_ configuration: NatConfiguration) throws(Failure) -> NatPlan {
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
        return NatPlan(
            configuration: configuration, hasIPv4: true, hasIPv6: setting("ipv6/conf/all/forwarding") == "1",
            mtu: configuration.mtu, servers: NatPlan.servers(configuration))
    }

    /// Of both versions what the host itself has a way out for.
    private static func pastaPlan(_ configuration: NatConfiguration, _ hostThread: WorkThread) throws(Failure) -> NatPlan {
        let (ways, hasUplink) = hostThread.wait {
            ((DefaultRoutes.hasIPv4(), DefaultRoutes.hasIPv6()), configuration.uplink.map { if_nametoindex($0) != 0 })
        }
        // Some versions of pasta go out by another one then.
        if hasUplink == false, let uplink = configuration.uplink {
            throw Failure(
                "nat.uplink names \(uplink), and this host has no such interface", errno: ENODEV,
                hint: "name one that `ip link` shows, or none")
        }
        let plan = NatPlan(
            configuration: configuration, hasIPv4: ways.0, hasIPv6: ways.1, mtu: pastaMTU, servers: NatPlan.servers(configuration))
        guard !plan.blocks.isEmpty else {
            throw Failure(
                "this host has no default route, so that nothing of a sandbox would leave it", errno: ENETUNREACH,
                hint: "see `ip route`; the next request tries again")
        }
        return plan
    }

    /// A setting of the network namespace that this thread is in.
    private static func setting(_ name: String) -> String? {
        (try? Files.readText("/proc/sys/net/\(name)", limit: 64)).map { String($0.prefix { $0 != "\n" }) }
    }

    private func build() throws(Failure) {
        do throws(SystemError) {
            try set()
            if let host = host?.raw { try HostLink.make(plan, socket: socket, host: host) }
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
            try PacketFilter.load(firewall.gateway)
            if pastaProgram == nil {
                try onHost { () throws(PacketFilter.Failure) in try PacketFilter.load(self.firewall.host) }
            }
        } catch {
            throw Failure(error)
        }
        do throws(SystemError) {
            try socket.perform([Links.bringUp(1)])
            if pastaProgram == nil {
                try onHost { () throws(SystemError) in try HostLink.bringUpHostsEnd(self.plan) }
                try bringUp(Gateway.uplinkIndex)
            }
        } catch {
            throw Failure(error)
        }
    }

    private var firewall: Firewall { Firewall(plan: plan, endsAtPasta: pastaProgram != nil, hosts: hosts) }

    // MARK: The link that ends at pasta

    /// Has the link lead somewhere: starts pasta, where it is what the link ends at and does not run.
    func connect() throws(Failure) {
        guard let pastaProgram, pasta?.isAlive != true else { return }
        pasta = nil
        // Before anything can reach them.
        try learnHosts()
        let gateway: Descriptor
        do throws(SystemError) {
            gateway = try Files.open("/proc/thread-self/ns/net", flags: O_RDONLY)
        } catch {
            throw Failure(error)
        }
        let own = gateway.raw
        let started = try onHost { [plan] () throws(Failure) in try Pasta(pastaProgram, plan, gateway: own) }
        try started.waitForDevice { if_nametoindex(Firewall.uplink) != 0 }
        do throws(SystemError) {
            let index = Int32(bitPattern: if_nametoindex(Firewall.uplink))
            try socket.perform([Links.mtu(plan.mtu, of: index)])
            do throws(SystemError) {
                try socket.perform([Links.withoutLinkLocalAddress(index)])
            } catch {
                // A kernel without IPv6 has no such address.
                if error.errno != EAFNOSUPPORT && error.errno != EOPNOTSUPP { throw error }
            }
            try bringUp(index)
        } catch {
            throw Failure("\(pastaProgram) ended at its start\(started.last) (\(error))")
        }
        pasta = started
    }

    /// Asks the host which addresses are its own, and has the rules refuse them.
    func learnHosts() throws(Failure) {
        let blocks: [IPBlock]
        do throws(SystemError) {
            blocks = try onHost { () throws(SystemError) in try LocalRoutes.blocks() }
        } catch {
            throw Failure(error)
        }
        if blocks == hosts { return }
        do throws(PacketFilter.Failure) {
            try PacketFilter.load(Firewall(plan: plan, endsAtPasta: true, hosts: blocks).hostElements)
        } catch {
            throw Failure(error)
        }
        hosts = blocks
    }

    // MARK: Parts

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

    /// Addresses and routes of the gateway's end of the link.
    private func bringUp(_ index: Int32) throws(SystemError) {
        var messages = [Links.bringUp(index)]
        for block in plan.blocks {
            let host = plan.hostAddress(in: block)
            messages += [
                Links.address(plan.gatewayAddress(in: block), prefix: plan.linkPrefix(of: block), on: index),
                Links.neighbour(host, NatPlan.hostLinkAddress, on: index),
                Links.route(to: nil, via: host, on: index, family: host.family),
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
        endPasta()
        if pastaProgram == nil {
            _ = try? onHost { () throws(PacketFilter.Failure) in
                try PacketFilter.load(Firewall.emptied(self.plan.configuration.interface) + "\n")
            }
        }
        leave()
    }

    func endPasta() {
        guard let pasta else { return }
        // It ends by itself without its device, where it may not be killed.
        let index = Int32(bitPattern: if_nametoindex(Firewall.uplink))
        if index > 0 { try? socket.perform([Links.remove(index)]) }
        pasta.end()
        self.pasta = nil
    }

    private func leave() {
        guard let host = host?.raw else { return }
        // The end of the namespace would do it, some time later.
        try? socket.perform([Links.remove(Gateway.uplinkIndex)])
        _ = hatchery_set_namespace(host, Int32(hatchery_clone_newnet))
    }

    /// Does something in the host's namespace.
    private func onHost<Outcome, Problem: Error>(
        _ body: @escaping () throws(Problem) -> Outcome
    ) throws(Problem) -> Outcome {
        if let hostThread {
            return try hostThread.wait { () -> Result<Outcome, Problem> in Result { () throws(Problem) in try body() } }.get()
        }
        let own = try? Files.open("/proc/thread-self/ns/net", flags: O_RDONLY)
        guard let own, let host = host?.raw else { preconditionFailure("a thread has a network namespace") }
        precondition(hatchery_set_namespace(host, Int32(hatchery_clone_newnet)) == 0, "the host's namespace is open")
        defer { precondition(hatchery_set_namespace(own.raw, Int32(hatchery_clone_newnet)) == 0, "the gateway's namespace is open") }
        return try body()
    }
}
