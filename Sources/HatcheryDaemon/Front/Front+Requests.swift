import Glibc
import HatcheryProtocol
import HatcherySystem

/// What clients ask for, frame by frame. Every answer is a frame; a refusal is one too.
extension Front {
    func handle(_ frame: Frame, _ descriptors: RequestDescriptors, from client: ClientConnection) {
        guard mayUse(client) else {
            client.dismiss(
                HatcheryError(
                    .notPermitted, side: .front, detail: refusalOfUse,
                    hint: "start your own: `hatchery run` does so when no daemon answers"))
            return
        }
        do throws(HatcheryError) {
            switch frame.kind {
            case .hello: client.send(Frame(kind: .welcome, request: frame.request, body: welcome()))
            case .spawn: try spawn(frame, descriptors, client)
            case .kill: try kill(frame, client)
            case .list: try list(frame, client)
            case .zygotes:
                client.send(Frame(kind: .zygoteListing, request: frame.request, body: zygoteListing()))
            case .reload: try reload(frame, client)
            case .ping: client.send(Frame(kind: .done, request: frame.request))
            default: try answerOperator(frame, client)
            }
        } catch {
            if frame.kind == .spawn && audit.isOn { audit.write(AuditRecord(refused: client.peer, error)) }
            client.refuse(frame.request, error)
        }
    }

    /// The name that a request may hold, or nothing.
    private static func name(in frame: Frame) throws(HatcheryError) -> String? {
        var name: String?
        do throws(FieldError) {
            try FieldReader.reading(frame.body) { reader throws(FieldError) in
                var reader = reader
                while let field = try reader.next() {
                    guard field.tag == 1, name == nil else { throw .unknownTag(field.tag) }
                    name = try field.string(limit: WireLimits.nameBytes)
                }
            }
        } catch {
            throw HatcheryError(.malformed, side: .front, detail: error.description)
        }
        return name
    }

    /// All that the client may see, or with an id that one alone and what it uses.
    private func list(_ frame: Frame, _ client: ClientConnection) throws(HatcheryError) {
        let id = try Front.name(in: frame)
        let found =
            if let id { [sandboxes[id]?.listingWithUsage].compactMap { $0 } } else { sandboxes.values.compactMap(\.listing) }
        let listings = found.filter { mayHandle($0.ownerUID, client) }.sorted { $0.ageNanoseconds > $1.ageNanoseconds }
        let body = Front.fitting(listings) { $0.encode(into: &$1) }
        client.send(Frame(kind: .listing, request: frame.request, body: body))
    }

    private func zygoteListing(notes: [String] = []) -> [UInt8] {
        let serving = configuration.zygotes.flatMap { zygotes[$0.name] ?? [] }
        let body = Front.fitting((serving + generations.others).map(\.listing)) { $0.encode(into: &$1) }
        var writer = FieldWriter()
        for note in notes { writer.append(tag: ListCoding.note, string: note) }
        return body + writer.bytes
    }

    /// Answers when the new generation serves, or when nothing was changed.
    private func reload(_ frame: Frame, _ client: ClientConnection) throws(HatcheryError) {
        // SECURITY: what is read decides what runs with this daemon's rights, and its errors show it. Test:
        // aReloadIsForTheDaemonsOwnerAndRoot.
        guard client.uid == 0 || client.uid == geteuid() else {
            throw HatcheryError(
                .notPermitted, side: .front, detail: "only root and the daemon's own user may reload it",
                hint: "sudo hatchery reload, or systemctl reload hatcheryd")
        }
        let name = try Front.name(in: frame)
        log.notice("reload\(name.map { " of zygote \($0)" } ?? "") asked for by uid \(client.uid)")
        generations.reload(only: name) { [weak self, weak client] outcome in
            guard let self else { return }
            switch outcome {
            case .success(let notes):
                client?.send(Frame(kind: .zygoteListing, request: frame.request, body: self.zygoteListing(notes: notes)))
            case .failure(let error):
                self.log.error("reload: \(error)")
                client?.refuse(frame.request, error)
            }
        }
    }

    /// As many records as one frame holds; the oldest come first.
    static func fitting<Record>(
        _ records: [Record], _ encode: (Record, inout FieldWriter) -> Void
    ) -> [UInt8] {
        var records = records
        while true {
            let body = ListCoding.encode(records, encode)
            if body.count <= WireLimits.frameBytes - Frame.headerBytes { return body }
            records.removeLast(max(1, records.count / 8))
        }
    }

    private func welcome() -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: 1, string: Front.version)
        #if HATCHERY_TESTING
            writer.append(tag: 2, integer: UInt8(1))
        #else
            writer.append(tag: 2, integer: UInt8(0))
        #endif
        let name: String
        switch identity {
        case .root: name = "root"
        case .lentRange: name = "lent range"
        case .singleID: name = "single id"
        }
        writer.append(tag: 3, string: name)
        writer.append(tag: 4, integer: UInt32(getpid()))
        return writer.bytes
    }

    private func spawn(
        _ frame: Frame, _ descriptors: RequestDescriptors, _ client: ClientConnection
    ) throws(HatcheryError) {
        let arrival = MonotonicClock.now()
        if let refusal = lifecycle.refusal { throw refusal }
        let request: SpawnRequest
        do throws(FieldError) {
            let read = try FieldReader.reading(frame.body) { reader throws(FieldError) in
                try SpawnRequest(decoding: reader)
            }
            #if HATCHERY_TESTING
                request = LeftOut.applied(to: read)
            #else
                request = read
            #endif
        } catch {
            throw HatcheryError(.malformed, side: .front, step: .admit, detail: error.description)
        }
        guard descriptors.count == request.descriptorCount else {
            throw HatcheryError(
                .malformed, side: .front, step: .admit,
                detail: "the request needs \(request.descriptorCount) descriptors, \(descriptors.count) came")
        }
        guard client.leased[frame.request] == nil else {
            throw HatcheryError(
                .malformed, side: .front, step: .admit, detail: "request \(frame.request) is still under way")
        }
        guard let zygote = choose(request.zygote) else {
            throw HatcheryError(
                .notFound, side: .front, step: .admit, detail: "no zygote is called \"\(request.zygote)\"",
                hint: "configured: \(configuration.zygotes.map(\.name).joined(separator: ", "))")
        }
        let granted = try settings.admission.admit(request, zygote: zygote.configuration)
        guard let rule = doorkeeper.rules.rule(for: client.peer) else { return }
        try rule.check(
            zygote: zygote.configuration.name, profile: granted.profileName, memoryBytes: granted.limits.memoryBytes)
        let missing = Receipts.missing(in: request.required, self)
        guard missing.isEmpty else { throw Receipts.error(for: missing) }
        try check(descriptors, request, zygote.configuration.kind)
        if case .failed = zygote.state { throw zygote.failure }
        let sandbox = Sandbox(
            id: newID(), request: request, granted: granted, arrival: arrival, client: client,
            requestNumber: frame.request, zygote: zygote,
            descriptors: descriptors, front: self)
        sandboxes[sandbox.id] = sandbox
        client.leased[frame.request] = sandbox
        do throws(HatcheryError) {
            try turnstile.arrive(sandbox, rule)
        } catch {
            sandbox.abort(error)
        }
    }

    /// Its turn has come.
    func proceed(_ sandbox: Sandbox) {
        sandbox.startDeadline()
        // It may have been replaced while the request waited.
        if sandbox.zygote.isRetired {
            generations.move(sandbox, to: choose(sandbox.zygote.name))
        } else if sandbox.zygote.state == .ready {
            begin(sandbox)
        } else {
            sandbox.zygote.enqueue(sandbox)
        }
    }

    private var refusalOfUse: String {
        if case .root = identity { return "no rule of the daemon's configuration admits this user" }
        return "this daemon belongs to another user"
    }

    /// Which of a zygote's processes serves the next request: one that is ready, of these the one with most children parked,
    /// of these the one that served least. Without a ready one, one that is starting, so that the request waits for it.
    private func choose(_ name: String) -> Zygote? {
        guard let all = zygotes[name] else { return nil }
        let ready = all.filter { $0.state == .ready }
        if ready.isEmpty { return all.first(where: \.isComing) ?? all.first }
        return ready.max { ($0.nursery?.depth ?? 0, $1.spawned) < ($1.nursery?.depth ?? 0, $0.spawned) }
    }

    func begin(_ sandbox: Sandbox) {
        do throws(HatcheryError) {
            try sandbox.begin()
        } catch {
            sandbox.abort(error)
        }
    }

    /// Descriptors of a request, checked before anything is made of them.
    private func check(
        _ descriptors: RequestDescriptors, _ request: SpawnRequest, _ kind: ZygoteKind
    ) throws(HatcheryError) {
        func invalid(_ detail: String, hint: String = "") -> HatcheryError {
            HatcheryError(.invalidRequest, side: .front, step: .admit, detail: detail, hint: hint)
        }
        guard let size = SealedMemory.sealedSize(descriptors[0]) else {
            throw invalid("the launch plan is not a sealed memfd without holes")
        }
        descriptors.firstIsMemory = size <= RequestDescriptors.smallPlanBytes
        guard size <= WireLimits.launchPlanBytes else {
            throw invalid("the launch plan has \(size) bytes; the limit is \(WireLimits.launchPlanBytes)")
        }
        do throws(FieldError) {
            let mapped: Void? = try SealedMemory.withBytes(descriptors[0], size: size) {
                bytes throws(FieldError) in try LaunchPlanCheck.perform(bytes, for: kind)
            }
            if mapped == nil { throw FieldError.missing(tag: LaunchPlan.Tag.mode) }
        } catch {
            if case .outOfRange(LaunchPlan.Tag.mode, let raw) = error, let mode = LaunchPlan.Mode(rawValue: UInt8(clamping: raw)) {
                throw invalid(
                    "zygote \"\(request.zygote)\" is of kind \(kind.rawValue), which runs no \(mode.noun)",
                    hint: "kind exec runs programs, kind python runs Python and calls of its functions, kind swift calls of its handlers")
            }
            throw HatcheryError(.malformed, side: .front, step: .admit, detail: "launch plan: \(error)")
        }
        if request.rootFileSystem, !Files.isDirectory(descriptors[1]) {
            throw invalid("the root file system is not a directory", hint: "name the directory that holds bin, lib and usr")
        }
        let first = descriptors.count - request.filesIn.count
        for (index, file) in request.filesIn.enumerated() where !Files.isRegular(descriptors[first + index]) {
            throw invalid("the file for \"\(file.destination)\" is not a regular file", hint: "mount a directory instead")
        }
    }

    private func kill(_ frame: Frame, _ client: ClientConnection) throws(HatcheryError) {
        var id: String?
        var number: UInt32?
        var signal = SIGKILL
        do throws(FieldError) {
            try FieldReader.reading(frame.body) { reader throws(FieldError) in
                var reader = reader
                while let field = try reader.next() {
                    switch field.tag {
                    case 1: id = try field.string(limit: WireLimits.nameBytes)
                    case 2: number = try field.integer()
                    case 3: signal = try field.integer()
                    default: throw .unknownTag(field.tag)
                    }
                }
            }
        } catch {
            throw HatcheryError(.malformed, side: .front, detail: error.description)
        }
        let found = id.flatMap { sandboxes[$0] } ?? number.flatMap { client.leased[$0] }
        guard let sandbox = found, !sandbox.isFinished, mayHandle(sandbox.client.uid, client) else {
            throw HatcheryError(.notFound, side: .front, detail: "no sandbox \(id ?? "of that request") is alive")
        }
        guard (1...64).contains(signal) else {
            throw HatcheryError(.invalidRequest, side: .front, detail: "\(signal) is not a signal", hint: "signals are 1 to 64")
        }
        client.send(Frame(kind: .done, request: frame.request))
        if !sandbox.isRunning {
            sandbox.abort(HatcheryError(.cancelled, side: .client, detail: "the request was given up"))
        } else if signal == SIGKILL {
            sandbox.end(because: .cancelled)
        } else {
            sandbox.signal(signal)
        }
    }

    private func mayHandle(_ owner: uid_t, _ client: ClientConnection) -> Bool {
        client.uid == owner || client.uid == 0
    }
}
