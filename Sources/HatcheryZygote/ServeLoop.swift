import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// What a kind of zygote does in its children. Both run in the payload, never in the zygote.
package struct PayloadRuntime: Sendable {
    /// Called once after the fork, before anything of a request is known, with 1 for a child that is to be parked and 0 for one whose
    /// request waits already. Returns 0, or an errno.
    package var prepare: (@convention(c) (Int32) -> Int32)?
    /// Called with the launch plan in the sealed sandbox; returns the exit status. nil means execve.
    package var main: (@convention(c) (UnsafeRawPointer?, Int) -> Int32)?

    package init(
        prepare: (@convention(c) (Int32) -> Int32)? = nil,
        main: (@convention(c) (UnsafeRawPointer?, Int) -> Int32)? = nil
    ) {
        self.prepare = prepare
        self.main = main
    }

    /// The zygote of kind `exec`.
    package static let program = PayloadRuntime()
}

/// The zygote: takes orders, clones, reports. Nothing else.
///
/// Between two clones it allocates nothing and runs nothing of a preloaded language, so that its own pages stay as they
/// are: whatever it wrote would be copied into every later child.
package enum ServeLoop {
    /// What the clone's child needs of the zygote; lives on the serve loop's stack.
    struct CloneContext {
        var control: Int32
        var status: Int32
        var zygoteSocket: Int32
        /// Where the child is born, or -1.
        var cgroup: Int32
        /// What is the zygote's alone: /proc, and in builds for tests the root of its preload, or -1.
        var proc: Int32
        var preloadRoot: Int32
        var namespaces: UInt64
        var runtime: PayloadRuntime
    }

    /// Proves that this process is single-threaded, freezes its heap, says ready and serves until the front closes the
    /// connection. Ends the process; never returns.
    package static func run(control socket: Int32, runtime: PayloadRuntime, freeze: Bool) -> Never {
        // The argument area is looked up while the whole /proc is there; children overwrite it (step 35).
        _ = hatchery_set_process_title(nil)
        let threads = threadCount()
        guard threads == 1 else {
            report(
                socket,
                .failed(
                    message: "the zygote has \(threads) threads after preloading (\(threadNames())); a fork would copy one of "
                        + "them only"))
            _exit(1)
        }
        let root: ZygoteRoot
        do throws(SystemError) {
            root = try ZygoteRoot(from: socket)
            try Practice.run(socket, root)
        } catch {
            report(socket, .failed(message: "the zygote could not change its root: \(error)"))
            _exit(1)
        }
        HeapFreezer.sayReady(socket, threads: UInt32(threads), freeze: freeze)
        // From here on this process writes to its stack and to the thread's own page only.
        let preloadRoot = root.enterTemplate()
        let proc = root.proc
        while true { serveOne(socket, proc, preloadRoot, runtime) }
    }

    /// Tells the front why this zygote cannot serve.
    package static func report(_ socket: Int32, _ message: ZygoteMessage) {
        _ = try? MessageSocket.send(socket, message.encoded())
    }

    /// The number of threads of this process: a directory has one link for itself, one for its parent and one for each
    /// directory in it, and /proc/self/task has a directory for each thread. One system call, no allocation.
    /// - Parameter proc: the directory /proc, where that is not at its place.
    package static func threadCount(proc: Int32 = AT_FDCWD) -> Int {
        var status = stat()
        guard fstatat(proc, proc == AT_FDCWD ? "/proc/self/task" : "self/task", &status, 0) == 0 else { return -1 }
        return Int(status.st_nlink) - 2
    }

    /// For the message only: this allocates.
    private static func threadNames() -> String {
        guard let directory = try? Files.open("/proc/self/task", flags: O_RDONLY | O_DIRECTORY),
            let threads = try? Files.names(in: directory.raw, limit: 64)
        else { return "?" }
        let names = threads.compactMap { try? Files.readText("/proc/self/task/\($0)/comm", limit: 64) }
        return names.map { String($0.prefix { $0 != "\n" }) }.joined(separator: ", ")
    }

    private static func serveOne(_ socket: Int32, _ proc: Int32, _ preloadRoot: Int32, _ runtime: PayloadRuntime) {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { buffer in
            withUnsafeTemporaryAllocation(of: Int32.self, capacity: 4) { descriptors in
                var count: Int32 = 3
                var flags: Int32 = 0
                let length = hatchery_receive_message(
                    socket, buffer.baseAddress, 64, descriptors.baseAddress, &count, &flags, 0)
                // The front is gone; its children are ended by their own death signal.
                if length <= 0 { _exit(0) }
                guard let order = CloneOrder(UnsafeRawBufferPointer(rebasing: buffer[0..<Int(length)])), count >= 2
                else {
                    // Only the front writes here: a garbled order is a bug, and going on would be worse.
                    _exit(2)
                }
                let report = clone(order, descriptors, count, socket, proc, preloadRoot, runtime)
                for index in 0..<Int(count) { close(descriptors[index]) }
                report.write(into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<CloneReport.size]))
                _ = hatchery_send_message(socket, buffer.baseAddress, CloneReport.size, nil, 0, 0)
            }
        }
    }

    // step 3 (zygote)
    private static func clone(
        _ order: CloneOrder, _ descriptors: UnsafeMutableBufferPointer<Int32>, _ count: Int32, _ socket: Int32,
        _ proc: Int32, _ preloadRoot: Int32, _ runtime: PayloadRuntime
    ) -> CloneReport {
        // SECURITY: a fork copies one thread; a lock that another one holds would stay held for ever in the child.
        guard threadCount(proc: proc) == 1 else { return CloneReport(serial: order.serial, pid: 0, errno: EDEADLK) }
        let cgroup = count > 2 ? descriptors[2] : -1
        var context = CloneContext(
            control: descriptors[0], status: descriptors[1], zygoteSocket: socket, cgroup: cgroup, proc: proc,
            preloadRoot: preloadRoot, namespaces: order.namespaces, runtime: runtime)
        let pid = withUnsafeMutablePointer(to: &context) { pointer in
            hatchery_clone_child(
                order.namespaces, cgroup, nil,
                { context in ChildInit.enter(context!.assumingMemoryBound(to: CloneContext.self).pointee) },
                UnsafeMutableRawPointer(pointer))
        }
        if pid < 0 { return CloneReport(serial: order.serial, pid: 0, errno: -pid) }
        // step 4 (zygote): the child waits for its set-up order, which the front sends after this report.
        var result: Int32 = 0
        if order.namespaces & hatchery_clone_newuser != 0 {
            let map = order.map
            #if HATCHERY_TESTING
                if map.payloadID == CloneOrder.IDMap.everythingForTests {
                    return CloneReport(
                        serial: order.serial, pid: pid, errno: -mapEverything(proc, pid, map.initID ?? 1), step: .idMaps)
                }
            #endif
            result = hatchery_write_id_maps(proc, pid, map.uid, map.gid, map.payloadID, map.initID ?? UInt32.max)
        }
        return CloneReport(serial: order.serial, pid: pid, errno: -result, step: .idMaps)
    }

    #if HATCHERY_TESTING
        /// The map of a sandbox whose layer idmap a test leaves out. It allocates, which the rest of this loop does not.
        private static func mapEverything(_ proc: Int32, _ pid: Int32, _ count: UInt32) -> Int32 {
            for name in ["uid_map", "gid_map"] {
                do throws(SystemError) {
                    // The parent's own 0 may be mapped only with a capability that zygotes do not have.
                    let file = try Files.open(at: proc, "\(pid)/\(name)", flags: O_WRONLY, resolve: [])
                    try writeAll(file.raw, Array("0 \(count - 1) 1\n1 1 \(count - 2)\n".utf8))
                } catch {
                    return -error.errno
                }
            }
            return 0
        }
    #endif
}
