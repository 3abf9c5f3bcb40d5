import Dispatch
import Glibc
import Hatchery
import HatcheryCommandLine
import HatcheryJobs
import HatcheryProtocol
import HatcherySystem

/// A build from its plan to the exit status.
struct BuildDriver {
    let verb: BuildVerb
    let plan: BuildPlan

    func run() throws -> Int32 {
        let audit = try verb.audit.map { text throws(HatcheryError) in try AuditLog(AuditLog.Destination(text: text)) }
        let socket = try DaemonLocator.socketPath(verb.socket)
        let console = BuildConsole(isQuiet: verb.json, colors: usesColors)
        let outcome = BlockingBox<Result<BuildReport, HatcheryError>>()
        let task = Task {
            do throws(HatcheryError) {
                let client = try await HatcheryClient.connect(socketPath: socket)
                defer { client.close() }
                outcome.put(.success(try await BuildRunner(client, audit: audit).run(plan) { console.show($0) }))
            } catch {
                outcome.put(.failure(error))
            }
        }
        // Ctrl-C ends everything; a second one ends this process on the spot, and the daemon, which sees the connection close,
        // the rest.
        let signals = EndSignals { task.cancel() }
        let report = try outcome.take().get()
        console.finish(report)
        if verb.json { try writeAll(STDOUT_FILENO, Array((report.json + "\n").utf8)) }
        if let path = verb.junit { try write(report.junit, to: path) }
        if let signal = signals.received { return ExitStatus.signal(signal) }
        return report.exitStatus
    }

    private var usesColors: Bool {
        switch verb.color {
        case "always": true
        case "never": false
        default: isatty(STDERR_FILENO) == 1 && getenv("NO_COLOR") == nil && getenv("TERM").map { String(cString: $0) } != "dumb"
        }
    }

    private func write(_ text: String, to path: String) throws(HatcheryError) {
        do throws(SystemError) {
            let file = try Files.open(path, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY, mode: 0o644)
            try writeAll(file.raw, Array(text.utf8))
        } catch {
            throw HatcheryError(.invalidRequest, side: .client, errno: error.errno, detail: "--junit \"\(path)\"")
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP.
final class EndSignals: @unchecked Sendable {
    private var sources: [any DispatchSourceSignal] = []
    private let queue = DispatchQueue(label: "signals")
    private var first: Int32?

    var received: Int32? { queue.sync { first } }

    init(_ action: @escaping @Sendable () -> Void) {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { [unowned self] in
                if first != nil { _exit(128 + number) }
                first = number
                action()
            }
            source.resume()
            sources.append(source)
        }
    }
}
