import Glibc
import HatcheryProtocol
import HatcherySystem
import Logging

/// The networks of this daemon's sandboxes, as the loop sees them: made when first wanted, an address for each, gone at the end.
final class Networks {
    /// An address, until its sandbox has ended.
    final class Lease {
        fileprivate let slot: UInt32
        let setup: NetworkSetup
        private let networks: Networks

        fileprivate init(slot: UInt32, setup: NetworkSetup, networks: Networks) {
            self.slot = slot
            self.setup = setup
            self.networks = networks
        }

        deinit { networks.slots.give(back: slot) }
    }

    /// How many slots are tried whose last pair the kernel has not taken away yet.
    private static let attempts = 8

    private let configuration: NatConfiguration
    private let identity: Identity
    private let log: Logger
    private let thread: WorkThread
    fileprivate var slots: SlotQueue
    /// Touched by the thread alone.
    private var gateway: Gateway?
    /// The loop's view of it.
    private var plan: NatPlan?

    init(_ configuration: NatConfiguration, identity: Identity, loop: EventLoop, log: Logger) throws(SystemError) {
        self.configuration = configuration
        self.identity = identity
        self.log = log
        thread = try WorkThread(loop: loop)
        slots = SlotQueue(count: NatPlan.slots(configuration))
    }

    var isUp: Bool { plan != nil }

    /// Makes the gateway where there is none; the answer is nil, or why there is none. A failure is not kept: the next request
    /// tries again, since the operator may have mended the host.
    func begin(_ answer: @escaping (HatcheryError?) -> Void) {
        if isUp { return answer(nil) }
        guard case .root = identity else {
            return answer(
                HatcheryError(
                    .notPermitted, side: .front, step: .attachNetwork,
                    detail: "a daemon of an ordinary user has no right over the host's network, so that it cannot give one",
                    hint: "use --net none or --net loopback, or a hatcheryd that root started"))
        }
        let configuration = self.configuration
        thread.perform { [self] () -> Result<NatPlan, Gateway.Failure> in
            do throws(Gateway.Failure) {
                if let gateway = self.gateway { return .success(gateway.plan) }
                let gateway = try Gateway(configuration)
                self.gateway = gateway
                return .success(gateway.plan)
            } catch {
                return .failure(error)
            }
        } answer: { [self] outcome in
            switch outcome {
            case .success(let plan):
                if self.plan == nil { tell(plan) }
                self.plan = plan
                answer(nil)
            case .failure(let failure):
                answer(
                    HatcheryError(
                        .setupFailed, side: .front, step: .attachNetwork, errno: failure.errno, detail: failure.detail,
                        hint: failure.hint))
            }
        }
    }

    private func tell(_ plan: NatPlan) {
        let servers = plan.servers.map(\.description).joined(separator: " ")
        log.info("network: \(configuration.interface), \(plan.blocks.map(\.description).joined(separator: " and "))")
        if !plan.hasIPv6 { log.notice("network: without IPv6, because this host does not forward it (net.ipv6.conf.all.forwarding)") }
        if servers.isEmpty { log.warning("network: no name server with a public address; name some in nat.dns") }
    }

    /// Puts an interface into the network namespace of a process that waits for its set-up order.
    /// - Parameter pid: of a child that is not reaped before the answer.
    /// - Throws: where nothing was begun.
    func attach(_ pid: Int32, _ answer: @escaping (Result<Lease, SystemError>) -> Void) throws(SystemError) {
        guard let plan else { throw SystemError("network", errno: ENETDOWN) }
        let namespace = try Files.open("/proc/\(pid)/ns/net", flags: O_RDONLY).release()
        attach(namespace, plan, attempts: Networks.attempts) { outcome in
            close(namespace)
            answer(outcome)
        }
    }

    private func attach(
        _ namespace: Int32, _ plan: NatPlan, attempts: Int, _ answer: @escaping (Result<Lease, SystemError>) -> Void
    ) {
        guard let slot = slots.take() else { return answer(.failure(SystemError("network", errno: EADDRNOTAVAIL))) }
        let lease = Lease(slot: slot, setup: plan.setup(slot), networks: self)
        thread.perform { [self] () -> SystemError? in
            do throws(SystemError) {
                guard let gateway else { throw SystemError("network", errno: ENETDOWN) }
                try gateway.attach(slot, namespace: namespace)
                return nil
            } catch {
                return error
            }
        } answer: { [self] error in
            switch error {
            case nil: answer(.success(lease))
            case let error? where (error.errno == EEXIST || error.errno == EBUSY) && attempts > 1:
                attach(namespace, plan, attempts: attempts - 1, answer)
            case let error?: answer(.failure(error))
            }
        }
    }

    /// Takes everything away; every sandbox has ended.
    func end() {
        plan = nil
        thread.perform { [self] in
            gateway?.end()
            gateway = nil
        } answer: { _ in }
        thread.stop()
    }
}
