import HatcheryDaemon
import HatcheryProtocol

extension FuzzTarget {
    /// What clients, zygotes and children send. What is accepted must survive being written and read again.
    static let protocolTargets: [FuzzTarget] = [
        FuzzTarget(name: "frame") {
            [FrameKind.hello, .spawn, .kill, .ended].map { Frame(kind: $0, request: 7, body: [1, 2, 3]).encoded() }
        } run: { bytes in
            // The number of descriptors that came is the kernel's word; take the one that is announced, so that more is read.
            let announced = bytes.count >= 18 ? Int(bytes[16]) | Int(bytes[17]) << 8 : 0
            guard let frame = try? Frame(decoding: bytes, descriptors: announced) else { return }
            precondition(frame.encoded() == bytes)
        },
        fields("request", { spawnRequests() }, { $0.encoded() }) { reader throws(FieldError) in try SpawnRequest(decoding: reader) },
        fields("setup", { [setupOrder()] }, { $0.encoded() }) { reader throws(FieldError) in try SetupOrder(decoding: reader) },
        fields("launch", { [launchOrder()] }, { $0.encoded() }) { reader throws(FieldError) in try LaunchOrder(decoding: reader) },
        fields("specification", { [specification()] }, { $0.encoded() }) { reader throws(FieldError) in
            try ZygoteSpec(decoding: reader)
        },
        fields("spawned", { [spawned()] }, { $0.encoded() }) { reader throws(FieldError) in try Spawned(decoding: reader) },
        fields("ended", { [ended()] }, { $0.encoded() }) { reader throws(FieldError) in try Ended(decoding: reader) },
        fields("failure", { [HatcheryError(.setupFailed, side: .child, step: .seccomp, errno: 1, detail: "d", hint: "h")] }, written) {
            reader throws(FieldError) in try HatcheryError(decoding: reader)
        },
        FuzzTarget(name: "plan") {
            [
                LaunchPlan(mode: .program, target: Array("/bin/true".utf8), arguments: [[97], [98, 99]]).encoded(),
                LaunchPlan(
                    mode: .code, target: Array("<code>".utf8), source: Array("print(1)".utf8),
                    environment: [Array("A=b".utf8)], seed: 9, workingDirectory: "/tmp"
                ).encoded(),
                LaunchPlan(mode: .call, target: Array("json:dumps".utf8), jsonArguments: Array("[1]".utf8)).encoded(),
            ]
        } run: { bytes in
            for kind in ZygoteKind.allCases { bytes.withUnsafeBytes { try? LaunchPlanCheck.perform($0, for: kind) } }
        },
        FuzzTarget(name: "reports") {
            func fixed(_ size: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> [UInt8] {
                var bytes = [UInt8](repeating: 0, count: size)
                bytes.withUnsafeMutableBytes(write)
                return bytes
            }
            let map = CloneOrder.IDMap(uid: 1000, gid: 1000, payloadID: 17, initID: 16)
            return [
                fixed(CloneOrder.size, CloneOrder(serial: 3, namespaces: 0x7E02_0000, map: map).write),
                fixed(CloneReport.size, CloneReport(serial: 3, pid: 4711).write),
                fixed(StatusRecord.size, StatusRecord(step: .ready, errno: 0, layers: .all).write),
                InitMessage.payloadEnded(status: 9).encoded(), InitMessage.refused(syscall: 165, count: 2, isFatal: true).encoded(),
                ZygoteMessage.failed(message: "no module").encoded(),
                ZygoteMessage.ready(threads: 1, heap: FrozenHeap(bytes: 1 << 20, mappings: 3, note: "n")).encoded(),
            ]
        } run: { bytes in
            if let message = InitMessage(decoding: bytes) { precondition(InitMessage(decoding: message.encoded()) == message) }
            if let message = try? ZygoteMessage(decoding: bytes) {
                precondition((try? ZygoteMessage(decoding: message.encoded())) == message)
            }
            _ = StatusRecord(decoding: bytes[...])
            bytes.withUnsafeBytes {
                _ = CloneOrder($0)
                _ = CloneReport($0)
            }
        },
    ]

    private static func fields<Value>(
        _ name: String, _ samples: @escaping @Sendable () -> [Value], _ encode: @escaping @Sendable (Value) -> [UInt8],
        _ decode: @escaping @Sendable (FieldReader) throws(FieldError) -> Value
    ) -> FuzzTarget {
        FuzzTarget(name: name) {
            samples().map(encode)
        } run: { bytes in
            guard let value = try? FieldReader.reading(bytes, decode) else { return }
            let once = encode(value)
            guard let again = try? FieldReader.reading(once, decode) else { preconditionFailure("what we write we refuse") }
            precondition(encode(again) == once)
        }
    }

    @Sendable private static func written(_ error: HatcheryError) -> [UInt8] {
        var writer = FieldWriter()
        error.encode(into: &writer)
        return writer.bytes
    }

    private static func spawnRequests() -> [SpawnRequest] {
        var request = SpawnRequest(zygote: "exec")
        request.title = "größe"
        request.network = .loopback
        request.memoryBytes = 1 << 29
        request.required = LayerSet(.seccomp)
        request.filesOut = ["/tmp/x"]
        request.mounts = [.init(destination: "/data", writable: true)]
        request.temporaryFileSystems = [.init(destination: "/scratch", size: 1 << 20)]
        request.filesIn = [.init(destination: "/tmp/in", executable: true)]
        return [SpawnRequest(zygote: "python"), request]
    }

    private static func setupOrder() -> SetupOrder {
        var order = SetupOrder()
        order.mounts = [.init(destination: "/data", writable: true)]
        order.temporaryFileSystems = [.init(destination: "/scratch", size: 1 << 20)]
        order.countsRefusals = true
        return order
    }

    private static func launchOrder() -> LaunchOrder {
        var order = LaunchOrder()
        order.title = "t"
        order.limits = [.init(resource: 7, soft: 1, hard: 2)]
        order.filesIn = [.init(destination: "/tmp/in")]
        order.environment = ["A=b"]
        return order
    }

    private static func specification() -> ZygoteSpec {
        var specification = ZygoteSpec()
        specification.uid = 1
        specification.files = [.init(path: "/etc/hosts", contents: [1])]
        return specification
    }

    private static func spawned() -> Spawned {
        Spawned(
            id: "a1", pid: 4711, zygote: "python", generation: 4, nurseryHit: true, spawnNanoseconds: 210_000,
            receipt: Receipt(active: .all, missing: [.init(layer: .landlock, why: "none")]), wallNanoseconds: 1)
    }

    private static func ended() -> Ended {
        var ended = Ended(id: "a1", verdict: .syscallDenied)
        ended.violations = [.init(syscall: "mount", count: 3)]
        ended.filesOut = [.init(path: "/tmp/x", errno: 2)]
        ended.limit = "wall"
        return ended
    }
}
