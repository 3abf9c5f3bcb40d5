import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// A spec and the options of one run together: what will run, with what. Everything that can be wrong is found while this is made.
public struct BuildPlan: Sendable {
    static let workDirectory = "/work"
    static let homeDirectory = "/home/build"
    static let stepsPlace = "/run/hatchery/steps"
    /// For the way of the tree in and out, beside the time of a phase.
    static let carryTime = Duration.seconds(30)
    static let countPlaceholder = "{forge-commit-count}"

    public let spec: BuildSpec
    public let options: BuildOptions
    /// In their order, without those that the options leave out.
    public let phases: [BuildPhase]
    /// Values by name.
    let secrets: [String: String]

    /// - Throws: `.invalidRequest` for what does not fit together, and for secrets that are not there.
    public init(_ spec: BuildSpec, _ options: BuildOptions) throws(HatcheryError) {
        self.spec = spec
        self.options = options
        if let stage = options.stage, stage != .staging && stage != .production {
            throw BuildPlan.invalid("\"\(stage.rawValue)\" is not a stage", "staging or production")
        }
        phases = BuildPhase.allCases.filter { phase in
            guard let section = spec.phases[phase], !section.steps.isEmpty else { return false }
            if (phase == .staging || phase == .production) && phase != options.stage { return false }
            return options.only.isEmpty || options.only.contains(phase)
        }
        guard !phases.isEmpty else {
            throw BuildPlan.invalid("nothing of the spec is to run", "see --only and --stage, and hatchery build --explain")
        }
        for phase in phases where options.pullRequest.commitCount == nil {
            for step in spec.phases[phase]!.steps where step.command.contains(where: { $0.contains(BuildPlan.countPlaceholder) }) {
                throw BuildPlan.invalid(
                    "line \(step.line): \(BuildPlan.countPlaceholder) has no value", "give --commit-count, or set FORGE_COMMIT_COUNT")
            }
        }
        var secrets: [String: String] = [:]
        for name in Set(phases.flatMap { spec.phases[$0]!.secrets }) {
            secrets[name] = try BuildPlan.value(of: name, spec.secrets[name]!, options)
        }
        self.secrets = secrets
    }

    private static func value(
        of name: String, _ source: BuildSpec.SecretSource, _ options: BuildOptions
    ) throws(HatcheryError) -> String {
        var value: String
        switch source {
        case .environment(let variable):
            guard let found = options.callersEnvironment[variable] else {
                throw invalid("the secret \(name) is not there: the variable \(variable) is not set", "export \(variable)")
            }
            value = found
        case .file(let path):
            do throws(SystemError) {
                let file = try Files.open(path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK)
                guard Files.isRegular(file.raw) else { throw SystemError("read", errno: EINVAL, subject: "not a regular file") }
                let bytes = try readAll(file.raw, limit: 65_537)
                guard bytes.count <= 65_536, let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(0) else {
                    throw SystemError("read", errno: EINVAL, subject: "longer than 64 KiB, or no text")
                }
                value = text
            } catch {
                throw HatcheryError(.invalidRequest, side: .client, errno: error.errno, detail: "the secret \(name) from \"\(path)\"")
            }
            if value.hasSuffix("\n") { value.removeLast() }
        }
        guard value.utf8.count >= SecretMask.shortest else {
            throw invalid(
                "the secret \(name) has fewer than \(SecretMask.shortest) bytes", "it could not be masked in the output; use a longer one")
        }
        return value
    }

    // MARK: One phase

    func steps(of phase: BuildPhase) -> [BuildSpec.Step] {
        let count = options.pullRequest.commitCount.map { "\($0)" } ?? ""
        return spec.phases[phase]!.steps.map { step in
            var step = step
            step.command = step.command.map { $0.replacing(BuildPlan.countPlaceholder, with: count) }
            step.text = step.text.replacing(BuildPlan.countPlaceholder, with: count)
            return step
        }
    }

    func orders(of phase: BuildPhase) -> StepOrders {
        let section = spec.phases[phase]!
        var orders = StepOrders()
        orders.tasks = steps(of: phase).map { step in
            var task = StepOrders.Task(step.command)
            task.isBackground = step.kind == .background
            task.timeNanoseconds = step.time?.clampedNanoseconds ?? 0
            task.port = step.port ?? 0
            return task
        }
        let granted = secrets.filter { section.secrets.contains($0.key) }
        orders.environment = environment(of: section, granted).map { "\($0.name)=\($0.value)" }
        orders.homeFiles = spec.packageIndex.files(secrets: granted).map { .init(path: $0.path, bytes: Array($0.text.utf8)) }
        orders.workDirectory = BuildPlan.workDirectory
        orders.homeDirectory = BuildPlan.homeDirectory
        orders.timeNanoseconds = section.rights.limits.time.clampedNanoseconds
        orders.outputBytes = options.outputLimit
        return orders
    }

    private func environment(
        of section: BuildSpec.Section, _ granted: [String: String]
    ) -> [(name: String, value: String)] {
        let home = BuildPlan.homeDirectory
        var variables: [(String, String)] = [
            ("HOME", home), ("LANG", "C.UTF-8"), ("CI", "true"),
            ("PATH", "\(home)/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
        ]
        variables += options.pullRequest.variables(stage: options.stage)
        variables += spec.variables.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        variables += granted.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        // A later one wins.
        var last: [String: String] = [:]
        for (name, value) in variables { last[name] = value }
        return last.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    func sandbox(of phase: BuildPhase) -> SandboxOptions {
        let rights = spec.phases[phase]!.rights
        var sandbox = SandboxOptions()
        sandbox.profile = spec.profile
        sandbox.title = "build \(phase.rawValue)"
        sandbox.time = rights.limits.time + BuildPlan.carryTime
        sandbox.cpuTime = rights.limits.cpuTime
        sandbox.memory = rights.limits.memory
        sandbox.pids = UInt64(rights.limits.pids)
        sandbox.disk = rights.limits.disk
        sandbox.network = SpawnRequest.Network(name: rights.network.rawValue)
        sandbox.rootFileSystem = spec.rootFileSystem
        sandbox.temporaryFileSystems = [
            .init(destination: BuildPlan.workDirectory, size: nil), .init(destination: BuildPlan.homeDirectory, size: nil),
        ]
        sandbox.mounts = [.init(options.stepsProgram, at: BuildPlan.stepsPlace)]
        sandbox.required = options.required
        return sandbox
    }

    static func invalid(_ detail: String, _ hint: String) -> HatcheryError {
        HatcheryError(.invalidRequest, side: .client, detail: detail, hint: hint)
    }
}
