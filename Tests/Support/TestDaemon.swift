import CHatchery
import Foundation
import Glibc
import Hatchery

/// A hatcheryd of the tests: started with a configuration of its own, ended with the test process.
public final class TestDaemon: @unchecked Sendable {
    public let socketPath: String
    public let directory: String
    public let pid: pid_t
    private let log: String

    public struct Refused: Error, CustomStringConvertible {
        public var description: String
    }

    /// Where the built programs are.
    public static let binaries: String =
        ProcessInfo.processInfo.environment["HATCHERY_BIN"] ?? {
            // The test bundle lies in the build folder, beside the programs.
            let bundle = CommandLine.arguments[0]
            let absolute = bundle.hasPrefix("/") ? bundle : FileManager.default.currentDirectoryPath + "/" + bundle
            return (absolute as NSString).deletingLastPathComponent
        }()

    /// The root of the source tree.
    public static let sources: String = {
        var path = #filePath as NSString
        for _ in 0..<3 { path = path.deletingLastPathComponent as NSString }
        return path as String
    }()

    /// - Parameters:
    ///   - configuration: YAML without the `socket` section.
    ///   - uid: an ordinary user to run as; nil for this process's own.
    ///   - cgroup: the directory of a cgroup to start it in; nil for this process's own.
    public init(_ configuration: String, uid: uid_t? = nil, cgroup: String? = nil) throws {
        let base = "/tmp/hatchery-test-XXXXXX"
        var template = Array(base.utf8CString)
        guard mkdtemp(&template) != nil else { throw Refused(description: "mkdtemp: \(String(cString: strerror(errno)))") }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        chmod(directory, 0o755)
        socketPath = directory + "/hatchery.sock"
        log = directory + "/log"
        let file = directory + "/hatchery.yaml"
        try TestDaemon.write(configuration, to: file, socketPath)
        if let uid { chown(directory, uid, uid) }
        do {
            pid = try TestDaemon.start(file: file, log: log, uid: uid, cgroup: cgroup)
        } catch {
            // Nobody ends one that did not begin, and what its log said is in the error.
            try? FileManager.default.removeItem(atPath: directory)
            throw error
        }
        TestDaemon.register(self)
    }

    /// Writes another configuration where the daemon finds it at its next reload.
    public func configure(_ configuration: String) throws {
        try TestDaemon.write(configuration, to: directory + "/hatchery.yaml", socketPath)
    }

    private static func write(_ configuration: String, to file: String, _ socketPath: String) throws {
        // The daemons of a test process that crashed leave by themselves.
        var common = "\nidle_exit: 3m\ndrain: 0s\nsocket: {path: \(socketPath), mode: \"0666\"}\n"
        // Where the tests run as an ordinary user: a cgroup that was delegated to that user.
        let delegated = ProcessInfo.processInfo.environment["HATCHERY_TEST_CGROUP"]
        if let delegated, !configuration.contains("cgroup:") { common += "cgroup: {path: \(delegated)}\n" }
        try (configuration + common).write(toFile: file, atomically: true, encoding: .utf8)
        chmod(file, 0o644)
    }

    private static func start(file: String, log: String, uid: uid_t?, cgroup: String?) throws -> pid_t {
        var ready: [Int32] = [0, 0]
        // Close-on-exec: tests start daemons side by side, and one that inherits another's pipe would hold it open.
        guard hatchery_pipe(&ready) == 0 else { throw Refused(description: "pipe") }
        defer { close(ready[0]) }
        var arguments = ["\(binaries)/hatcheryd", "--config", file, "--ready-fd", "9", "--log-level", "debug"]
        if let uid {
            arguments = ["/usr/bin/setpriv", "--reuid", "\(uid)", "--regid", "\(uid)", "--clear-groups"] + arguments
        }
        if let cgroup {
            arguments = ["/bin/sh", "-c", "echo $$ >\(cgroup)/cgroup.procs && exec \"$@\"", "sh"] + arguments
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        posix_spawn_file_actions_adddup2(&actions, ready[1], 9)
        // Nothing else: Foundation's pipes to other programs are inheritable, and a daemon that holds one keeps its reader
        // waiting for the end of file.
        for raw in Int32(3)..<9 { posix_spawn_file_actions_addclose(&actions, raw) }
        closeFrom(10, &actions)
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        // A marker that must never be seen inside.
        var envp: [UnsafeMutablePointer<CChar>?] = [strdup("DAEMON_MARKER=daemon-environment"), strdup("PATH=/usr/bin:/bin"), nil]
        defer { for pointer in envp { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, arguments[0], &actions, nil, &argv, &envp)
        close(ready[1])
        guard result == 0 else { throw Refused(description: "\(arguments[0]): \(String(cString: strerror(result)))") }
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(ready[0], &chunk, chunk.count)
            if count <= 0 { break }
            answer += chunk[..<count]
        }
        let text = String(decoding: answer, as: UTF8.self)
        guard text == "ready\n" else {
            var status: Int32 = 0
            waitpid(pid, &status, 0)
            let tail = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            throw Refused(description: text.isEmpty ? "hatcheryd ended without a word\n\(tail)" : text)
        }
        return pid
    }

    /// posix_spawn_file_actions_addclosefrom_np(3), which glibc's headers show to GNU's programs only.
    private static func closeFrom(_ first: Int32, _ actions: inout posix_spawn_file_actions_t) {
        typealias Function = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32
        guard let address = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else { return }
        _ = unsafeBitCast(address, to: Function.self)(&actions, first)
    }

    public func client() async throws -> HatcheryClient { try await HatcheryClient.connect(socketPath: socketPath) }

    public var logText: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

    /// Ends the daemon and waits for it.
    public func stop(signal: Int32 = SIGTERM) {
        guard TestDaemon.unregister(self) else { return }
        kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        try? FileManager.default.removeItem(atPath: directory)
    }

    // MARK: Ends with the process

    private static let lock = NSLock()
    nonisolated(unsafe) private static var living: [pid_t: TestDaemon] = [:]
    nonisolated(unsafe) private static var isHooked = false

    private static func register(_ daemon: TestDaemon) {
        lock.withLock {
            living[daemon.pid] = daemon
            if !isHooked { atexit { TestDaemon.stopAll() } }
            isHooked = true
        }
    }

    private static func unregister(_ daemon: TestDaemon) -> Bool {
        lock.withLock { living.removeValue(forKey: daemon.pid) != nil }
    }

    private static func stopAll() {
        for daemon in lock.withLock({ Array(living.values) }) { daemon.stop() }
    }
}
