import ArgumentParser
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySecuritySuite
import HatcherySystem
import Synchronization

/// `hatchery security-test`
struct SecurityTestCommand: Verb {
    enum Format: String, ExpressibleByArgument, CaseIterable { case text, json, junit }

    static let configuration = CommandConfiguration(
        commandName: "security-test",
        abstract: "Try to break out of this daemon's sandboxes, and say what came of every attempt.",
        discussion: """
            A program in a sandbox tries, and the outside judges what it saw: an errno, what could be read, what became of \
            things outside that it must not reach. A probe that means nothing on this host is skipped, with the reason. Exit \
            status 0 where nothing unexpected came, 1 where something did.
            """)

    @OptionGroup(title: "Daemon") var daemon: DaemonFlags
    @Option(help: "text, json or junit.") var format = Format.text
    @Option(help: ArgumentHelp("Write the report there instead of to stdout.", valueName: "file")) var output: String?
    @Option(help: ArgumentHelp("exec or python; both unless said.", valueName: "kind")) var zygote: [ZygoteKind] = []
    @Option(name: .customLong("class"), help: ArgumentHelp("Only probes of this class.", valueName: "name"))
    var groups: [String] = []
    @Option(help: ArgumentHelp("Only probes that show one of these layers.", valueName: "layer,..."), transform: FlagValues.layers)
    var layer: LayerSet?
    @Option(help: ArgumentHelp("Only this probe.", valueName: "id")) var only: [String] = []
    @Flag(help: "List the probes instead of running them.") var list = false
    @Option(
        help: ArgumentHelp(
            "Leave layers out, to see the probes fail. Only a daemon that was built for tests does that.",
            valueName: "layer,..."),
        transform: FlagValues.layers)
    var without: LayerSet?

    func validate() throws {
        let known = Set(SecuritySuite.probes.map(\.group))
        for name in groups where !known.contains(name) {
            throw ValidationError("no class of probes is called \"\(name)\"; there are: \(known.sorted().joined(separator: ", "))")
        }
        for id in only where !SecuritySuite.probes.contains(where: { $0.id == id }) {
            throw ValidationError("no probe is called \"\(id)\"; `hatchery security-test --list` names them")
        }
    }

    private var chosen: [Probe] {
        SecuritySuite.probes.filter { probe in
            (groups.isEmpty || groups.contains(probe.group)) && (only.isEmpty || only.contains(probe.id))
                && (layer.map { wanted in probe.layers.contains { wanted.contains($0) } } ?? true)
        }
    }

    func perform() -> Int32 {
        let zygotes = zygote.isEmpty ? ZygoteKind.allCases : zygote
        if list {
            Console.output(ReportText.list(chosen, format == .json))
            return 0
        }
        do throws(HatcheryError) {
            let report = try run(zygotes)
            try write(render(report))
            return report.count(.failed) == 0 ? 0 : 1
        } catch {
            Console.failure(error)
            return ExitStatus.hatcheryFailed
        }
    }

    private func run(_ zygotes: [ZygoteKind]) throws(HatcheryError) -> SuiteReport {
        let programs = try ProbePrograms.find()
        let path = try socketPath()
        // Text on a terminal or pipe comes as it is found; a suite takes its time.
        let tells = format == .text && output == nil
        let (chosen, without) = (chosen, without ?? [])
        let outcome = Waiting.wait { () async throws(HatcheryError) -> SuiteReport in
            let client = try await HatcheryClient.connect(socketPath: path)
            if !without.isEmpty && !client.welcome.hasTestSwitches {
                throw HatcheryError(
                    .notPermitted, side: .client, detail: "--without: this daemon is no build for tests, and leaves no layer out",
                    hint: "start the hatcheryd of `swift build` (debug)")
            }
            let suite = SecuritySuite(client, programs, socketPath: path, without: without)
            return try await suite.run(chosen, zygotes: zygotes) { if tells { Console.output(ReportText.line($0)) } }
        }
        return try outcome.get()
    }

    /// Where the daemon listens; a private one is started where none does.
    private func socketPath() throws(HatcheryError) -> String {
        try DaemonLocator.socketPath(daemon.socket)
    }

    private func render(_ report: SuiteReport) -> String {
        switch format {
        case .text: (output == nil ? "" : report.results.map(ReportText.line).joined()) + ReportText.summary(report)
        case .json: ReportText.json(report)
        case .junit: ReportText.junit(report)
        }
    }

    private func write(_ text: String) throws(HatcheryError) {
        guard let output else { return Console.output(text) }
        do throws(SystemError) {
            let file = try Files.open(output, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
            try writeAll(file.raw, Array(text.utf8))
        } catch {
            throw HatcheryError(client: error)
        }
    }
}

extension ZygoteKind: ExpressibleByArgument {}

/// Waits on this thread for something that needs Swift's own threads.
enum Waiting {
    static func wait<Value: Sendable>(
        _ body: @escaping @Sendable () async throws(HatcheryError) -> Value
    ) -> Result<Value, HatcheryError> {
        let result = Mutex<Result<Value, HatcheryError>?>(nil)
        let done = UnsafeSemaphore()
        Task {
            do throws(HatcheryError) {
                let value = try await body()
                result.withLock { $0 = .success(value) }
            } catch {
                result.withLock { $0 = .failure(error) }
            }
            done.post()
        }
        done.wait()
        return result.withLock { $0! }
    }

    /// sem_t, whose address must not change.
    private final class UnsafeSemaphore: @unchecked Sendable {
        private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
        init() { sem_init(semaphore, 0, 0) }
        deinit {
            sem_destroy(semaphore)
            semaphore.deallocate()
        }
        func post() { sem_post(semaphore) }
        func wait() { while sem_wait(semaphore) != 0 {} }
    }
}
