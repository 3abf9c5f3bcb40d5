import CHatchery
import Glibc
import HatcherySteps
import HatcherySystem

/// A task that was started: its process, a session of its own, and its two pipes.
final class RunningTask {
    let pid: pid_t
    let isService: Bool
    let streams: [TaskStream]
    let deadline: UInt64
    /// Whether its end was reported before the process had ended.
    var isTold = false
    private let begin = MonotonicClock.now()
    private var end: StepEnd?

    var hasEnded: Bool { end != nil }
    var wall: UInt64 { MonotonicClock.now() - begin }
    var timedOut: StepEnd { StepEnd(.timedOut, wallNanoseconds: wall) }

    /// - Throws: with the errno of execve where the program cannot be started.
    init(_ task: StepOrders.Task, number: Int, environment: [String], outputBytes: UInt64) throws(SystemError) {
        let output = try Pipe()
        let errors = try Pipe()
        pid = try RunningTask.spawn(task.command, environment, output.writeEnd.raw, errors.writeEnd.raw)
        isService = task.isBackground
        deadline = task.isBackground || task.timeNanoseconds == 0 ? .max : begin &+ task.timeNanoseconds
        let outputEnd = try output.readEnd.duplicate()
        let errorEnd = try errors.readEnd.duplicate()
        streams = [
            try TaskStream(outputEnd, .stdout, number, limit: outputBytes),
            try TaskStream(errorEnd, .stderr, number, limit: outputBytes),
        ]
    }

    private static func spawn(
        _ command: [String], _ environment: [String], _ output: Int32, _ errors: Int32
    ) throws(SystemError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        var ignored = sigset_t()
        sigemptyset(&ignored)
        sigaddset(&ignored, SIGPIPE)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &ignored)
        // POSIX_SPAWN_SETSID, which libc shows to _GNU_SOURCE only.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | 0x80))
        // A name without a slash is looked up in the PATH of this process, so the tasks' one becomes ours.
        setenv("PATH", environment.last { $0.hasPrefix("PATH=") }.map { String($0.dropFirst(5)) } ?? "/usr/local/bin:/usr/bin:/bin", 1)
        var argv: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, command[0], &actions, &attributes, &argv, &envp)
        guard result == 0 else { throw SystemError("execve", errno: result, subject: command[0]) }
        return pid
    }

    /// How it ended; nil where it lives. Once it is known it stays.
    func reap(wait: Bool = false) -> StepEnd? {
        if let end { return end }
        guard let ended = (try? Processes.reap(pid: pid, wait: wait)) ?? nil else { return nil }
        let seconds = ended.usage.ru_utime.tv_sec + ended.usage.ru_stime.tv_sec
        let micro = ended.usage.ru_utime.tv_usec + ended.usage.ru_stime.tv_usec
        let cpu = UInt64(seconds) * 1_000_000_000 + UInt64(micro) * 1000
        switch ExitStatus(waitStatus: ended.status) {
        case .exited(let code): end = StepEnd(.exited, value: code, wallNanoseconds: wall, cpuNanoseconds: cpu)
        case .signaled(let signal): end = StepEnd(.signaled, value: signal, wallNanoseconds: wall, cpuNanoseconds: cpu)
        }
        return end
    }

    func waitForEnd() -> StepEnd { reap(wait: true) ?? StepEnd(.signaled, value: SIGKILL, wallNanoseconds: wall) }
}

/// One stream of a task, read to its end whatever comes, passed on up to a limit.
final class TaskStream {
    private var source: Descriptor?
    private let kind: StepEvent.Kind
    private let task: Int
    private var room: UInt64
    private var dropped: UInt64 = 0
    private static let chunkBytes = 65_536

    init(_ source: consuming Descriptor, _ kind: StepEvent.Kind, _ task: Int, limit: UInt64) throws(SystemError) {
        try source.setNonblocking()
        self.source = consume source
        self.kind = kind
        self.task = task
        room = limit
    }

    var raw: Int32 { source?.raw ?? -1 }
    var isOpen: Bool { source != nil }

    /// - Returns: false where nothing is there at the moment.
    @discardableResult
    func pump(reads: Int) -> Bool {
        for _ in 0..<reads {
            guard let raw = source?.raw else { return false }
            var count = 0
            let chunk = [UInt8](unsafeUninitializedCapacity: TaskStream.chunkBytes) { buffer, initialized in
                count = read(raw, buffer.baseAddress, buffer.count)
                initialized = max(0, count)
            }
            if count < 0 && (hatchery_errno() == EAGAIN || hatchery_errno() == EINTR) { return false }
            if count <= 0 {
                source = nil
                tellDropped()
                return false
            }
            pass(chunk)
        }
        return true
    }

    /// Reads what a pipe can hold: of a program that writes on and on there is no end.
    func drain() {
        pump(reads: 64)
        tellDropped()
    }

    private func pass(_ chunk: [UInt8]) {
        let kept = chunk.prefix(Int(min(room, UInt64(chunk.count))))
        room -= UInt64(kept.count)
        dropped += UInt64(chunk.count - kept.count)
        if !kept.isEmpty { Report.send(StepEvent(kind, task: task, bytes: Array(kept))) }
    }

    private func tellDropped() {
        guard dropped > 0 else { return }
        let number = withUnsafeBytes(of: dropped.littleEndian) { Array($0) }
        Report.send(StepEvent(.dropped, task: task, bytes: [kind.rawValue] + number))
        dropped = 0
    }
}
