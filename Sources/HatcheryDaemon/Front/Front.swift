import CHatchery
import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem
import Logging

/// hatcheryd: the parent of every child. Takes requests, checks them, has them cloned, keeps their limits, reaps, reports.
///
/// One thread and one loop; what it knows of a sandbox is in `Sandbox`, of a client in `ClientConnection`, of a zygote in
/// `Zygote`. It never runs user code, and no byte of a sandbox's streams passes through it.
public final class Front {
    public static let version = "0.1.0"

    /// What is in force; a reload replaces it as a whole.
    var settings: Settings
    var configuration: Configuration { settings.configuration }
    let identity: Identity
    let log: Logger
    let loop: EventLoop
    let images: Images
    private var listener: Descriptor?
    private(set) var clients: [UInt64: ClientConnection] = [:]
    /// The processes of each zygote, by its name.
    var zygotes: [String: [Zygote]] = [:]
    var sandboxes: [String: Sandbox] = [:]
    let ids: IDPool
    let cgroups: Cgroups
    let networks: Networks
    let closer = DescriptorCloser()
    let tearDown: TearDown
    let lookout: Lookout
    private var serial: UInt64 = 0
    private var clientNumber: UInt64 = 0
    private(set) var isStopping = false
    private let reread: () throws -> Configuration
    private(set) lazy var generations = Generations(front: self, reread: reread)
    /// Children that are reaped by whoever waits for them.
    var knownPIDs: Set<Int32> = []
    private var idleTimer: EventLoop.Timer?
    /// Told once, when every zygote is ready or one has failed at the first start.
    private var onStarted: ((String?) -> Void)?
    var isStarting: Bool { onStarted != nil }
    private var exitStatus: Int32 = 0
    private var signals: Descriptor?
    private var acceptRegistration: EventLoop.Registration?
    private(set) lazy var lifecycle = Lifecycle(front: self, manager: manager)
    private let manager: ServiceManager
    private(set) lazy var doorkeeper = Doorkeeper(front: self, rules: settings.rules)
    var turnBudget = TurnBudget()
    private(set) lazy var turnstile = Turnstile(front: self)
    let metrics = Metrics()
    let logs: DaemonLog
    let audit: Audit
    var metricsServer: MetricsServer?
    /// The path and the inode of the socket that this daemon made for it.
    var metricsSocket: (path: String, inode: UInt64)?
    /// Seconds since 1970.
    let startedAt = Double(UnixClock.now()) / 1e9

    /// How long the listener rests when there is no descriptor for another client.
    static let acceptPauseNanoseconds: UInt64 = 100_000_000
    /// How long the end may take: children that wait for an order end when their sockets close, killed ones at once.
    static let shutDownNanoseconds: UInt64 = 5_000_000_000

    /// - Parameter reread: reads the configuration again, for a reload.
    public init(
        configuration: Configuration, identity: Identity, manager: ServiceManager, logs: DaemonLog, log: Logger,
        reread: @escaping () throws -> Configuration
    ) throws {
        // Everything here is a descriptor; what the host allows is taken.
        var files = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files) == 0 {
            files.rlim_cur = files.rlim_max
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
        }
        #if HATCHERY_TESTING
            log.warning("this is a build for tests: it leaves layers out where a request asks for it")
        #endif
        let spare = SpareDescriptors()
        tearDown = TearDown(spare)
        settings = try Settings(configuration)
        self.identity = identity
        self.manager = manager
        self.log = log
        self.logs = logs
        audit = try Audit(configuration.audit, log: log)
        loop = try EventLoop()
        cgroups = Cgroups(spare, loop: loop)
        lookout = try Lookout(loop: loop)
        images = try Images()
        ids = IDPool(identity)
        networks = try Networks(configuration.nat, identity: identity, loop: loop, log: log)
        self.reread = reread
    }

    // MARK: Start and end

    /// Serves until it is told to stop.
    /// - Parameter started: called once, with nil when it serves, or with the reason why it cannot.
    /// - Returns: the exit status of the process.
    public func run(listener: consuming Descriptor, started: @escaping (String?) -> Void) throws -> Int32 {
        onStarted = started
        try watchSignals()
        try cgroups.begin(configuration.cgroup, zygoteOwner: identity.local(Identity.zygoteID))
        log.info("cgroup: \(cgroups.summary)")
        beginNetworks()
        for zygote in configuration.zygotes {
            zygotes[zygote.name] = generations.make(zygote, settings, isCandidate: false)
        }
        for zygote in zygotes.values.joined() { zygote.start() }
        let raw = listener.raw
        self.listener = consume listener
        acceptRegistration = try loop.watch(raw) { [weak self] _ in self?.acceptClients() }
        startIdleTimer()
        lifecycle.begin()
        try loop.run()
        shutDown()
        return exitStatus
    }

    /// Where it is known that a network will be wanted, it is made before the first sandbox.
    private func beginNetworks() {
        let isRequired = configuration.nat.mode == .required
        guard isRequired || configuration.profiles.values.contains(where: { $0.network == .nat }), configuration.nat.mode != .off
        else { return }
        networks.begin { [weak self] failure in
            guard let self, let failure else { return }
            if isRequired { refuseToStart("nat.mode is required: \(failure)") } else { log.warning("\(failure)") }
        }
    }

    private func refuseToStart(_ reason: String) {
        onStarted?(reason)
        onStarted = nil
        log.critical("\(reason)")
        exitStatus = 1
        stop()
    }

    func zygoteChanged(_ zygote: Zygote) {
        if generations.changed(zygote) { return }
        guard let started = onStarted else { return }
        if case .failed(let message) = zygote.state {
            onStarted = nil
            started("zygote \(zygote.name): \(message)")
            exitStatus = 1
            stop()
        } else if zygotes.values.joined().allSatisfy({ $0.state == .ready }) {
            onStarted = nil
            lifecycle.serve()
            started(nil)
            generations.goOn()
        }
    }

    private func watchSignals() throws {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] { sigaddset(&set, number) }
        sigprocmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
        let descriptor = Descriptor(
            owning: try checkErrno(signalfd(-1, &set, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK)), "signalfd"))
        let raw = descriptor.raw
        signals = consume descriptor
        try loop.watch(raw) { [weak self] _ in
            var info = signalfd_siginfo()
            while read(raw, &info, MemoryLayout<signalfd_siginfo>.size) > 0 { self?.received(Int32(info.ssi_signo)) }
        }
    }

    private func received(_ number: Int32) {
        if number == SIGHUP {
            log.notice("SIGHUP: reading the configuration again")
            generations.signalled()
            return
        }
        if number == SIGUSR1 {
            dumpState()
            return
        }
        lifecycle.terminate(Signals.name(number))
    }

    func stop() {
        isStopping = true
        loop.stop()
    }

    /// Everything ends with the daemon: sandboxes first, then zygotes, and nothing is left unreaped.
    private func shutDown() {
        lifecycle.ending()
        if let metricsSocket { DaemonSocket.remove(metricsSocket.path, inode: metricsSocket.inode) }
        endEverything()
        networks.end()
        if let reason = cgroups.remove() { log.warning("a cgroup stays behind: \(reason)") }
    }

    private func endEverything() {
        for sandbox in sandboxes.values { sandbox.end(because: .lost) }
        for client in clients.values { client.close() }
        for zygote in zygotes.values.joined() { zygote.stop() }
        generations.stop()
        // Children whose clone was never reported wait for orders; closing their sockets ends them.
        for sandbox in sandboxes.values { sandbox.letGo() }
        sandboxes = [:]
        networks.beginEnd()
        let deadline = MonotonicClock.now() + Front.shutDownNanoseconds
        while MonotonicClock.now() < deadline {
            let pid = waitpid(-1, nil, WNOHANG)
            if pid < 0 && errno == ECHILD { return }
            if pid == 0 { usleep(2000) }
        }
        log.warning("some processes did not end in time; their death signal ends them with this one")
    }

    /// Reaps children that nobody here knows: cloned by a zygote that died before it could report them. Their control
    /// sockets are closed by then, so they end by themselves.
    func reapStrangers() {
        guard let text = try? Files.readText("/proc/self/task/\(getpid())/children") else { return }
        for pid in text.split(separator: " ").compactMap({ Int32($0) })
        where !knownPIDs.contains(pid) && pid != networks.pastaPID {
            _ = waitpid(pid, nil, WNOHANG)
        }
    }

    // MARK: Clients

    private func acceptClients() {
        while let socket = acceptOne() {
            do throws(SystemError) {
                let peer = try Peer(socket.raw)
                if let refusal = doorkeeper.refusal(peer, connections: clients.count) {
                    log.warning("refusing a client of uid \(peer.uid): \(refusal.detail)")
                    doorkeeper.turnAway(socket, refusal)
                    closer.closeConnection(socket.release(), of: peer.uid)
                    continue
                }
                clientNumber += 1
                clients[clientNumber] = try ClientConnection(number: clientNumber, socket: socket, peer: peer, front: self)
                metrics.connections += 1
                doorkeeper.entered(clients[clientNumber]!)
                idleTimer?.cancel()
            } catch {
                log.warning("a client could not be taken: \(error)")
            }
        }
    }

    func stopListening() {
        acceptRegistration?.cancel()
        acceptRegistration = nil
        listener = nil
    }

    private func acceptOne() -> Descriptor? {
        do throws(SystemError) {
            return try MessageSocket.accept(listener?.raw ?? -1)
        } catch {
            // Out of descriptors: the connection stays in the backlog until some are free. The listener is readable all the
            // while, so it is left alone for a moment instead of asked again and again.
            log.warning("\(error); no new clients for a moment")
            acceptRegistration?.setInterest([])
            loop.after(nanoseconds: Front.acceptPauseNanoseconds) { [weak self] in
                self?.acceptRegistration?.setInterest(.read)
            }
            return nil
        }
    }

    /// SECURITY: the socket's mode and group say who may connect; the peer's ids are known from the kernel and decide here.
    func mayUse(_ client: ClientConnection) -> Bool {
        guard doorkeeper.rules.rule(for: client.peer) != nil else { return false }
        // In its own user namespace an ordinary user is 0; other users of the host are not mapped at all.
        if case .root = identity { return true }
        return client.uid == geteuid()
    }

    func clientClosed(_ client: ClientConnection) {
        clients[client.number] = nil
        doorkeeper.left(client)
        // SECURITY: a connection owns what it asked for; when it goes, that goes.
        for sandbox in client.leased.values where !sandbox.request.detached {
            if sandbox.isRunning {
                sandbox.end(because: .cancelled)
            } else {
                sandbox.abort(HatcheryError(.cancelled, side: .client, detail: "the connection was closed"))
            }
        }
        client.leased = [:]
        startIdleTimer()
    }

    private func startIdleTimer() {
        idleTimer?.cancel()
        guard let idle = configuration.idleExit, clients.isEmpty, sandboxes.isEmpty else { return }
        idleTimer = loop.after(nanoseconds: idle.nanoseconds) { [weak self] in
            self?.log.info("idle for \(idle): leaving")
            self?.stop()
        }
    }

    // MARK: What sandboxes report

    func nextSerial() -> UInt64 {
        serial += 1
        return serial
    }

    /// The program runs; the client is being told.
    func started(_ sandbox: Sandbox) {
        turnstile.settled(sandbox)
        metrics.spawned(
            sandbox.zygote.name, isHit: sandbox.isNurseryHit, seconds: Double(sandbox.spawnNanoseconds) / 1e9)
        if audit.isOn { audit.write(AuditRecord(.spawn, sandbox)) }
        tell(sandbox, "runs after \(sandbox.spawnNanoseconds / 1000) us")
    }

    /// A line of the log about one spawn, with the words by which it is found.
    private func tell(_ sandbox: Sandbox, _ text: @autoclosure () -> String) {
        guard log.logLevel <= .debug else { return }
        log.debug("sandbox \(sandbox.id): \(text())", metadata: metadata(sandbox).mapValues { .string($0) })
    }

    /// The end of a run, for the log.
    func ended(_ sandbox: Sandbox, _ report: Ended) {
        metrics.ended(sandbox.zygote.name, report)
        for violation in report.violations { metrics.denied(violation.syscall, count: violation.count) }
        if audit.isOn { audit.write(AuditRecord(.end, sandbox, report: report)) }
        tell(sandbox, report.verdict.name)
    }

    func failed(_ sandbox: Sandbox, _ error: HatcheryError) {
        if audit.isOn { audit.write(AuditRecord(.refused, sandbox, error: error)) }
        tell(sandbox, "\(error)")
    }

    func forget(_ sandbox: Sandbox) {
        guard sandboxes.removeValue(forKey: sandbox.id) != nil else { return }
        if sandbox.client.leased[sandbox.requestNumber] === sandbox { sandbox.client.leased[sandbox.requestNumber] = nil }
        sandbox.letGo()
        turnstile.left(sandbox)
        if sandboxes.isEmpty { startIdleTimer() }
        lifecycle.sandboxForgotten()
    }

    /// 16 hexadecimal digits that nobody can guess.
    func newID() -> String {
        var generator = SystemRandomNumberGenerator()
        let digits = String(generator.next() as UInt64, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
