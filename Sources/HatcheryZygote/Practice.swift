import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The way of a child, walked before there is any request, by processes that share the zygote's memory: what the Swift runtime and libc
/// find out at a first call (types, conformances, symbols) is found out once, and every child inherits it.
///
/// Without it each child finds it out again: a quarter of its time in our own code, and 150 pages (Docs/Decisions/0028-practice.md). Nothing
/// of a request is in it. The sandboxes are real ones, behind every layer; their filters let everything pass, and the program that they
/// are to start does not exist.
enum Practice {
    /// What is walked. Each ends where a child would become another program.
    private enum Way: CaseIterable {
        /// The set-up of the init, then the steps of the payload, in one process.
        case payload
        /// The same, with a root that has to be assembled.
        case payloadInAssembledRoot
        /// The init to its end, with a payload that is a process of its own.
        case initProcess

        var expectedStatus: Int32 { self == .initProcess ? 0 : 127 }
    }

    private struct Context {
        var control: Int32
        var status: Int32
        var way: Way
        var usesTwoIDs: Bool
        var proc: Int32
        var mapResult: Int32 = 0
    }

    /// Ids of the base namespace that are no sandbox's and no zygote's: those below 16 are never lent (`IDPool`).
    private static let ids: (payload: UInt32, initProcess: UInt32) = (15, 14)
    private static let uid: UInt32 = 1000

    /// Walks every way. What goes wrong costs children time and nothing else, and is told.
    /// - Throws: where the zygote's root could not be changed.
    static func run(_ socket: Int32, _ root: ZygoteRoot) throws(SystemError) {
        let usesTwoIDs = (try? Files.readText("/proc/self/uid_map", limit: 256)).map(hasIDsToLend) ?? false
        try root.inTemplate { walkAll(socket, root.proc, usesTwoIDs: usesTwoIDs) }
    }

    private static func walkAll(_ socket: Int32, _ proc: Int32, usesTwoIDs: Bool) {
        for way in Way.allCases {
            do throws(SystemError) {
                let status = try walk(way, proc, usesTwoIDs: usesTwoIDs)
                if status != way.expectedStatus { throw SystemError("practice", errno: 0, subject: "\(way) ended with \(status)") }
            } catch {
                ServeLoop.report(
                    socket, .finding("children will start more slowly: the zygote could not walk their way once before them (\(error))"))
                return
            }
        }
    }

    /// Whether the map has more ids than the zygotes' own.
    private static func hasIDsToLend(_ map: String) -> Bool {
        map.split(separator: "\n").contains { line in
            (line.split(separator: " ").last.flatMap { UInt32($0) } ?? 0) > ids.payload
        }
    }

    private static func walk(_ way: Way, _ proc: Int32, usesTwoIDs: Bool) throws(SystemError) -> Int32 {
        let pair = try MessageSocket.Pair()
        let status = try Pipe()
        try status.readEnd.setNonblocking()
        try sendOrders(way, usesTwoIDs: usesTwoIDs, over: pair.first.raw)
        var context = Context(control: pair.second.raw, status: status.writeEnd.raw, way: way, usesTwoIDs: usesTwoIDs, proc: proc)
        // The title of the child, written into memory that both have.
        var start: UnsafeMutablePointer<CChar>?
        let length = hatchery_process_title_area(&start)
        let title = UnsafeBufferPointer(start: start, count: length).map { $0 }
        let result = hatchery_clone_sharing_memory(
            namespaces, { context in Practice.enter(context!.assumingMemoryBound(to: Context.self).pointee) }, &context
        ) { pid, context in
            // No allocation, and no error to tell: the child shares this thread's storage and has not begun.
            let context = context!.assumingMemoryBound(to: Context.self)
            let (payload, initProcess) = context.pointee.usesTwoIDs ? Practice.ids : (1, UInt32.max)
            context.pointee.mapResult = hatchery_write_id_maps(
                context.pointee.proc, pid, Practice.uid, Practice.uid, payload, initProcess)
        }
        title.withUnsafeBufferPointer { title in
            if let start, let saved = title.baseAddress { start.update(from: saved, count: title.count) }
        }
        try check(context.mapResult, "write", "id maps")
        if result != way.expectedStatus, let record = lastRecord(status.readEnd.raw) {
            throw SystemError(Step(rawValue: record.step)?.name ?? "practice", errno: record.errno, subject: "\(way)")
        }
        return try check(result, "clone")
    }

    private static let namespaces =
        hatchery_clone_newuser | hatchery_clone_newpid | hatchery_clone_newns | hatchery_clone_newnet | hatchery_clone_newipc
        | hatchery_clone_newuts

    private static func lastRecord(_ pipe: Int32) -> StatusRecord? {
        var last: StatusRecord?
        var bytes = [UInt8](repeating: 0, count: StatusRecord.size)
        while read(pipe, &bytes, bytes.count) == bytes.count { last = StatusRecord(decoding: bytes[...]) ?? last }
        return last
    }

    private static func sendOrders(_ way: Way, usesTwoIDs: Bool, over socket: Int32) throws(SystemError) {
        // BPF_RET | BPF_K, SECCOMP_RET_ALLOW
        let filter = try SealedMemory.make(name: "hatchery-practice", bytes: [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f])
        var setup = SetupOrder()
        (setup.initUID, setup.initGID) = usesTwoIDs ? (0, 0) : (uid, uid)
        (setup.uid, setup.gid) = (uid, uid)
        setup.groupsMustBeEmpty = false
        setup.scratchBytes = 1 << 20
        setup.scratchInodes = 1024
        setup.wantsScratch = true
        setup.tellsWhenParked = true
        setup.countsRefusals = true
        if way == .payloadInAssembledRoot { setup.temporaryFileSystems = [.init(destination: "/practice", size: 0)] }
        try MessageSocket.send(socket, setup.encoded(), descriptors: [filter.raw, filter.raw])

        // Nothing lies below a file: ENOTDIR, whatever the root holds.
        let plan = LaunchPlan(
            mode: .program, target: Array("practice".utf8), arguments: [Array("argument".utf8)],
            environment: [Array("PATH=/dev/null".utf8), Array("LC_ALL=C.UTF-8".utf8)])
        let sealedPlan = try SealedMemory.make(name: "hatchery-practice", bytes: plan.encoded())
        let file = try SealedMemory.make(name: "hatchery-practice", bytes: Array("practice".utf8))
        let null = try Files.open("/dev/null", flags: O_RDWR)
        var launch = LaunchOrder()
        launch.title = "practice"
        launch.limits = [.init(resource: UInt32(RLIMIT_CORE.rawValue), soft: 0, hard: 0)]
        launch.environment = ["LANG=C.UTF-8"]
        launch.filesIn = [.init(destination: "practice")]
        try MessageSocket.send(
            socket, launch.encoded(), descriptors: [null.raw, null.raw, null.raw, sealedPlan.raw, file.raw])
    }

    private static func enter(_ context: Context) -> Never {
        var child = Child(control: context.control, status: context.status, runtime: .program)
        if context.way == .initProcess { ChildInit.lead(&child) }
        ChildInit.build(&child)
        ChildInit.makeGate(&child)
        // Not the init's end here: there is no init. It stays open until step 34 closes it, and step 36 then finds the gate open.
        child.gateOfInit = -1
        ChildPayload.enter(child)
    }
}
