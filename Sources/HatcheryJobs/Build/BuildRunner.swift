import Hatchery
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// Runs a build: each phase in a sandbox of its own, with a copy of the tree that goes from one to the next.
///
/// ```swift
/// let spec = try BuildSpec(file: "hatchery-build.yml")
/// let plan = try BuildPlan(spec, BuildOptions(repository: ".", stepsProgram: "/usr/bin/hatchery-steps"))
/// let report = await BuildRunner(client).run(plan) { event in … }
/// print(report.outcome, report.exitStatus)
/// ```
public struct BuildRunner: Sendable {
    private let client: HatcheryClient
    private let audit: AuditLog?

    /// - Parameter audit: gets one record for every step that ran.
    public init(_ client: HatcheryClient, audit: AuditLog? = nil) {
        self.client = client
        self.audit = audit
    }

    /// Bytes of a tree, its names and headers included, that can come out of a phase.
    static func stateLimit(_ rights: BuildRights) -> UInt64 { rights.limits.disk + rights.limits.disk / 4 + (1 << 20) }

    /// Runs the phases in their order. The first failure ends the build but for `after`, which runs whatever happened. Cancelling
    /// the task ends everything at once; nothing more runs then.
    ///
    /// - Throws: where nothing could run: the repository cannot be read, or an output cannot be written.
    public func run(
        _ plan: BuildPlan, _ onEvent: @escaping @Sendable (BuildEvent) -> Void = { _ in }
    ) async throws(HatcheryError) -> BuildReport {
        var report = BuildReport(name: plan.spec.name)
        let begin = MonotonicClock.now()
        let first = plan.spec.phases[plan.phases[0]]!.rights
        var state = try BuildState.pack(plan.options.repository, limit: BuildRunner.stateLimit(first))
        for phase in plan.phases {
            if report.outcome == .cancelled || (report.exitStatus != 0 && phase != .after) {
                var skipped = BuildReport.Phase(phase: phase)
                skipped.steps = PhaseRunner.steps(of: phase, plan)
                report.phases.append(skipped)
                continue
            }
            var runner = PhaseRunner(plan, phase, client, onEvent)
            await runner.run(from: state)
            report.phases.append(runner.report)
            if report.exitStatus == 0 { report.exitStatus = runner.exitStatus }
            try record(runner.report, plan)
            guard let left = runner.state else { continue }
            state = left
            if plan.options.isInPlace { try state.write(to: plan.options.repository) }
        }
        if report.outcome != .cancelled { try bringOut(state, plan, &report) }
        report.wallSeconds = Double(MonotonicClock.now() - begin) / 1e9
        return report
    }

    private func bringOut(_ state: BuildState, _ plan: BuildPlan, _ report: inout BuildReport) throws(HatcheryError) {
        for output in plan.options.outputs where try !state.bringOut(output) {
            report.missingOutputs.append((output.path, "nothing of that name was left"))
        }
        // Asked for and not there: a failure of ours only where the build itself had none.
        if report.exitStatus == 0 && !report.missingOutputs.isEmpty { report.exitStatus = 125 }
    }

    private func record(_ phase: BuildReport.Phase, _ plan: BuildPlan) throws(HatcheryError) {
        guard let audit else { return }
        let commands = plan.steps(of: phase.phase)
        let sandbox = plan.sandbox(of: phase.phase)
        for (step, command) in zip(phase.steps, commands) where step.outcome != .skipped {
            var record = AuditRecord(.step, name: "\(phase.phase.rawValue)/\(step.number)", user: plan.options.user)
            record.sha256 = AuditRecord.digest(of: command.command)
            record.limited(by: sandbox, stdout: Int(clamping: plan.options.outputLimit), stderr: Int(clamping: plan.options.outputLimit))
            record.id = phase.id
            record.verdict = step.outcome.rawValue
            record.exitCode = step.exitStatus
            record.usage = RunResult.Usage(wallSeconds: step.wallSeconds, cpuSeconds: step.cpuSeconds)
            try audit.write(record)
        }
    }
}
