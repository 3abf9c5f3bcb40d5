import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// One request from its arrival to the report of its end: a child, the client's streams, the limit in time.
final class Sandbox: HatchedChildOwner {
    /// Building a sandbox takes milliseconds; one that takes this long will not come any more.
    static let setupDeadlineNanoseconds: UInt64 = 30_000_000_000

    let id: String
    let request: SpawnRequest
    let granted: Admission.Granted
    let arrival: UInt64
    let client: ClientConnection
    let requestNumber: UInt32
    /// Another one where it was replaced before it was ready.
    var zygote: Zygote
    /// Those that the request was admitted under.
    private let settings: Settings
    private unowned let front: Front

    private var child: HatchedChild?
    private(set) var isNurseryHit = false
    /// From the arrival to the answer.
    private(set) var spawnNanoseconds: UInt64 = 0
    private(set) var isRunning = false
    private(set) var isFinished = false
    /// The client's ends of the standard streams, until they are handed over.
    private var clientStreams: [Int32] = []
    /// Descriptors of the request, until the child has them: plan, root, mounts, files in.
    private var requestDescriptors: RequestDescriptors?
    private var timer: EventLoop.Timer?
    private var startedRunning: UInt64 = 0
    private var watch: ResourceWatch?
    /// The answer to a request that was given up while its child was alive.
    private var refusal: HatcheryError?

    /// - Parameter descriptors: of the request, in its order.
    init(
        id: String, request: SpawnRequest, granted: Admission.Granted, arrival: UInt64, client: ClientConnection,
        requestNumber: UInt32, zygote: Zygote, descriptors: RequestDescriptors, front: Front
    ) {
        self.id = id
        self.request = request
        self.granted = granted
        self.arrival = arrival
        self.client = client
        self.requestNumber = requestNumber
        self.zygote = zygote
        self.requestDescriptors = descriptors
        self.front = front
        settings = front.settings
    }

    deinit { letGo() }

    // MARK: Start

    /// Takes a parked child where one fits, else has one cloned.
    func begin() throws(HatcheryError) {
        #if HATCHERY_TESTING
            if let step = request.failAt, [.admit, .descriptors, .clone].contains(step) {
                throw HatcheryError(.setupFailed, side: step.side, step: step, errno: EIO, detail: "on request")
            }
        #endif
        do throws(SystemError) {
            while let parked = zygote.nursery?.take(for: request, granted) {
                if try hand(over: parked) { return }
            }
            if granted.network == .nat && !front.networks.isUp { awaitNetwork() } else { try cloneChild() }
        } catch {
            throw Sandbox.error(of: error)
        }
    }

    /// The first that wants a network waits until it is there.
    private func awaitNetwork() {
        front.networks.begin { [self] failure in
            guard !isFinished else { return }
            if let failure { return abort(failure) }
            do throws(SystemError) {
                try cloneChild()
            } catch {
                abort(Sandbox.error(of: error))
            }
        }
    }

    /// Gives the request to a parked child. One that died meanwhile is not an error: the next is taken.
    private func hand(over parked: HatchedChild) throws(SystemError) -> Bool {
        child = parked
        parked.owner = self
        do throws(SystemError) {
            try parked.cgroup?.apply(granted.limits)
            try sendLaunch(to: parked)
            isNurseryHit = true
            return true
        } catch {
            closeClientStreams()
            parked.owner = nil
            child = nil
            parked.giveUp()
            if error.errno != EPIPE && error.errno != ECONNRESET { throw error }
            return false
        }
    }

    private static func error(of error: SystemError) -> HatcheryError {
        let kind: HatcheryError.Kind =
            switch error.errno {
            case let errno where Shortage.isMeant(by: errno): .overloaded
            case ECONNREFUSED: .lost
            default: .setupFailed
            }
        return HatcheryError(
            kind, side: .front, step: .descriptors, errno: error.errno, detail: error.call,
            hint: kind == .overloaded ? "too much is under way; ask again in a moment" : "")
    }

    /// From its turn on, also while the zygote is still starting: no request waits without end.
    func startDeadline() {
        let start = zygote.state == .ready ? 0 : zygote.configuration.startTimeout.nanoseconds
        timer = front.loop.after(nanoseconds: start + Sandbox.setupDeadlineNanoseconds) { [weak self] in
            self?.abort(
                HatcheryError(
                    .setupFailed, side: .front, step: .awaitSetup, errno: ETIMEDOUT,
                    detail: "the sandbox was not ready in time"))
        }
    }

    private func cloneChild() throws(SystemError) {
        if front.identity.isDistinct && front.ids.available == 0 {
            abort(
                HatcheryError(
                    .overloaded, side: .front, step: .admit, detail: "every id of the configured range is in use",
                    hint: "wait until sandboxes end, or enlarge ids.count"))
            return
        }
        let child = try HatchedChild(
            front: front, zygote: zygote, profile: granted.profile, limits: granted.limits, without: request.without,
            failAt: request.failAt)
        child.owner = self
        child.wantsTerminal = request.terminal != nil
        child.wantsNetwork = granted.network == .nat
        self.child = child
        child.setUp { [weak self] () throws(SystemError) in
            guard let self, let child = self.child else { return }
            try self.sendSetup(to: child)
            if !self.isFinished { try self.sendLaunch(to: child) }
        }
    }

    private var orders: SpawnOrders {
        SpawnOrders(
            request: request, granted: granted, hasTwoIDs: front.identity.isDistinct,
            groupsMustBeEmpty: front.identity.isDistinct)
    }

    private func sendSetup(to child: HatchedChild) throws(SystemError) {
        let filters = settings.filters(for: granted.profileName)
        var trees: [Int32] = []
        defer { for tree in trees { close(tree) } }
        guard openTrees(&trees) else { return }
        var order = orders.setup(filters)
        order.network = child.network
        try child.send(order.encoded(), descriptors: [filters.payload, filters.initFilter] + trees)
    }

    /// Detached mounts of what the client opened; on failure the request is answered and false comes back.
    private func openTrees(_ trees: inout [Int32]) -> Bool {
        guard let descriptors = requestDescriptors else { return false }
        let keepsSetuid = request.without.contains(.noNewPrivs)
        let rootCount = request.rootFileSystem ? 1 : 0
        for index in 0..<(rootCount + request.mounts.count) {
            let isRoot = index < rootCount
            let isWritable = !isRoot && request.mounts[index - rootCount].writable
            do throws(SystemError) {
                trees.append(
                    try HostMounts.tree(
                        from: descriptors[1 + index], writable: isWritable, keepsSetuid: keepsSetuid
                    ).release())
            } catch {
                let name = isRoot ? "the root file system" : request.mounts[index - rootCount].destination
                abort(
                    HatcheryError(
                        .setupFailed, side: .front, step: isRoot ? .rootFileSystem : .extraMounts,
                        errno: error.errno, detail: "\(name): \(error.call)",
                        hint: error.errno == EINVAL
                            ? "it lies in a mount namespace or on a kind of file system that cannot be bound" : ""))
                return false
            }
        }
        return true
    }

    private func sendLaunch(to child: HatchedChild) throws(SystemError) {
        var streams: [Int32] = []
        defer { for stream in streams { close(stream) } }
        try makeStreams(owner: child.payloadOwner, &streams)
        guard let descriptors = requestDescriptors else { return }
        let files = descriptors.raws.suffix(request.filesIn.count)
        try child.send(orders.launch().encoded(), descriptors: streams + [descriptors[0]] + files)
        requestDescriptors = nil
    }

    /// Pipes for the child; the client's ends are kept for it.
    private func makeStreams(owner: uid_t, _ childEnds: inout [Int32]) throws(SystemError) {
        // Its terminal is made inside the sandbox, and comes out of it.
        if request.terminal != nil { return }
        // Owned until all are there: a pipe after this one may fail for want of descriptors.
        var input: Descriptor?
        if request.stdinPipe {
            let pipe = try Pipe()
            try checkErrno(fchown(pipe.readEnd.raw, owner, owner), "fchown")
            childEnds.append(pipe.readEnd.release())
            input = consume pipe.writeEnd
        } else {
            childEnds.append(try Files.open("/dev/null", flags: O_RDONLY).release())
        }
        for _ in 1...2 {
            let pipe = try Pipe()
            // So that the payload can open /dev/stdout and /dev/stderr again. In a single-id map it owns them already.
            try checkErrno(fchown(pipe.writeEnd.raw, owner, owner), "fchown")
            childEnds.append(pipe.writeEnd.release())
            clientStreams.append(pipe.readEnd.release())
        }
        if let input = input.take() { clientStreams.append(input.release()) }
    }

    // MARK: What the child reports

    func childParked(_ child: HatchedChild) {}

    func childFailed(_ child: HatchedChild, _ step: Step, _ errno: Int32) {
        if step == .requiredLayers {
            let receipt = receipt(of: child)
            abort(Receipts.error(for: receipt.missing.filter { request.required.contains($0.layer) }))
            return
        }
        let kind: HatcheryError.Kind =
            step == .descriptors && Shortage.isMeant(by: errno) ? .overloaded
            : step != .main ? .setupFailed : errno == ENOENT || errno == ENOTDIR ? .programNotFound : .programNotExecutable
        abort(HatcheryError(kind, side: step.side, step: step, errno: errno, hint: Hints.hint(step, errno)))
    }

    func childReady(_ child: HatchedChild) {
        guard !isFinished else { return }
        let receipt = receipt(of: child)
        let pidfd = child.duplicatePIDFD()
        guard pidfd >= 0 else {
            abort(HatcheryError(.overloaded, side: .front, step: .descriptors, errno: -pidfd))
            return
        }
        isRunning = true
        startedRunning = child.readyAt
        timer?.cancel()
        timer = front.loop.after(nanoseconds: granted.limits.wallNanoseconds) { [weak self] in
            self?.end(because: .timedOut)
        }
        // Held open only for files that are to be fetched from it.
        if request.filesOut.isEmpty { child.letGoOfScratch(home: granted.profile.home) }
        watch = ResourceWatch(
            initPID: child.initPID, scratch: child.scratchSpace, limits: granted.limits, cgroup: child.cgroup,
            user: client.uid, loop: front.loop, lookout: front.lookout
        ) { [weak self] verdict in self?.end(because: verdict) }
        spawnNanoseconds = MonotonicClock.now() - arrival
        let spawned = Spawned(
            id: id, pid: child.payloadPID, zygote: zygote.name, generation: child.generation,
            nurseryHit: isNurseryHit, spawnNanoseconds: spawnNanoseconds, receipt: receipt,
            wallNanoseconds: granted.limits.wallNanoseconds, outputBytes: granted.limits.outputBytes)
        let streams = request.terminal == nil ? clientStreams : [child.takeTerminal()]
        clientStreams = []
        client.send(
            Frame(kind: .spawned, request: requestNumber, body: spawned.encoded()), descriptors: [pidfd] + streams)
        child.holdNamespaces(for: client.uid)
        zygote.countSpawn()
        front.started(self)
    }

    private func receipt(of child: HatchedChild) -> Receipt {
        Receipts.make(reported: child.state.layers, without: request.without, front)
    }

    func childEnded(_ child: HatchedChild, _ ended: Processes.Ended) {
        timer?.cancel()
        watch?.stop()
        if isRunning && !isFinished {
            report(child, ended)
        } else if !isFinished {
            // A record would have been read before; this init died without a word.
            childFailed(child, .awaitSetup, child.ranOutOfMemory ? ENOMEM : ECHILD)
        }
        if let refusal { client.refuse(requestNumber, refusal) }
        refusal = nil
        front.forget(self)
    }

    private func report(_ child: HatchedChild, _ ended: Processes.Ended) {
        isFinished = true
        var report = child.state.verdict(
            id: id, cpuLimitNanoseconds: granted.limits.cpuNanoseconds, usage: ended.usage)
        report.wallNanoseconds = child.endedRunning > startedRunning ? child.endedRunning - startedRunning : 0
        if report.verdict == .timedOut {
            report.limit = "wall"
            report.observed = "\(Double(report.wallNanoseconds) / 1e9)s"
        }
        watch?.complete(&report)
        var opened = FilesOut.Opened()
        if child.scratchDescriptor >= 0 && !request.filesOut.isEmpty {
            opened = FilesOut.open(
                request.filesOut, home: granted.profile.home, scratch: child.scratchDescriptor)
            report.filesOut = opened.reports
        }
        let frame = Frame(kind: .ended, request: requestNumber, body: report.encoded())
        if opened.directories.isEmpty || front.identity.lets(clientUID: client.uid) {
            client.send(frame, descriptors: opened.descriptors)
        } else {
            let (client, descriptors) = (client, opened.descriptors)
            _ = TreeOpening(opened.directories, loop: front.loop) { client.send(frame, descriptors: descriptors) }
        }
        front.ended(self, report)
    }

    // MARK: End

    /// Ends the run for a reason of ours; the end itself is reported when the child is gone.
    func end(because verdict: Verdict) { child?.ending(because: verdict) }

    func signal(_ number: Int32) { child?.signal(number) }

    /// A typed error instead of a run, and nothing is left.
    func abort(_ error: HatcheryError) {
        guard !isFinished else { return }
        isFinished = true
        timer?.cancel()
        front.failed(self, error)
        child?.giveUp()
        if child?.isAlive == true {
            // Answered and forgotten when every process is reaped: the program may have begun a moment ago, and whoever gave
            // up must not find it alive after the answer. Its ids are not given out before either.
            refusal = error
        } else {
            // Nothing exists yet; a clone that is under way gets no order and is ended as soon as it is reported.
            client.refuse(requestNumber, error)
            front.forget(self)
        }
    }

    /// Lets go of everything; the child's control socket closes with the last reference to it.
    func letGo() {
        timer?.cancel()
        watch?.stop()
        closeClientStreams()
        requestDescriptors = nil
        child = nil
    }

    private func closeClientStreams() {
        for raw in clientStreams { close(raw) }
        clientStreams = []
    }

    /// The listing with what is used at this moment, which costs a look at every process where no cgroup counts.
    var listingWithUsage: SandboxListing? {
        var listing = listing
        listing?.usage = watch?.usage
        return listing
    }

    var listing: SandboxListing? {
        guard isRunning, !isFinished, let child else { return nil }
        return SandboxListing(
            id: id, pid: child.payloadPID, zygote: zygote.name, profile: granted.profileName, title: request.title,
            ownerUID: client.uid, ageNanoseconds: MonotonicClock.now() - startedRunning)
    }
}
