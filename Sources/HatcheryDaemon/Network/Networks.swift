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
    private let log: Logger
    private let thread: WorkThread
    fileprivate var slots: SlotQueue
    /// Touched by the thread alone.
    private var gateway: Gateway?
    /// The loop's view of it.
    private var plan: NatPlan?
    private let loop: EventLoop
    /// For daemons without rights over the host's network: what has to be done in it. pasta dies with this thread.
    private let hostThread: WorkThread?
    /// Where the link ends at it: the one that is watched, and by what.
    private var pasta: Pasta?
    private var registrations: [EventLoop.Registration] = []
    private var hostChanges: Descriptor?
    private var isLearning = false
    private var mustLearnAgain = false
    private var isEnding = false
    /// Between the end of one that did not live as long and the start of the next.
    private static let pauseNanoseconds: UInt64 = 1_000_000_000

    init(_ configuration: NatConfiguration, identity: Identity, loop: EventLoop, log: Logger) throws(SystemError) {
        self.configuration = configuration
        self.log = log
        self.loop = loop
        thread = try WorkThread(loop: loop)
        if case .root = identity { hostThread = nil } else { hostThread = try WorkThread(loop: loop) }
        slots = SlotQueue(count: NatPlan.slots(configuration))
    }

    var isUp: Bool { plan != nil }

    /// The one that carries the network of an ordinary user's daemon, for as long as it lives; 0 where there is none.
    var pastaPID: Int32 { pasta?.pid ?? 0 }

    /// Makes the gateway where there is none; the answer is nil, or why there is none. A failure is not kept: the next request
    /// tries again, since the operator may have mended the host.
    func begin(_ answer: @escaping (HatcheryError?) -> Void) {
        if isUp { return answer(nil) }
        let configuration = self.configuration
        thread.perform { [self] () -> Result<(NatPlan, Pasta?), Gateway.Failure> in
            do throws(Gateway.Failure) {
                if self.gateway == nil { self.gateway = try Gateway(configuration, hostThread: hostThread) }
                guard let gateway = self.gateway else { preconditionFailure("made a moment ago") }
                try gateway.connect()
                return .success((gateway.plan, gateway.pasta))
            } catch {
                return .failure(error)
            }
        } answer: { [self] outcome in
            switch outcome {
            case .success((let plan, let pasta)):
                if self.plan == nil { tell(plan, pasta) }
                self.plan = plan
                if let pasta { watch(pasta) }
                answer(nil)
            case .failure(let failure):
                answer(
                    HatcheryError(
                        failure.kind, side: .front, step: .attachNetwork, errno: failure.errno,
                        detail: failure.detail, hint: failure.hint))
            }
        }
    }

    // MARK: pasta

    /// Hears what it says, of its end, and of the host's addresses.
    private func watch(_ pasta: Pasta) {
        guard pasta !== self.pasta else { return }
        self.pasta = pasta
        do throws(SystemError) {
            registrations = [
                try loop.watch(pasta.errors.raw) { [weak self] _ in self?.heard(pasta) },
                try loop.watch(pasta.pidfd.raw) { [weak self] _ in self?.ended(pasta) },
            ]
            let changes = try LocalRoutes.changes()
            let raw = changes.raw
            hostChanges = consume changes
            registrations.append(try loop.watch(raw) { [weak self] _ in self?.hostChanged() })
            // What changed between the asking for the rules and now has been told to nobody.
            hostChanged()
        } catch {
            log.error("network: nobody would hear of the end of pasta or of new addresses of the host: \(error)")
            letGo(of: pasta)
        }
    }

    private func heard(_ pasta: Pasta) {
        if pasta.listen() { return }
        registrations.removeAll { registration in
            guard registration.descriptor == pasta.errors.raw else { return false }
            registration.cancel()
            return true
        }
    }

    /// Sandboxes that live have no network until the next one runs, which begins at once; one that ends as soon as it has begun
    /// is not tried again before a pause.
    private func ended(_ pasta: Pasta) {
        let how = pasta.reap()
        let lived = MonotonicClock.now() - pasta.startedAt
        log.error("network: pasta ended (\(how.map { "\($0)" } ?? "nobody knows how"))\(pasta.last); it is started again")
        letGo(of: pasta)
        loop.after(nanoseconds: lived > Networks.pauseNanoseconds ? 0 : Networks.pauseNanoseconds) { [weak self] in
            guard let self, !isEnding else { return }
            begin { [weak self] failure in if let failure { self?.log.error("\(failure)") } }
        }
    }

    private func letGo(of pasta: Pasta) {
        for registration in registrations { registration.cancel() }
        registrations = []
        hostChanges = nil
        self.pasta = nil
        plan = nil
        pasta.end()
    }

    /// The host has got an address, or lost one.
    private func hostChanged() {
        guard let raw = hostChanges?.raw else { return }
        var buffer = [UInt8](repeating: 0, count: 8192)
        // ENOBUFS, where more came than fits, is a change, too.
        while recv(raw, &buffer, buffer.count, Int32(MSG_DONTWAIT)) > 0 || errno == ENOBUFS {}
        guard !isLearning else {
            mustLearnAgain = true
            return
        }
        isLearning = true
        thread.perform { [self] () -> Gateway.Failure? in
            do throws(Gateway.Failure) {
                try gateway?.learnHosts()
                return nil
            } catch {
                return error
            }
        } answer: { [weak self] failure in
            guard let self else { return }
            isLearning = false
            if let failure, let pasta {
                // SECURITY: better no network than one that leads to an address of the host.
                log.error("network: the host's addresses are not known: \(failure.detail); pasta is ended")
                pasta.end()
            }
            if mustLearnAgain {
                mustLearnAgain = false
                hostChanged()
            }
        }
    }

    private func tell(_ plan: NatPlan, _ pasta: Pasta?) {
        let servers = plan.servers.map(\.description).joined(separator: " ")
        let way = pasta.map { "pasta, process \($0.pid)" } ?? configuration.interface
        log.info("network: \(way), \(plan.blocks.map(\.description).joined(separator: " and "))")
        if !plan.hasIPv6 {
            let why = pasta == nil ? "does not forward it (net.ipv6.conf.all.forwarding)" : "has no default route for it"
            log.notice("network: without IPv6, because this host \(why)")
        }
        if !plan.hasIPv4 { log.notice("network: without IPv4, because this host has no default route for it") }
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

    /// Ends what would be waited for when every child of the daemon is.
    func beginEnd() {
        isEnding = true
        guard hostThread != nil else { return }
        // One that is being started at this moment is there when the thread comes to this.
        thread.wait { [self] in gateway?.endPasta() }
        if let pasta { letGo(of: pasta) }
    }

    /// Takes everything away; every sandbox has ended.
    func end() {
        plan = nil
        thread.perform { [self] in
            gateway?.end()
            gateway = nil
        } answer: { _ in }
        thread.stop()
        hostThread?.stop()
    }
}
