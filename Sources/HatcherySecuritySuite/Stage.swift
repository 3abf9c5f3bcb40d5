import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// What is set up for the probes of one kind of zygote: two sandboxes side by side, an agent outside of both, and things on
/// the host that no sandbox may reach.
///
/// Used by one task.
final class Stage: @unchecked Sendable {
    /// Where the agent's program or library is copied to. No sandbox sees what another one has there, as long as all is well.
    static let place = "/tmp/probe-"

    let client: HatcheryClient
    let programs: ProbePrograms
    let kind: ZygoteKind
    /// Layers that were asked to be left out.
    let without: LayerSet
    let socketPath: String
    let outside: OutsideAgent
    /// A directory of our own on the host, 0755, removed at the end.
    let directory: String
    /// A word that nobody else uses.
    let token: String
    private(set) var a: SandboxAgent
    private(set) var b: SandboxAgent
    /// Of sandbox A; every sandbox of one daemon has the same.
    let receipt: Receipt
    /// Layers that a test left out, those included that cannot stand without them.
    let leftOut: LayerSet
    private let opened = Mutex(0)
    var values: [String: String] = [:]

    init(
        _ client: HatcheryClient, _ programs: ProbePrograms, _ kind: ZygoteKind, without: LayerSet, socketPath: String
    ) async throws {
        self.client = client
        self.programs = programs
        self.kind = kind
        self.without = without
        self.socketPath = socketPath
        outside = try OutsideAgent(program: programs.program)
        var generator = SystemRandomNumberGenerator()
        token = "canary" + String(generator.next() as UInt64, radix: 16)
        directory = try Stage.makeDirectory(token)
        a = try await Stage.open(client, programs, kind, without, name: token + "-a")
        b = try await Stage.open(client, programs, kind, without, name: token + "-b")
        receipt = a.session.spawned.receipt
        leftOut = Stage.leftOut(receipt)
        values = [
            "program": Stage.place + token + "-a",
            "outside": "\(outside.pid)", "socket": socketPath, "token": token, "key": "\(Int32(0x4000_0000) | Int32(outside.pid))",
            "peer": "\(a.session.pid)", "readable": directory + "/readable", "writable": directory + "/writable",
        ]
        try HostFiles.write(directory + "/readable", token, mode: 0o644)
        try HostFiles.write(directory + "/writable", token, mode: 0o666)
    }

    deinit { HostFiles.remove(directory) }

    private static func leftOut(_ receipt: Receipt) -> LayerSet {
        receipt.missing.filter { $0.why == "left out by a test" }.reduce(into: []) { $0.insert($1.layer) }
    }

    private static func makeDirectory(_ token: String) throws(SystemError) -> String {
        let path = "/tmp/hatchery-\(token)"
        try checkErrno(mkdir(path, 0o755), "mkdir", path)
        try checkErrno(chmod(path, 0o755), "chmod", path)
        return path
    }

    // MARK: Sandboxes

    /// Options that every sandbox of the suite starts from.
    static func options(without: LayerSet) -> SandboxOptions {
        var options = SandboxOptions()
        options.time = .seconds(300)
        options.cpuTime = .seconds(60)
        options.memory = 256 << 20
        options.pids = 64
        options.disk = 32 << 20
        options.without = without
        options.environment = [(name: "PROBE", value: "1")]
        return options
    }

    private static func open(
        _ client: HatcheryClient, _ programs: ProbePrograms, _ kind: ZygoteKind, _ without: LayerSet, name: String,
        _ change: (inout SandboxOptions) -> Void = { _ in }
    ) async throws -> SandboxAgent {
        var options = SessionOptions()
        options.sandbox = Stage.options(without: without)
        let program = place + name
        options.sandbox.filesIn = [.init(programs.program, to: program)]
        let payload: Payload
        switch kind {
        case .exec: payload = .program(program)
        case .python:
            options.sandbox.filesIn.append(.init(programs.library ?? "", to: program + ".so"))
            payload = .python(code: "import ctypes; ctypes.CDLL('\(program).so').hatchery_probes_serve(0, 1)")
        }
        change(&options.sandbox)
        return SandboxAgent(session: try await client.session(payload, options))
    }

    /// A sandbox with an agent of its own; the caller ends it.
    func openSandbox(_ change: (inout SandboxOptions) -> Void = { _ in }) async throws -> SandboxAgent {
        try await Stage.open(client, programs, kind, without, name: nextName(), change)
    }

    private func nextName() -> String {
        opened.withLock { number in
            number += 1
            return "\(token)-\(number)"
        }
    }

    /// Opens a sandbox for the time of `body`.
    func withSandbox<Result>(
        _ change: (inout SandboxOptions) -> Void = { _ in }, _ body: (SandboxAgent) async throws -> Result
    ) async throws -> Result {
        let agent = try await openSandbox(change)
        do {
            let result = try await body(agent)
            _ = await agent.end()
            return result
        } catch {
            _ = await agent.end()
            throw error
        }
    }

    /// Whether a sandbox beside whatever is going on starts and answers.
    func anotherSandboxWorks() async -> Bool {
        let answer = try? await withSandbox { await $0.ask("do pid") }
        return answer?.hasPrefix("ok ") ?? false
    }

    /// After an attempt that may have ended an agent.
    func mend() async throws {
        if !(await a.ask("do pid")).hasPrefix("ok ") {
            _ = await a.end()
            let name = nextName()
            a = try await Stage.open(client, programs, kind, without, name: name)
            values["program"] = Stage.place + name
            values["peer"] = "\(a.session.pid)"
        }
        if !(await b.ask("do pid")).hasPrefix("ok ") {
            _ = await b.end()
            b = try await openSandbox()
        }
    }

    func end() async {
        _ = await a.end()
        _ = await b.end()
    }

    var ownUser: UInt32 { geteuid() }
    var isRoot: Bool { geteuid() == 0 }

    /// Puts the stage's values into an attempt.
    func filled(_ text: String) -> String {
        // `{name}` stands between the first braces of each part.
        var parts = text.split(separator: "{", omittingEmptySubsequences: false).map(String.init)
        for index in parts.indices.dropFirst() {
            let name = String(parts[index].prefix { $0 != "}" })
            parts[index] = (values[name] ?? name) + parts[index].dropFirst(name.count + 1)
        }
        return parts.joined()
    }

    // MARK: Canaries

    /// What the writable file outside holds now.
    var writableCanary: String { (try? Files.readText(directory + "/writable")) ?? "gone" }

    /// Makes a directory on the host that sandboxes may write to.
    func makeShared(_ name: String) throws(SystemError) -> String {
        let path = directory + "/" + name
        try checkErrno(mkdir(path, 0o777), "mkdir", path)
        try checkErrno(chmod(path, 0o777), "chmod", path)
        return path
    }
}
