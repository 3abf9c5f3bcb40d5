import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// Starts a daemon for this user alone, detached from the terminal, and waits until it serves. It leaves by itself after an
/// idle time.
struct PrivateDaemon {
    /// Importing large libraries is part of a first start.
    static let readyLimit: Int32 = 90_000
    /// Where the daemon finds the write end of the pipe on which it says that it is ready.
    private static let readyDescriptor: Int32 = 3

    let place: PrivatePlace

    func start() throws(HatcheryError) {
        let program = try PrivateDaemon.program()
        do throws(SystemError) {
            let ready = try launch(program)
            try waitUntilReady(ready.raw)
        } catch {
            throw HatcheryError(client: error, kind: .unreachable, hint: "the daemon's log is \(place.logPath)")
        }
    }

    // MARK: The program

    static func program() throws(HatcheryError) -> String {
        let candidates = candidates()
        if let found = candidates.first(where: { access($0, X_OK) == 0 }) { return found }
        throw HatcheryError(
            .unreachable, side: .client, errno: ENOENT,
            detail: "no daemon is running, and hatcheryd is nowhere to be found",
            hint: "looked at: " + candidates.joined(separator: ", "))
    }

    private static func candidates() -> [String] {
        let path = DaemonLocator.environment("PATH") ?? ""
        return OwnProgram.places(of: "hatcheryd") + path.split(separator: ":").filter { $0.hasPrefix("/") }.map { $0 + "/hatcheryd" }
    }

    // MARK: Starting

    /// - Returns: the read end of the ready pipe. The write end is the daemon's alone, so that its death is seen as the end.
    private func launch(_ program: String) throws(SystemError) -> Descriptor {
        var ends: [Int32] = [-1, -1]
        try check(hatchery_pipe(&ends), "pipe2")
        let readEnd = Descriptor(owning: ends[0])
        let writeEnd = Descriptor(owning: ends[1])
        try spawn(program, ready: writeEnd.raw)
        return readEnd
    }

    private func spawn(_ program: String, ready: Int32) throws(SystemError) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(
            &actions, STDOUT_FILENO, place.logPath, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        // The log may just have taken the number 3; the pipe is above it by then, or in its place.
        posix_spawn_file_actions_adddup2(&actions, ready, PrivateDaemon.readyDescriptor)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // POSIX_SPAWN_SETSID, which libc shows to _GNU_SOURCE only: no terminal, and no signals of ours.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | 0x80))

        let words = [
            program, "--private", "--socket", place.socketPath, "--ready-fd", "\(PrivateDaemon.readyDescriptor)",
        ]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, program, &actions, &attributes, &arguments, environ)
        if result != 0 { throw SystemError("posix_spawn", errno: result, subject: program) }
    }

    private func waitUntilReady(_ raw: Int32) throws(SystemError) {
        var text: [UInt8] = []
        let deadline = MonotonicClock.now() + UInt64(PrivateDaemon.readyLimit) * 1_000_000
        while text.count < 65_536 {
            let now = MonotonicClock.now()
            guard now < deadline else { throw SystemError("hatcheryd did not become ready in time", errno: ETIMEDOUT) }
            var poller = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
            guard poll(&poller, 1, Int32((deadline - now) / 1_000_000 + 1)) > 0 else { continue }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = read(raw, &buffer, buffer.count)
            if count <= 0 { break }
            text += buffer[..<count]
            if text.starts(with: "ready\n".utf8) { return }
        }
        let message = String(decoding: text, as: UTF8.self).split(separator: "\n").joined(separator: "\n  ")
        throw SystemError(message.isEmpty ? "hatcheryd ended before it was ready" : "hatcheryd: \(message)", errno: 0)
    }
}
