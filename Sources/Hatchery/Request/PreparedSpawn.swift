import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// A request that is ready to go: its bytes, and its descriptors in the order of the contract (plan, root, mounts, files in).
///
/// Everything that can fail on this side fails here, before the front has heard of it.
package struct PreparedSpawn: Sendable {
    package let request: SpawnRequest
    /// What was to run, for messages.
    let programName: String
    let body: [UInt8]
    let descriptors: OwnedDescriptors

    /// - Throws: `.invalidRequest` for impossible values, and for files of the caller's that cannot be opened.
    package init(
        _ payload: Payload, _ options: SandboxOptions, stdinPipe: Bool, filesOut: [String] = [], outputBytes: UInt64? = nil
    ) throws(HatcheryError) {
        var request = SpawnRequest(zygote: options.zygote ?? payload.usualZygote, profile: options.profile ?? "")
        try PreparedSpawn.fill(&request, from: options)
        if request.title.isEmpty { request.title = payload.usualTitle }
        request.stdinPipe = stdinPipe
        request.filesOut = filesOut
        request.outputBytes = outputBytes

        descriptors = OwnedDescriptors()
        descriptors.append(try PreparedSpawn.seal(payload, options))
        if let root = options.rootFileSystem {
            request.rootFileSystem = true
            descriptors.append(try PreparedSpawn.open(root, hatchery_o_path | O_DIRECTORY, "the root file system"))
        }
        for mount in options.mounts {
            request.mounts.append(SpawnRequest.Mount(destination: mount.destination, writable: mount.writable))
            descriptors.append(try PreparedSpawn.open(mount.source, hatchery_o_path, "the mount"))
        }
        for file in options.filesIn {
            let opened = try PreparedSpawn.open(file)
            guard let status = try? Files.status(opened.raw), status.st_mode & S_IFMT == S_IFREG else {
                throw PreparedSpawn.invalid("the file in \"\(file.source)\" is not a regular file", hint: "mount a directory with -v SRC:DST instead")
            }
            let name = file.destination ?? String(file.source.split(separator: "/").last ?? "")
            request.filesIn.append(
                SpawnRequest.FileIn(destination: name, executable: status.st_mode & S_IXUSR != 0))
            descriptors.append(opened)
        }
        try PreparedSpawn.check(request)
        self.request = request
        programName = String(decoding: payload.plan.target, as: UTF8.self)
        body = request.encoded()
    }

    private static func fill(_ request: inout SpawnRequest, from options: SandboxOptions) throws(HatcheryError) {
        request.title = options.title
        if let text = options.traceparent {
            guard let parent = TraceParent(text) else { throw invalid("\"\(text)\" is not a traceparent") }
            request.traceParent = parent
        }
        request.network = options.network
        request.terminal = options.terminal
        request.wallNanoseconds = options.time?.clampedNanoseconds
        request.cpuNanoseconds = options.cpuTime?.clampedNanoseconds
        request.memoryBytes = options.memory
        request.processes = options.pids
        request.diskBytes = options.disk
        request.openFiles = options.openFiles
        if let cpus = options.cpus {
            guard cpus >= 0.001, cpus <= 1000 else { throw invalid("cpus: \(cpus) is not between 0.001 and 1000", hint: "0.5 is half of one processor") }
            request.milliCPUs = UInt64((cpus * 1000).rounded())
        }
        request.temporaryFileSystems = options.temporaryFileSystems
        request.required = options.required
        request.detached = options.detached
        request.without = options.without
        request.failAt = options.failAt
    }

    /// The front checks all of this again; said here it costs no round trip and names the value as the caller wrote it.
    private static func check(_ request: SpawnRequest) throws(HatcheryError) {
        for (name, value, least) in [("zygote", request.zygote, 1), ("profile", request.profile, 0)] {
            guard value.utf8.count >= least, value.utf8.count <= WireLimits.nameBytes else {
                throw invalid("the \(name)'s name must have 1 to \(WireLimits.nameBytes) bytes", hint: "hatchery zygotes lists those that there are")
            }
        }
        guard request.title.utf8.count <= WireLimits.titleBytes else {
            throw invalid("the title is longer than \(WireLimits.titleBytes) bytes", hint: "give a shorter one")
        }
        guard !request.title.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
            throw invalid("the title contains a control character", hint: "titles are shown on terminals; leave it out")
        }
        let limits: [(String, UInt64?)] = [
            ("time", request.wallNanoseconds), ("cpu-time", request.cpuNanoseconds), ("memory", request.memoryBytes),
            ("pids", request.processes), ("disk", request.diskBytes), ("files", request.openFiles),
        ]
        for (name, value) in limits where value == 0 { throw invalid("\(name): a limit of 0 lets nothing run", hint: "leave it out for the profile's own") }
        let counts: [(String, Int, Int)] = [
            ("mounts", request.mounts.count, WireLimits.mounts),
            ("temporary file systems", request.temporaryFileSystems.count, WireLimits.temporaryFileSystems),
            ("files in", request.filesIn.count, WireLimits.filesIn),
            ("files out", request.filesOut.count, WireLimits.filesOut),
        ]
        for (name, count, most) in counts where count > most { throw invalid("\(count) \(name) are more than \(most)", hint: "put them in one directory, and mount or take that") }
    }

    private static func seal(_ payload: Payload, _ options: SandboxOptions) throws(HatcheryError) -> Descriptor {
        var plan = payload.plan
        plan.seed = options.seed
        plan.workingDirectory = options.workingDirectory
        plan.environment = options.environment.map { Array("\($0.name)=\($0.value)".utf8) }
        for variable in options.environment
        where variable.name.isEmpty || variable.name.utf8.contains(UInt8(ascii: "=")) {
            throw invalid("\"\(variable.name)\" is not the name of a variable", hint: "a name is not empty and holds no =")
        }
        for bytes in plan.arguments + plan.environment + [plan.target] where bytes.contains(0) {
            throw invalid("an argument, a variable or the program's name contains a NUL byte", hint: "pass it as stdin or as a file")
        }
        guard plan.arguments.count + plan.environment.count <= WireLimits.arguments else {
            throw invalid("there are more than \(WireLimits.arguments) arguments and variables", hint: "pass them as stdin or as a file")
        }
        let bytes = plan.encoded()
        guard bytes.count <= WireLimits.launchPlanBytes else {
            throw invalid(
                "code, arguments and environment together are longer than \(WireLimits.launchPlanBytes) bytes",
                hint: "pass large data as stdin or as a file")
        }
        do throws(SystemError) {
            return try SealedMemory.make(name: "hatchery-plan", bytes: bytes)
        } catch {
            throw HatcheryError(client: error)
        }
    }

    private static func open(_ file: SandboxOptions.FileIn) throws(HatcheryError) -> Descriptor {
        guard let raw = file.descriptor else {
            return try open(file.source, O_RDONLY | O_NOCTTY | O_NONBLOCK, "the file in")
        }
        do throws(SystemError) {
            return try Descriptor.duplicate(raw)
        } catch {
            throw HatcheryError(client: error, kind: .invalidRequest)
        }
    }

    private static func open(_ path: String, _ flags: Int32, _ what: String) throws(HatcheryError) -> Descriptor {
        guard !path.isEmpty, !path.utf8.contains(0) else { throw invalid("\(what) has an impossible path", hint: "a path is not empty and holds no NUL") }
        do throws(SystemError) {
            return try Files.open(path, flags: flags)
        } catch {
            throw HatcheryError(.invalidRequest, side: .client, errno: error.errno, detail: "\(what) \"\(path)\"",
                hint: FileHints.hint(error.errno))
        }
    }

    private static func invalid(_ detail: String, hint: String = "") -> HatcheryError {
        HatcheryError(.invalidRequest, side: .client, detail: detail, hint: hint)
    }
}

extension PreparedSpawn {
    /// Sends the request and tells how the spawn went; the streams are closed and the end is nobody's business.
    package func send(
        on connection: Connection, _ handler: @escaping @Sendable (Result<Spawned, HatcheryError>) -> Void
    ) {
        _ = connection.spawn(body: body, descriptors: descriptors) { reply in
            if case .frame(let frame, _) = reply, frame.kind == .ended { return }
            handler(reply.decoded(as: .spawned) { reader throws(FieldError) in try Spawned(decoding: reader) })
        }
    }
}
