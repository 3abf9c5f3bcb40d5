import CHatchery
import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem

/// One zygote and its supervision: started, tested, watched, restarted with back-off, retired. Children live on when it dies.
final class Zygote {
    enum State: Equatable {
        case starting
        /// Preloaded; two children prove that they differ.
        case testing
        case ready
        /// It told why it cannot serve, or could not be started: waiting would not help.
        case failed(String)
    }

    static let firstBackOffNanoseconds: UInt64 = 100_000_000
    static let longestBackOffNanoseconds: UInt64 = 30_000_000_000
    /// A zygote that dies this often before it is ready will not come by waiting.
    static let silentDeathLimit = 5
    static let findingLimit = 32

    let configuration: ZygoteConfiguration
    /// What its parked children are built from, and tested with.
    let settings: Settings
    var name: String { configuration.name }
    private(set) var generation: UInt32
    private(set) var state: State = .starting
    private(set) var pid: Int32 = 0
    private(set) var heap = FrozenHeap()
    private(set) var handlers: [String] = []
    private(set) var findings: [String] = []
    private(set) var spawned: UInt64 = 0
    /// Of a generation that does not serve yet. It has one try: the one that serves is there all the same.
    private var isCandidate: Bool
    /// Replaced: it ends when it has answered its orders.
    private(set) var isRetired = false
    private var selfTest: SelfTest?
    private var rotationTimer: EventLoop.Timer?
    private unowned let front: Front
    private var socket: Descriptor?
    private var pidfd: Descriptor?
    /// Its two roots, while its preload runs: code of a preload has no descriptor of them.
    private var roots: DescriptorBatch?
    private var registrations: [EventLoop.Registration] = []
    private var startTimer: EventLoop.Timer?
    private(set) var nursery: Nursery?
    private var backOff = Zygote.firstBackOffNanoseconds
    private var readySince: UInt64 = 0
    private var silentDeaths = 0
    /// What it was ended for, where that was the daemon's own want of descriptors and no fault of the zygote.
    private var lacked: SystemError?
    /// Children whose order the zygote has, by serial.
    private var ordered: [UInt64: HatchedChild] = [:]
    /// Sandboxes that came before the zygote was ready.
    private var waiting: [Sandbox] = []

    init(_ configuration: ZygoteConfiguration, generation: UInt32, settings: Settings, front: Front, isCandidate: Bool) {
        self.configuration = configuration
        self.generation = generation
        self.settings = settings
        self.front = front
        self.isCandidate = isCandidate
    }

    // MARK: Start

    func start() {
        state = .starting
        heap = FrozenHeap()
        (handlers, findings) = ([], [])
        do throws(HatcheryError) {
            try launch()
        } catch {
            couldNotStart(error)
            return
        }
        startTimer = front.loop.after(nanoseconds: configuration.startTimeout.nanoseconds) { [weak self] in
            guard let self, self.isComing else { return }
            self.failed("the zygote was not ready within \(self.configuration.startTimeout)")
        }
    }

    private func launch() throws(HatcheryError) {
        do throws(SystemError) {
            let pair = try MessageSocket.Pair()
            var keep = [pair.second.raw]
            let (spec, descriptors) = try program(control: pair.second.raw)
            defer { for raw in descriptors { close(raw) } }
            let specFile = try SealedMemory.make(name: "zygote-spec", bytes: spec.encoded())
            keep += [specFile.raw] + descriptors
            let arguments = ["hatchery-zygote", "\(pair.second.raw)", "\(specFile.raw)"]
            pid = try check(spawn(front.images.zygote.raw, arguments, keep), "fork")
            front.knownPIDs.insert(pid)
            socket = consume pair.first
            do throws(SystemError) {
                try supervise()
            } catch {
                abandon()
                throw error
            }
        } catch {
            throw HatcheryError(.setupFailed, side: .front, errno: error.errno, detail: "start of zygote \(name): \(error.call) \(error.subject)")
        } 
    }

    private func supervise() throws(SystemError) {
        // Before it has loaded anything: what it loads is counted there, and children come from there.
        try front.cgroups.adopt(zygote: pid)
        let handle = try Processes.open(pid: pid)
        let rawHandle = handle.raw
        pidfd = consume handle
        registrations.append(try front.loop.watch(socket?.raw ?? -1) { [weak self] _ in self?.readMessages() })
        registrations.append(try front.loop.watch(rawHandle) { [weak self] _ in self?.exited() })
    }

    /// Nothing would tell of its end: it is ended and reaped here.
    private func abandon() {
        cancelRegistrations()
        kill(pid, SIGKILL)
        _ = try? Processes.reap(pid: pid, wait: true)
        front.knownPIDs.remove(pid)
        pid = 0
        socket = nil
        roots = nil
        pidfd = nil
    }

    /// While there is another to serve, or nobody to be told, what is lacking now is waited for.
    private func couldNotStart(_ error: HatcheryError) {
        if isWorthWaiting(error.errno) { startAgain("could not be started: \(error)") } else { failed(error.description) }
    }

    private func isWorthWaiting(_ errno: Int32) -> Bool { Shortage.isMeant(by: errno) && !isCandidate && !front.isStarting }

    private func spawn(_ program: Int32, _ arguments: [String], _ keep: [Int32]) -> Int32 {
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        return hatchery_spawn_program(program, &pointers, &environment, keep, Int32(keep.count), SIGKILL)
    }

    /// The specification of this zygote's kind, and descriptors that its program gets; the caller closes them.
    private func program(control: Int32) throws(SystemError) -> (ZygoteSpec, [Int32]) {
        switch configuration.kind {
        case .exec: return (RootTree.spec(for: configuration, identity: front.identity, extra: []), [])
        case .python: return try PythonProgram(configuration, front.identity, front.images).prepare(control: control)
        case .swift: return try SwiftProgram(configuration, front.identity).prepare(control: control)
        }
    }

    // MARK: Messages

    private func readMessages() {
        while let raw = socket?.raw {
            guard
                var message = try? MessageSocket.receive(
                    raw, capacity: ZygoteMessage.maximumSize, descriptorRoom: 2, dontWait: true)
            else { return }
            if message.isEndOfStream {
                // The pidfd reports the end; until then nothing more comes from here.
                cancelRegistration(of: raw)
                return
            }
            if let report = message.bytes.withUnsafeBytes({ CloneReport($0) }) {
                ordered.removeValue(forKey: report.serial)?.cloned(report)
                endIfRetired()
            } else {
                handle(&message)
            }
        }
    }

    private func handle(_ message: inout MessageSocket.Message) {
        switch try? ZygoteMessage(decoding: message.bytes) {
        case .wantsMaps:
            // Without room for its roots now there would be none to give back.
            if message.descriptors.count < 2 { return cannotSetUp(SystemError("recvmsg", errno: EMFILE, subject: "the zygote's roots")) }
            roots = DescriptorBatch(owning: message.descriptors.releaseAll())
            writeMaps()
        case .wantsRoots: giveRoots()
        case .ready(_, let heap): preloaded(heap)
        case .failed(let message): failed(message)
        case .handlers(let names): handlers = names
        case .finding(let text): found(text)
        case nil: failed("the zygote sent a message that cannot be read")
        }
    }

    private func found(_ text: String) {
        guard findings.count < Zygote.findingLimit else { return }
        findings.append(text)
        front.log.warning("zygote \(name): \(text)")
    }

    private func writeMaps() {
        do throws(SystemError) {
            // SECURITY: denied here, and so in the namespaces of all children: nobody sheds a group (CVE-2014-8989).
            try Files.write("/proc/\(pid)/setgroups", "deny")
            try Files.write("/proc/\(pid)/uid_map", front.identity.baseMap)
            try Files.write("/proc/\(pid)/gid_map", front.identity.baseMap)
            try MessageSocket.send(socket?.raw ?? -1, [1])
        } catch {
            cannotSetUp(error)
        }
    }

    private func cannotSetUp(_ error: SystemError) {
        if isWorthWaiting(error.errno) {
            lacked = error
            kill(pid, SIGKILL)
        } else {
            failed("the zygote could not be set up: \(error)")
        }
    }

    private func giveRoots() {
        // Closed with the batch, whatever becomes of the message.
        let given = roots.take() ?? DescriptorBatch()
        do throws(SystemError) {
            try MessageSocket.send(socket?.raw ?? -1, [1], descriptors: (0..<given.count).map { given.raw($0) })
        } catch {
            failed("the roots of the zygote could not be given back: \(error)")
        }
    }

    /// It has one thread, and its heap is frozen. Before it serves, two of its children prove that they differ.
    private func preloaded(_ heap: FrozenHeap) {
        guard state == .starting, !isRetired else { return }
        self.heap = heap
        let missing = configuration.handlers.filter { !handlers.contains($0) }
        guard missing.isEmpty else {
            return failed("it has no handler \(missing.joined(separator: ", ")); it has \(handlers.joined(separator: ", "))")
        }
        state = .testing
        // Kind exec has no memory of its own that a program could see.
        guard configuration.kind != .exec else { return serve() }
        selfTest = SelfTest(self, settings: settings, front: front) { [weak self] problem in
            guard let self, self.state == .testing else { return }
            self.selfTest = nil
            if let problem { self.failed("self-test: \(problem)") } else { self.serve() }
        }
        selfTest?.start()
    }

    private func serve() {
        state = .ready
        readySince = MonotonicClock.now()
        startTimer?.cancel()
        front.log.info("zygote \(name): ready, generation \(generation), pid \(pid)")
        if heap.bytes > 0 { front.log.info("zygote \(name): \(heap.bytes >> 10) KiB frozen in \(heap.mappings) mappings") }
        if !heap.note.isEmpty { front.log.warning("zygote \(name): \(heap.note)") }
        let sandboxes = waiting
        waiting = []
        for sandbox in sandboxes where !sandbox.isFinished { front.begin(sandbox) }
        if nursery == nil { nursery = Nursery(configuration, zygote: self, front: front) }
        nursery?.fill()
        rotationTimer?.cancel()
        if let after = configuration.rotate.after { startRotationTimer(after) }
        front.zygoteChanged(self)
    }

    // MARK: Rotation

    /// Counts a request that was served. Retries after a rotation that failed come after as many spawns again.
    func countSpawn() {
        spawned += 1
        guard let limit = configuration.rotate.spawns, spawned.isMultiple(of: UInt64(limit)), !isRetired else { return }
        front.generations.rotate(name)
    }

    private func startRotationTimer(_ after: Duration) {
        rotationTimer = front.loop.after(nanoseconds: after.nanoseconds) { [weak self] in
            guard let self, !self.isRetired else { return }
            self.startRotationTimer(after)
            self.front.generations.rotate(self.name)
        }
    }

    // MARK: Failure

    private func failed(_ message: String) {
        state = .failed(message)
        startTimer?.cancel()
        selfTest?.cancel()
        selfTest = nil
        front.log.error("zygote \(name): \(message)")
        if pid > 0 { kill(pid, SIGKILL) }
        let error = failure
        for sandbox in waiting { sandbox.abort(error) }
        waiting = []
        front.zygoteChanged(self)
    }

    /// What a request for this zygote is told while it is failed.
    var failure: HatcheryError {
        var message = ""
        if case .failed(let text) = state { message = text }
        return HatcheryError(
            .lost, side: .zygote, detail: "zygote \(name) cannot serve: \(message)",
            hint: "mend its configuration (preload, interpreter), then `hatchery reload`")
    }

    /// Whether a request may wait for it.
    var isComing: Bool { state == .starting || state == .testing }

    // MARK: Orders

    /// Puts a sandbox in line until the zygote is ready.
    func enqueue(_ sandbox: Sandbox) { waiting.append(sandbox) }

    /// - Parameter cgroup: where the child is born, or -1.
    func clone(_ order: CloneOrder, control: Int32, status: Int32, cgroup: Int32, for child: HatchedChild) throws(SystemError) {
        guard let raw = socket?.raw, state == .ready || state == .testing else { throw SystemError("zygote", errno: ECONNREFUSED) }
        var bytes = [UInt8](repeating: 0, count: CloneOrder.size)
        bytes.withUnsafeMutableBytes { order.write(into: $0) }
        guard try MessageSocket.send(raw, bytes, descriptors: [control, status] + (cgroup >= 0 ? [cgroup] : []), dontWait: true) else {
            // Hundreds of orders are under way; the client is told to come back.
            throw SystemError("sendmsg", errno: EAGAIN)
        }
        ordered[order.serial] = child
    }

    // MARK: End

    private func exited() {
        guard pid > 0, let ended = try? Processes.reap(pid: pid) else { return }
        // First of all: the number may be somebody else's from now on.
        front.knownPIDs.remove(pid)
        pid = 0
        // What it said last is still in the socket.
        readMessages()
        cancelRegistrations()
        socket = nil
        roots = nil
        pidfd = nil
        startTimer?.cancel()
        selfTest?.cancel()
        selfTest = nil
        let lost = ordered.values
        ordered = [:]
        for child in lost { child.cloned(CloneReport(serial: 0, pid: 0, errno: ECONNRESET)) }
        // A child may have been cloned without a report. It ends when its control socket closes, some moments from now.
        for delay in [100_000_000, 2_000_000_000] as [UInt64] {
            front.loop.after(nanoseconds: delay) { [weak self] in self?.front.reapStrangers() }
        }
        if isRetired { return front.generations.gone(self) }
        if case .failed = state { return }
        guard !front.isStopping else { return }
        restart(after: ExitStatus(waitStatus: ended.status))
    }

    private func restart(after status: ExitStatus) {
        if let lacked {
            self.lacked = nil
            return startAgain("could not be started: \(lacked)")
        }
        // One that lived for a while starts at once again; one that dies at its start is given more and more time.
        if state == .ready && MonotonicClock.now() - readySince > 10_000_000_000 {
            backOff = Zygote.firstBackOffNanoseconds
        }
        silentDeaths = state == .ready ? 0 : silentDeaths + 1
        if isCandidate {
            failed("it ended before it served: \(status)")
            return
        }
        if silentDeaths >= Zygote.silentDeathLimit {
            failed("it ended \(silentDeaths) times before it was ready, the last time: \(status)")
            return
        }
        startAgain("ended (\(status))")
    }

    private func startAgain(_ why: String) {
        front.metrics.restarts[name, default: 0] += 1
        front.log.error("zygote \(name): \(why); restarting in \(backOff / 1_000_000) ms")
        state = .starting
        front.loop.after(nanoseconds: backOff) { [weak self] in
            guard let self, !self.front.isStopping, !self.isRetired else { return }
            self.generation = self.front.generations.next(of: self.name)
            self.start()
        }
        backOff = min(backOff * 2, Zygote.longestBackOffNanoseconds)
    }

    // MARK: Replacement

    /// Requests go to it from now on.
    func takeOver() { isCandidate = false }

    /// Requests that wait for it, which no longer will.
    func takeWaiting() -> [Sandbox] {
        defer { waiting = [] }
        return waiting
    }

    /// No more requests: parked children end, orders under way are answered, then the process ends. Its children live on.
    func retire() {
        isRetired = true
        startTimer?.cancel()
        rotationTimer?.cancel()
        selfTest?.cancel()
        selfTest = nil
        nursery?.empty()
        endIfRetired()
    }

    private func endIfRetired() {
        guard isRetired else { return }
        if pid == 0 {
            front.generations.gone(self)
        } else if ordered.isEmpty {
            kill(pid, SIGKILL)
        }
    }

    func stop() {
        selfTest?.cancel()
        nursery?.empty()
        ordered = [:]
        waiting = []
        socket = nil
        roots = nil
        if pid > 0 { kill(pid, SIGKILL) }
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
