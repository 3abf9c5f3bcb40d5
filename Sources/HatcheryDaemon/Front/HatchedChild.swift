import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Who waits for a child: a request's `Sandbox`, or the `Nursery` while the child is parked.
protocol HatchedChildOwner: AnyObject {
    /// The payload is sealed and waits for its launch order; told only where the set-up order asks for it.
    func childParked(_ child: HatchedChild)
    /// The program runs.
    func childReady(_ child: HatchedChild)
    func childFailed(_ child: HatchedChild, _ step: Step, _ errno: Int32)
    /// Every process of the sandbox is gone.
    func childEnded(_ child: HatchedChild, _ ended: Processes.Ended)
}

/// One cloned child as the front holds it: its descriptors, its two orders, its reports, its end.
///
/// It knows nothing of clients. The states and what leads from one to the next are in `SandboxState`; this class does the
/// input and output for it.
final class HatchedChild {
    private unowned let front: Front
    private let pool: IDPool
    weak var owner: HatchedChildOwner?
    private(set) var state: SandboxState
    let ids: IDPool.Pair?
    let generation: UInt32
    private(set) var initPID: Int32 = 0
    private(set) var payloadPID: Int32 = 0
    /// When the child said that its program starts, and when its init said that it ended.
    private(set) var readyAt: UInt64 = 0
    private(set) var endedRunning: UInt64 = 0
    private var isGivenUp = false
    private var initPIDFD: Descriptor?
    private var payloadPIDFD: Descriptor?
    private var control: Descriptor?
    private var statusPipe: Descriptor?
    private var scratch: Descriptor?
    private var scratchPlace: ScratchSpace?
    /// Whether the set-up order asks for a terminal; the client's end of it, until it is taken.
    var wantsTerminal = false
    private var terminal: Descriptor?
    /// Whether an interface is put into its network namespace before it gets its set-up order, and which it got.
    var wantsNetwork = false
    private let failAt: Step?
    private var lease: Networks.Lease?
    /// Its own, from birth on; nil where this daemon makes none.
    let cgroup: SandboxCgroup?
    /// Whether the kernel ended it for its memory limit; known at its end.
    private(set) var ranOutOfMemory = false
    private var registrations: [EventLoop.Registration] = []
    /// The listener of its filter, once a refusal has ended the run: it closes when nobody is left who could go on.
    private var unansweredRefusals: Descriptor?
    /// While its program runs, so that its end need not wait for their end.
    private var namespaces: TearDown.Held?
    /// What is sent as soon as there is somebody to send it to.
    private var onCloned: (() throws(SystemError) -> Void)?

    // MARK: Steps 2 to 4

    /// Has a child cloned; the answer comes to `owner`.
    /// - Parameters:
    ///   - limits: of its cgroup; a hand-over may change them.
    ///   - without: layers to leave out (tests).
    ///   - failAt: a step to fail on purpose (tests).
    init(
        front: Front, zygote: Zygote, profile: ProfileConfiguration, limits: GrantedLimits, without: LayerSet = [],
        failAt: Step? = nil
    ) throws(SystemError) {
        self.front = front
        cgroup = without.contains(.cgroup) ? nil : try front.cgroups.take(limits)
        self.failAt = failAt
        state = SandboxState(becomesProgram: zygote.configuration.kind == .exec)
        pool = front.ids
        generation = zygote.generation
        // step 2 (front)
        // Left out by a test, all sandboxes have the zygotes' id, as in a single-id map.
        ids = front.identity.isDistinct && !without.contains(.distinctUID) ? front.ids.take() : nil
        var map = CloneOrder.IDMap(
            uid: profile.uid, gid: profile.gid, payloadID: ids?.payloadID ?? Identity.zygoteID,
            initID: ids?.initID)
        #if HATCHERY_TESTING
            // An id that the base namespace does not have: the kernel refuses the map.
            if failAt == .idMaps { map.payloadID = CloneOrder.IDMap.unmappedForTests }
            if without.contains(.idmap) {
                map.payloadID = CloneOrder.IDMap.everythingForTests
                map.initID = front.identity.baseCount
            }
        #endif
        let pair = try MessageSocket.Pair()
        let status = try Pipe()
        try status.readEnd.setNonblocking()
        let order = CloneOrder(serial: front.nextSerial(), namespaces: Namespaces.flags(without: without), map: map)
        let born = try cgroup?.openForClone().release() ?? -1
        defer { if born >= 0 { close(born) } }
        try zygote.clone(order, control: pair.second.raw, status: status.writeEnd.raw, cgroup: born, for: self)
        control = consume pair.first
        statusPipe = consume status.readEnd
    }

    deinit {
        for registration in registrations { registration.cancel() }
        if let ids { pool.give(back: ids) }
    }

    /// The outer id of the payload as this process counts: the owner of the pipes that it gets.
    var payloadOwner: uid_t { front.identity.local(ids?.payloadID ?? Identity.zygoteID) }

    /// Sends the set-up order now, or once the child exists.
    func setUp(_ send: @escaping () throws(SystemError) -> Void) { onCloned = send }

    func cloned(_ report: CloneReport) {
        guard report.pid > 0 else {
            owner?.childFailed(self, .clone, report.errno)
            return
        }
        initPID = report.pid
        front.knownPIDs.insert(initPID)
        do throws(SystemError) {
            let pidfd = try Processes.open(pid: report.pid)
            let raw = pidfd.raw
            initPIDFD = consume pidfd
            registrations.append(try front.loop.watch(raw) { [self] _ in initEnded() })
            registrations.append(try front.loop.watch(control?.raw ?? -1) { [weak self] _ in self?.readControl() })
            registrations.append(try front.loop.watch(statusPipe?.raw ?? -1) { [weak self] _ in self?.readStatus() })
        } catch {
            // Our own child, not reaped yet: this fails for want of descriptors or memory only.
            cancelRegistrations()
            _ = Glibc.kill(report.pid, SIGKILL)
            _ = try? Processes.reap(pid: report.pid, wait: true)
            forgetInit()
            owner?.childFailed(self, .descriptors, error.errno)
            return
        }
        if isGivenUp {
            kill()
            return
        }
        guard report.errno == 0 else {
            owner?.childFailed(self, Step(rawValue: report.step) ?? .idMaps, report.errno)
            return
        }
        #if HATCHERY_TESTING
            if failAt == .attachNetwork {
                owner?.childFailed(self, .attachNetwork, EIO)
                return
            }
        #endif
        if wantsNetwork { attachNetwork() } else { sendOrders() }
    }

    // step 41 (front): before the set-up order, so that the init finds its interface there.
    private func attachNetwork() {
        guard front.networks.isUp else {
            // Of the nursery, at the daemon's start, or while pasta is started again; a request has waited before.
            front.networks.begin { [self] failure in
                guard isAlive, !isGivenUp else { return }
                if let failure {
                    owner?.childFailed(self, .attachNetwork, failure.errno == 0 ? ENETDOWN : failure.errno)
                } else {
                    attachToNetwork()
                }
            }
            return
        }
        attachToNetwork()
    }

    private func attachToNetwork() {
        do throws(SystemError) {
            try front.networks.attach(initPID) { [self] outcome in
                guard isAlive, !isGivenUp else { return }
                switch outcome {
                case .success(let lease):
                    self.lease = lease
                    sendOrders()
                case .failure(let error): owner?.childFailed(self, .attachNetwork, error.errno)
                }
            }
        } catch {
            owner?.childFailed(self, .attachNetwork, error.errno)
        }
    }

    private func sendOrders() {
        do throws(SystemError) {
            try onCloned?()
            onCloned = nil
        } catch {
            // It may have failed by itself between the two orders; then its record is there, and says why.
            if error.errno == EPIPE || error.errno == ECONNRESET { readStatus() }
            owner?.childFailed(self, Shortage.isMeant(by: error.errno) ? .descriptors : .awaitSetup, error.errno)
        }
    }

    /// What its init is told of its network; nil where it has none.
    var network: NetworkSetup? { lease?.setup }

    // MARK: Orders

    /// Sends one order. The child's queue is empty, so this never waits.
    /// - Parameter descriptors: borrowed.
    func send(_ bytes: [UInt8], descriptors: [Int32]) throws(SystemError) {
        guard let raw = control?.raw else { throw SystemError("sendmsg", errno: EPIPE) }
        guard try MessageSocket.send(raw, bytes, descriptors: descriptors, dontWait: true) else {
            throw SystemError("sendmsg", errno: EAGAIN)
        }
    }

    // MARK: Reports

    private func readStatus() {
        guard let raw = statusPipe?.raw else { return }
        var bytes = [UInt8](repeating: 0, count: StatusRecord.size)
        while true {
            let count = read(raw, &bytes, bytes.count)
            if count < 0 { return }  // EAGAIN: the rest comes later
            if count == 0 { break }
            guard let record = StatusRecord(decoding: bytes[..<count]) else {
                owner?.childFailed(self, .awaitSetup, EPROTO)
                return
            }
            switch state.record(record) {
            case .ready:
                readyAt = MonotonicClock.now()
                if state.recordTaken() == .announce { owner?.childReady(self) }
            case .parked:
                // What a rehearsal was refused was told before this record was written; nothing of a request runs yet.
                readControl()
                state.rehearsed()
                owner?.childParked(self)
            case .failed:
                owner?.childFailed(self, Step(rawValue: record.step) ?? .awaitSetup, record.errno)
                return
            }
        }
        // End of file: the payload's own code has begun, or the child is gone and its pidfd reports the end.
        cancelRegistration(of: raw)
        statusPipe = nil
        if state.statusClosed() == .announce { owner?.childReady(self) }
    }

    private func readControl() {
        while let raw = control?.raw {
            guard
                var message = try? MessageSocket.receive(
                    raw, capacity: InitMessage.maximumSize, descriptorRoom: 3, dontWait: true)
            else { return }
            if message.isEndOfStream {
                cancelRegistration(of: raw)
                return
            }
            if message.truncated && !state.isReady {
                // There was no room for a descriptor of it. Without one the child would be less than its requests count on.
                owner?.childFailed(self, .descriptors, EMFILE)
                return
            }
            switch InitMessage(decoding: message.bytes) {
            case .payloadForked where message.descriptors.count >= 1:
                let pidfd = message.descriptors.take(0)
                do throws(SystemError) {
                    payloadPID = try Processes.pid(of: pidfd.raw) ?? 0
                } catch {
                    owner?.childFailed(self, .descriptors, error.errno)
                    return
                }
                payloadPIDFD = consume pidfd
                let last = message.descriptors.count - 1
                if wantsTerminal && last >= 1 { terminal = message.descriptors.take(last) }
                if (wantsTerminal ? last - 1 : last) >= 1 { scratch = message.descriptors.take(1) }
                if state.payloadForked() == .announce { owner?.childReady(self) }
            case .payloadEnded(let status):
                endedRunning = MonotonicClock.now()
                state.payloadEnded(ExitStatus(waitStatus: status))
            case .refused(let syscall, let count, let isFatal):
                if isFatal && message.descriptors.count >= 1 { unansweredRefusals = message.descriptors.take(0) }
                state.refused(syscall: syscall, count: count, isFatal: isFatal)
            case .sentBadSystemCall: state.sentBadSystemCallSignal()
            default:
                front.log.error("child \(initPID): its init sent something unknown")
                kill()
            }
        }
    }

    /// The init's pidfd is readable: the whole pid namespace is gone.
    private func initEnded() {
        guard initPID > 0 else { return }
        readControl()
        readStatus()
        guard initPID > 0, let ended = try? Processes.reap(pid: initPID) else { return }
        forgetInit()
        ranOutOfMemory = cgroup?.ranOutOfMemory ?? false
        if ranOutOfMemory { state.ranOutOfMemory() }
        if endedRunning == 0 { endedRunning = MonotonicClock.now() }
        // The last reference may be this object's own registration.
        let keepAlive = self
        cancelRegistrations()
        owner?.childEnded(keepAlive, ended)
        namespaces = nil
        unansweredRefusals = nil
    }

    // MARK: End

    /// Has the namespaces taken down after its end is told, and not before.
    /// - Parameter user: who asked for it.
    func holdNamespaces(for user: uid_t) {
        guard let raw = initPIDFD?.raw, initPID > 0 else { return }
        // An interface must be gone with the sandbox: its address is given out again.
        namespaces = front.tearDown.hold(wantsNetwork ? [.mount] : [.mount, .network], of: raw, for: user)
    }

    /// SECURITY: the init's end is the end of every process of its pid namespace, whatever they did.
    func kill() {
        guard let raw = initPIDFD?.raw, initPID > 0 else { return }
        try? Processes.signal(raw, SIGKILL)
        cgroup?.kill()
    }

    /// Ends the child wherever it is; one that is not cloned yet is ended when it is.
    func giveUp() {
        isGivenUp = true
        kill()
    }

    func ending(because verdict: Verdict) {
        state.ending(because: verdict)
        kill()
    }

    /// A signal for the program itself.
    func signal(_ number: Int32) {
        guard let raw = payloadPIDFD?.raw else { return }
        try? Processes.signal(raw, number)
    }

    /// A pidfd of the payload for the client; -errno where there is no descriptor left.
    func duplicatePIDFD() -> Int32 { hatchery_fcntl(payloadPIDFD?.raw ?? -1, hatchery_f_dupfd_cloexec, 3) }

    /// The scratch directory of a child that has ended or not; -1 where it was not asked for.
    var scratchDescriptor: Int32 { scratch?.raw ?? -1 }

    /// The same for a look at how full it is.
    var scratchSpace: ScratchSpace? { scratchPlace ?? (scratch?.raw).map { .directory($0) } }

    /// Closes the scratch directory where there is another way to look at it, or nothing to look for.
    func letGoOfScratch(home: String) {
        guard let raw = scratch?.raw else { return }
        if let cgroup, cgroup.keepsMemory {
            scratch = nil
        } else if let place = ScratchSpace.withoutDescriptor(raw, initPID: initPID, home: home) {
            scratchPlace = place
            scratch = nil
        }
    }

    /// Moves the client's end of the terminal out; the caller closes it. -1 where there is none.
    func takeTerminal() -> Int32 { terminal.take()?.release() ?? -1 }

    /// Whether the clone may still be under way or a process exists.
    var isAlive: Bool { initPID > 0 }

    private func forgetInit() {
        front.knownPIDs.remove(initPID)
        initPID = 0
    }

    private func cancelRegistrations() {
        for registration in registrations { registration.cancel() }
        registrations = []
    }

    private func cancelRegistration(of raw: Int32) {
        registrations.removeAll { registration in
            guard registration.descriptor == raw else { return false }
            registration.cancel()
            return true
        }
    }
}
