import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// One phase from its orders to the state of its tree.
enum PhaseRun {
    /// - Returns: the exit status of the runner: 0 where it could do its work, however the tasks ended.
    static func perform() -> Int32 {
        do throws(TreeStream.Problem) {
            let (orders, ahead) = try readOrders()
            try unpack(orders, ahead)
            let tasks = TaskLoop(orders)
            try explained { () throws(SystemError) in try tasks.run() }
            Processes.endAllOthers()
            if orders.returnsState { try pack(orders) }
            return 0
        } catch {
            Report.send(StepEvent(.failed, bytes: Array(error.description.utf8)))
            // Where the state has begun, an event is not seen any more.
            try? writeAll(STDERR_FILENO, Array(error.description.utf8))
            return 1
        }
    }

    /// A length of eight bytes, then the orders; what follows is the tree.
    private static func readOrders() throws(TreeStream.Problem) -> (StepOrders, [UInt8]) {
        let header = try explained { () throws(SystemError) in try readAll(STDIN_FILENO, limit: 8) }
        guard header.count == 8 else { throw TreeStream.Problem("no orders came") }
        let length = header.reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= 128 << 20 else { throw TreeStream.Problem("the orders are impossibly long") }
        let bytes = try explained { () throws(SystemError) in try readAll(STDIN_FILENO, limit: length) }
        do throws(FieldError) {
            return (
                try FieldReader.reading(bytes) { reader throws(FieldError) in try StepOrders(decoding: reader) }, []
            )
        } catch {
            throw TreeStream.Problem("the orders cannot be read: \(error)")
        }
    }

    private static func unpack(_ orders: StepOrders, _ ahead: [UInt8]) throws(TreeStream.Problem) {
        let work = TreeUnpacker(try directory(orders.workDirectory))
        let home = TreeUnpacker(try directory(orders.homeDirectory))
        let reader = TreeStreamReader(STDIN_FILENO, ahead: ahead)
        while let entry = try reader.next() {
            let target = entry.root == .work ? work : home
            try target.add(entry, at: entry.path) { () throws(TreeStream.Problem) in try reader.data() }
        }
        try work.finish()
        try home.finish()
        for file in orders.homeFiles {
            let entry = TreeStream.Entry(
                .file, .home, path: Array(file.path.utf8), mode: 0o600, size: UInt64(file.bytes.count))
            var isTaken = file.bytes.isEmpty
            try home.add(entry, at: entry.path) { () throws(TreeStream.Problem) in
                defer { isTaken = true }
                return isTaken ? nil : file.bytes[...]
            }
        }
        // What the tasks read is not what we read.
        close(STDIN_FILENO)
        _ = hatchery_open("/dev/null", O_RDONLY, 0)
        chdir(orders.workDirectory)
    }

    private static func pack(_ orders: StepOrders) throws(TreeStream.Problem) {
        Report.send(StepEvent(.state))
        let writer = TreeStreamWriter(STDOUT_FILENO, limit: .max)
        let work = try directory(orders.workDirectory)
        try TreePacker(writer, root: .work, mayChangeModes: true).pack(work.raw)
        // Written anew for every phase; with a password that the next one may not see.
        let without = Set(orders.homeFiles.map { Array($0.path.utf8) })
        let home = try directory(orders.homeDirectory)
        try TreePacker(writer, root: .home, mayChangeModes: true, without: without).pack(home.raw)
        try writer.end()
    }

    private static func directory(_ path: String) throws(TreeStream.Problem) -> Descriptor {
        try explained { () throws(SystemError) in try Files.open(path, flags: O_RDONLY | O_DIRECTORY) }
    }

    private static func explained<Value: ~Copyable>(
        _ body: () throws(SystemError) -> Value
    ) throws(TreeStream.Problem) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw TreeStream.Problem(error.description)
        }
    }
}

/// Our stdout, which nobody else has.
enum Report {
    static func send(_ event: StepEvent) {
        // Nobody there any more: then nobody wants the rest either.
        do throws(SystemError) { try writeAll(STDOUT_FILENO, event.encoded()) } catch { _exit(1) }
    }
}

extension Processes {
    /// Kills everything in this pid namespace but ourselves and its init (kill(2)), and collects what is our own.
    static func endAllOthers() {
        kill(-1, SIGKILL)
        while waitpid(-1, nil, 0) > 0 || hatchery_errno() == EINTR {}
    }
}
