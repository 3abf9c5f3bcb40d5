import ArgumentParser
import CHatchery
import Foundation
import Glibc
import HatcheryDaemon
import HatcheryProtocol
import HatcherySystem
import Logging

/// hatcheryd: parsing of arguments, the socket, and the order of start-up.
struct HatcheryDaemonCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hatcheryd", abstract: "Keeps processes warm and hatches sandboxed children from them.",
        version: Front.version)

    @Option(help: "The configuration file. Default: /etc/hatchery/hatchery.yaml where it exists.")
    var config: String?

    @Option(help: "The socket's path, instead of socket.path of the configuration.")
    var socket: String?

    @Option(name: .customLong("set"), help: "KEY=VALUE overrides one key of the configuration, such as socket.mode=0600.")
    var overrides: [String] = []

    @Flag(name: .customLong("private"), help: "Serve one user only: mode 0600, leaves when idle, Python zygote if there is one.")
    var isPrivate = false

    @Option(name: .customLong("ready-fd"), help: "A descriptor that gets \"ready\" and a newline when requests are served, or an error.")
    var readyDescriptor: Int32?

    @Option(help: "trace, debug, info, notice, warning, error or critical, instead of log.level of the configuration.")
    var logLevel: String?

    @Flag(help: "Read and check the configuration, policies included, and leave: 0 where all is well, 1 where not.")
    var checkConfig = false

    @Flag(help: "Print the configuration that would be in force, and leave.")
    var showConfig = false

    @Flag(help: "With --show-config: where each value was written.")
    var origin = false

    @Option(help: "Print what the policy of this profile says to every system call, and leave.")
    var showPolicy: String?

    @Option(help: "With --show-policy: only this call.")
    var syscall: String?

    @Flag(help: "With --show-config and --show-policy: a JSON array instead of lines.")
    var json = false

    mutating func run() throws {
        if let logLevel {
            guard Logger.Level(rawValue: logLevel) != nil else { throw ValidationError("\"\(logLevel)\" is not a log level") }
            overrides.append("log.level=\(logLevel)")
        }
        if checkConfig || showConfig || showPolicy != nil { Glibc.exit(inspectConfiguration()) }
        let logs = DaemonLog()
        var log = logs.logger(level: .info)
        do {
            let status = try serve(logs, &log)
            Glibc.exit(status)
        } catch {
            tell("hatcheryd: \(error)\n")
            log.critical("\(error)")
            Glibc.exit(125)
        }
    }

    /// `hatchery config` calls this: only the daemon links what reads a configuration.
    private func inspectConfiguration() -> Int32 {
        do {
            let loaded = try Configuration.loadWithOrigins(
                path: config, environment: Environment.current(), overrides: overrides)
            if checkConfig { try ConfigurationCheck.perform(loaded) }
            if let showPolicy {
                let listing = try PolicyListing.of(profile: showPolicy, in: loaded.configuration, syscall: syscall)
                try writeAll(STDOUT_FILENO, Array((json ? listing.json : listing.text).utf8))
                return 0
            }
            let text =
                showConfig
                ? (json ? ConfigurationText.json(loaded) : ConfigurationText.lines(loaded, origins: origin))
                : "\(loaded.file ?? "no file, all defaults"): ok\n"
            try writeAll(STDOUT_FILENO, Array(text.utf8))
            return 0
        } catch {
            try? writeAll(STDERR_FILENO, Array("hatcheryd: \(error)\n".utf8))
            return 1
        }
    }

    private func serve(_ logs: DaemonLog, _ log: inout Logger) throws -> Int32 {
        // Before anything is opened or started: what the service manager gave us belongs to nobody else.
        let environment = Environment.current()
        let manager = ServiceManager(environment: environment, log: log)
        var inherited = try InheritedSockets.take(environment: environment)
        var defaults: [String] = []
        if isPrivate {
            defaults = ["socket.mode=0600"]
        }
        if let socket { defaults.append("socket.path=\(socket)") }
        // As it is now: a reload reads the same file, wherever this process stands then.
        let file = config.map { URL(fileURLWithPath: $0).path }
        let (personal, settings) = (isPrivate, defaults + overrides)
        @Sendable func read() throws -> Configuration {
            // The system's configuration is the system daemon's: a private one has its own file or none.
            var configuration =
                personal && file == nil
                ? try Configuration(yaml: "", file: "built in", environment: environment, overrides: settings)
                : try Configuration.load(path: file, environment: environment, overrides: settings)
            if personal { PrivateDaemon.complete(&configuration, hasFile: file != nil) }
            return configuration
        }
        let configuration = try read()
        // It outlives the shell that needed it first, and must not keep that shell's directory busy.
        if isPrivate { chdir("/") }

        logs.configure(configuration.log)
        log.logLevel = Logger.Level(rawValue: configuration.log.level.rawValue) ?? .info

        // Before anything starts a thread: a user namespace can be entered by a single thread only.
        let (base, count) = (configuration.ids.base, configuration.ids.count)
        let identity = try Rootless.isNeeded ? Rootless.enter(base: base, count: count) : .root(base: base, count: count)
        if Rootless.isNeeded { log.warning("some rights are missing; `hatchery doctor` tells which") }
        let front = try Front(
            configuration: configuration, identity: identity, manager: manager, logs: logs, log: log, reread: read)
        try front.openMetrics(inherited: inherited.metrics.take())
        let listener: Descriptor
        let path: String
        // Only what this daemon made is removed at its end.
        var inode: UInt64 = 0
        if let socket = inherited.listener.take() {
            path = InheritedSockets.path(of: socket.raw)
            listener = consume socket
            log.info("the socket is the service manager's")
        } else {
            path = configuration.socket.path
            listener = try DaemonSocket.listen(configuration.socket)
            inode = DaemonSocket.inode(path)
        }
        defer { DaemonSocket.remove(path, inode: inode) }
        let serving = log
        return try front.run(listener: listener) { failure in
            if let failure {
                tell("hatcheryd: \(failure)\n")
            } else {
                serving.info("serving on \(path)")
                tell("ready\n")
            }
        }
    }

    /// Writes to the descriptor of --ready-fd, once.
    private func tell(_ text: String) {
        guard let readyDescriptor else { return }
        _ = write(readyDescriptor, text, text.utf8.count)
        close(readyDescriptor)
    }
}
