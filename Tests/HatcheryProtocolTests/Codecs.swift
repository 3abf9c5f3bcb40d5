import Testing

@testable import HatcheryProtocol

/// A message made of fields: one of each with everything set, and how it is read and written.
struct Codec: Sendable, CustomTestStringConvertible {
    var name: String
    var sample: [UInt8]
    /// Decodes and encodes again, which compares values whether or not they are Equatable.
    var recode: @Sendable ([UInt8]) throws(FieldError) -> [UInt8]

    var testDescription: String { name }

    static let all: [Codec] = [
        codec("SpawnRequest", samples.spawnRequest, { $0.encoded() }) { r throws(FieldError) in try SpawnRequest(decoding: r) },
        codec("SetupOrder", samples.setupOrder, { $0.encoded() }) { r throws(FieldError) in try SetupOrder(decoding: r) },
        codec("LaunchOrder", samples.launchOrder, { $0.encoded() }) { r throws(FieldError) in try LaunchOrder(decoding: r) },
        codec("ZygoteSpec", samples.zygoteSpec, { $0.encoded() }) { r throws(FieldError) in try ZygoteSpec(decoding: r) },
        codec("Spawned", samples.spawned, { $0.encoded() }) { r throws(FieldError) in try Spawned(decoding: r) },
        codec("Ended", samples.ended, { $0.encoded() }) { r throws(FieldError) in try Ended(decoding: r) },
        codec("HatcheryError", samples.error, { written($0.encode) }) { r throws(FieldError) in try HatcheryError(decoding: r) },
        codec("SandboxListing", samples.sandbox, { written($0.encode) }) { r throws(FieldError) in
            try SandboxListing(decoding: r)
        },
        codec("ZygoteListing", samples.zygote, { written($0.encode) }) { r throws(FieldError) in
            try ZygoteListing(decoding: r)
        },
        Codec(
            name: "ZygoteMessage.ready",
            sample: ZygoteMessage.ready(threads: 1, heap: .init(bytes: 1 << 30, mappings: 7, note: "a note")).encoded()
        ) { bytes throws(FieldError) in try ZygoteMessage(decoding: bytes).encoded() },
        Codec(name: "ZygoteMessage.failed", sample: ZygoteMessage.failed(message: "preload of 'x' failed:\n\tü").encoded()) {
            bytes throws(FieldError) in try ZygoteMessage(decoding: bytes).encoded()
        },
    ]

    private static func codec<Value>(
        _ name: String, _ sample: Value, _ encode: @escaping @Sendable (Value) -> [UInt8],
        _ decode: @escaping @Sendable (FieldReader) throws(FieldError) -> Value
    ) -> Codec {
        Codec(name: name, sample: encode(sample)) { bytes throws(FieldError) in
            encode(try FieldReader.reading(bytes, decode))
        }
    }

    private static func written(_ encode: (inout FieldWriter) -> Void) -> [UInt8] {
        var writer = FieldWriter()
        encode(&writer)
        return writer.bytes
    }

    /// The offsets at which a field of the outermost level begins, and the end: counted here by the table of Docs/Protocol.md
    /// and not by the reader under test.
    static func boundaries(of bytes: [UInt8]) -> Set<Int> {
        var offsets: Set<Int> = [0]
        var offset = 0
        while offset + 6 <= bytes.count {
            offset += 6 + (2..<6).reversed().reduce(0) { $0 << 8 | Int(bytes[offset + $1]) }
            offsets.insert(offset)
        }
        return offsets
    }

    static let samples = Samples()
}

/// Values with nothing left at its default.
struct Samples: Sendable {
    var spawnRequest = SpawnRequest(zygote: "python", profile: "default")
    var setupOrder = SetupOrder()
    var launchOrder = LaunchOrder()
    var zygoteSpec = ZygoteSpec()
    var spawned = Spawned(
        id: "a1", pid: 4711, zygote: "python", generation: 4, nurseryHit: true, spawnNanoseconds: 210_000,
        receipt: Receipt(active: .all, missing: [.init(layer: .landlock, why: "the kernel has none")]), wallNanoseconds: 1,
        outputBytes: 2)
    var ended = Ended(id: "a1", verdict: .timedOut)
    var error = HatcheryError(
        .setupFailed, side: .child, step: .capabilities, errno: 1, detail: "drop", hint: "mend it so",
        retryAfterNanoseconds: 250_000_000)
    var sandbox = SandboxListing(
        id: "a1", pid: 4711, zygote: "python", profile: "default", title: "größe", ownerUID: 1000, ageNanoseconds: 5)
    var zygote = ZygoteListing(name: "python", kind: "python", state: .ready, generation: 4, pid: 99)

    init() {
        sandbox.usage = .init(memoryBytes: 1, cpuNanoseconds: 2, processes: 3)
        setupOrder.countsRefusals = true
        setupOrder.refusalsAreFatal = true
        ended.violations = [.init(syscall: "mount", count: 3), .init(syscall: "unshare", count: .max)]
        spawnRequest.title = "a title"
        spawnRequest.network = .loopback
        spawnRequest.stdinPipe = true
        spawnRequest.terminal = TerminalSize(rows: 50, columns: 132)
        spawnRequest.wallNanoseconds = 1
        spawnRequest.cpuNanoseconds = 2
        spawnRequest.memoryBytes = 3
        spawnRequest.processes = 4
        spawnRequest.diskBytes = 5
        spawnRequest.milliCPUs = 6
        spawnRequest.openFiles = 7
        spawnRequest.outputBytes = 8
        spawnRequest.detached = true
        spawnRequest.required = .all
        spawnRequest.without = LayerSet(.seccomp)
        spawnRequest.rootFileSystem = true
        spawnRequest.mounts = [.init(destination: "/data", writable: true), .init(destination: "/ro")]
        spawnRequest.temporaryFileSystems = [.init(destination: "/t", size: 4096), .init(destination: "/u")]
        spawnRequest.filesIn = [.init(destination: "in", executable: true)]
        spawnRequest.filesOut = ["out", "/tmp/ü"]
        spawnRequest.failAt = .hostname

        (setupOrder.initUID, setupOrder.initGID, setupOrder.uid, setupOrder.gid) = (1, 2, 3, 4)
        setupOrder.terminal = TerminalSize(rows: 1, columns: 2)
        launchOrder.hasTerminal = true
        setupOrder.groupsMustBeEmpty = false
        setupOrder.hostname = "host"
        setupOrder.loopback = true
        setupOrder.home = "/home/x"
        setupOrder.scratchBytes = 1 << 20
        setupOrder.scratchInodes = 99
        setupOrder.rootFileSystem = true
        setupOrder.mounts = [.init(destination: "/data", writable: true)]
        setupOrder.temporaryFileSystems = [.init(destination: "/t", size: 4096), .init(destination: "/u", size: 1)]
        setupOrder.wantsScratch = true
        setupOrder.without = LayerSet(.proc)
        setupOrder.failAt = .proc

        launchOrder.title = "title"
        launchOrder.limits = [.init(resource: 7, soft: 1, hard: 2), .init(resource: 0, soft: 3, hard: .max)]
        launchOrder.filesIn = [.init(destination: "a"), .init(destination: "b", executable: true)]
        launchOrder.environment = ["A=1", "B="]
        launchOrder.required = LayerSet(.caps)

        zygoteSpec.binds = [.init(source: "/usr", destination: "/usr")]
        zygoteSpec.copies = [.init(source: "/etc/alternatives", destination: "/etc/alternatives")]
        zygoteSpec.files = [.init(path: "/etc/hosts", contents: [0, 255, 10])]
        zygoteSpec.links = [.init(path: "/bin", target: "usr/bin")]
        zygoteSpec.directories = ["/proc"]
        zygoteSpec.emptyGroups = false
        zygoteSpec.interpreter = "/usr/bin/python3"
        zygoteSpec.arguments = ["-I", ""]
        zygoteSpec.environment = ["LC_ALL=C"]

        ended.exitCode = -1
        ended.signal = 9
        ended.wallNanoseconds = 1
        ended.cpuNanoseconds = 2
        ended.peakMemoryBytes = 3
        ended.peakProcesses = 4
        ended.limit = "wall"
        ended.observed = "30s"
        ended.filesOut = [.init(path: "out"), .init(path: "none", errno: 2)]

        zygote.message = "a\nb"
        zygote.spawned = 7
        zygote.parked = 2
    }
}
