import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// One phase in a sandbox of its own: from the orders to the state that it leaves.
struct PhaseRunner {
    let plan: BuildPlan
    let phase: BuildPhase
    let client: HatcheryClient
    let onEvent: @Sendable (BuildEvent) -> Void

    private(set) var report: BuildReport.Phase
    /// What the phase left; nil where it was ended from outside.
    private(set) var state: BuildState?
    /// Of the first step that failed.
    private(set) var exitStatus: Int32 = 0

    private var masks: [Int: [SecretMask]] = [:]
    private var tails: [Int: [OutputCollector]] = [:]
    private var runnerErrors: [UInt8] = []
    private var stateBytes: UInt64 = 0

    init(_ plan: BuildPlan, _ phase: BuildPhase, _ client: HatcheryClient, _ onEvent: @escaping @Sendable (BuildEvent) -> Void) {
        self.plan = plan
        self.phase = phase
        self.client = client
        self.onEvent = onEvent
        report = BuildReport.Phase(phase: phase)
        report.steps = PhaseRunner.steps(of: phase, plan)
    }

    static func steps(of phase: BuildPhase, _ plan: BuildPlan) -> [BuildReport.Step] {
        plan.steps(of: phase).enumerated().map { index, step in
            BuildReport.Step(
                phase: phase, number: index + 1, text: step.text, isBackground: step.kind == .background, line: step.line)
        }
    }

    /// Runs the phase to its end. Cancelling the task ends everything in it.
    mutating func run(from before: BuildState) async {
        onEvent(.phaseStarted(phase))
        let begin = MonotonicClock.now()
        do throws(HatcheryError) {
            try await converse(from: before)
        } catch {
            fail(error)
        }
        report.wallSeconds = Double(MonotonicClock.now() - begin) / 1e9
        if report.outcome == .skipped { report.outcome = exitStatus == 0 ? .passed : .failed }
        onEvent(.phaseEnded(report))
    }

    private mutating func converse(from before: BuildState) async throws(HatcheryError) {
        let orders = plan.orders(of: phase).encoded()
        let header = withUnsafeBytes(of: UInt64(orders.count).littleEndian) { Array($0) }
        var options = StreamOptions()
        options.sandbox = plan.sandbox(of: phase)
        options.stdin = .joined(header + orders, before.rewound())
        let stream = try await client.bytes(.program(BuildPlan.stepsPlace), options)
        report.id = stream.spawned.id
        report.receipt = stream.spawned.receipt
        var reader = StepEventReader()
        var incoming: BuildState?
        for try await chunk in stream {
            guard chunk.stream == .stdout else {
                if runnerErrors.count < 4096 { runnerErrors += chunk.bytes.prefix(4096) }
                continue
            }
            if let incoming {
                try take(chunk.bytes, into: incoming)
                continue
            }
            reader.append(chunk.bytes)
            if try handle(&reader) {
                let started = try BuildState.empty()
                try take(reader.rest, into: started)
                incoming = started
            }
        }
        let ended = try await stream.wait()
        report.peakMemoryBytes = ended.peakMemoryBytes
        try settle(ended, incoming, before)
    }

    /// - Returns: whether the state begins.
    private mutating func handle(_ reader: inout StepEventReader) throws(HatcheryError) -> Bool {
        while true {
            switch reader.next() {
            case .more: return false
            case .malformed: throw HatcheryError(.malformed, side: .child, detail: "the runner of the phase says what makes no sense")
            case .event(let event):
                if event.kind == .state { return true }
                try handle(event)
            }
        }
    }

    private mutating func handle(_ event: StepEvent) throws(HatcheryError) {
        let number = Int(event.task)
        if event.kind == .failed {
            throw HatcheryError(
                .setupFailed, side: .child, detail: String(decoding: event.bytes, as: UTF8.self).plain(limitBytes: 2000),
                hint: "the runner of the phase could not do its work; is limits.disk large enough for the tree?")
        }
        guard report.steps.indices.contains(number) else {
            throw HatcheryError(.malformed, side: .child, detail: "the runner speaks of a step that does not exist")
        }
        switch event.kind {
        case .started:
            let secrets = plan.spec.phases[phase]!.secrets.compactMap { plan.secrets[$0] }
            masks[number] = [SecretMask(secrets), SecretMask(secrets)]
            tails[number] = (0..<2).map { _ in OutputCollector(limit: plan.options.reportLimit, part: .tail) }
            onEvent(.stepStarted(report.steps[number], of: report.steps.count))
        case .ready: onEvent(.serviceReady(report.steps[number]))
        case .stdout, .stderr:
            let stream = event.kind == .stdout ? 0 : 1
            guard let passed = masks[number]?[stream].pass(event.bytes) else { return }
            pass(passed, number, stream)
        case .dropped:
            guard event.bytes.count == 9 else { return }
            report.steps[number].droppedBytes &+= event.bytes.dropFirst().reversed().reduce(0) { $0 << 8 | UInt64($1) }
        case .ended:
            guard let end = StepEnd(event.bytes) else { return }
            ended(number, end)
        case .failed, .state: break
        }
    }

    private mutating func pass(_ bytes: [UInt8], _ number: Int, _ stream: Int) {
        if bytes.isEmpty { return }
        bytes.withUnsafeBytes { tails[number]?[stream].append($0) }
        onEvent(.output(report.steps[number], isStderr: stream == 1, bytes))
    }

    private mutating func flush(_ number: Int) {
        for stream in 0..<2 {
            if let rest = masks[number]?[stream].finish() { pass(rest, number, stream) }
        }
        report.steps[number].stdout = tails[number]?[0].kept ?? []
        report.steps[number].stderr = tails[number]?[1].kept ?? []
    }

    private mutating func ended(_ number: Int, _ end: StepEnd) {
        flush(number)
        let isService = report.steps[number].isBackground
        let failed = !end.isSuccess || (isService && end.cause != .stopped)
        var status = end.exitStatus
        if failed && status == 0 { status = 1 }
        report.steps[number].exitStatus = status
        report.steps[number].outcome = failed ? .failed : isService ? .stopped : .passed
        report.steps[number].message = end.message(isService: isService)
        report.steps[number].wallSeconds = Double(end.wallNanoseconds) / 1e9
        report.steps[number].cpuSeconds = Double(end.cpuNanoseconds) / 1e9
        // What was ended because of another one is not the cause.
        if failed, exitStatus == 0 { exitStatus = status }
        onEvent(.stepEnded(report.steps[number]))
    }

    // MARK: The end

    private mutating func take(_ bytes: [UInt8], into incoming: BuildState) throws(HatcheryError) {
        stateBytes += UInt64(bytes.count)
        let rights = plan.spec.phases[phase]!.rights
        guard stateBytes <= BuildRunner.stateLimit(rights) else {
            throw HatcheryError(
                .setupFailed, side: .child, detail: "the tree that the phase left is larger than its disk", hint: "raise limits.disk; sparse files count in full")
        }
        try incoming.append(bytes)
    }

    private mutating func settle(_ ended: Ended, _ incoming: BuildState?, _ before: BuildState) throws(HatcheryError) {
        guard ended.verdict == .exited, ended.exitCode == 0, let incoming else {
            endedFromOutside(ended)
            return
        }
        try incoming.verify()
        let rights = plan.spec.phases[phase]!.rights
        state = try incoming.keeping(rights, of: before, limit: 2 * BuildRunner.stateLimit(rights))
    }

    /// The sandbox was ended: by a limit, by the daemon's end, or by a step that killed the runner.
    private mutating func endedFromOutside(_ ended: Ended) {
        var (status, what): (Int32, String) =
            switch ended.verdict {
            case .timedOut: (124, "the phase's time limit was reached")
            case .cpuLimit: (124, "the phase's CPU time limit was reached")
            case .memoryLimit: (137, "the phase's memory limit was reached (\(ended.observed))")
            case .exited: (125, "the runner of the phase ended: \(String(decoding: runnerErrors.prefix(400), as: UTF8.self).plain(limitBytes: 400))")
            default: (125, "the phase was ended (\(ended.verdict.name)\(ended.signal.map { ", " + Signals.name($0) } ?? ""))")
            }
        if exitStatus != 0 { (status, what) = (exitStatus, what) }
        endRunningSteps(status, what)
        exitStatus = status
        report.outcome = .failed
        report.message = what
    }

    private mutating func endRunningSteps(_ status: Int32, _ what: String) {
        for number in report.steps.indices where masks[number] != nil && report.steps[number].outcome == .skipped {
            flush(number)
            report.steps[number].outcome = .failed
            report.steps[number].exitStatus = status
            report.steps[number].message = what
            onEvent(.stepEnded(report.steps[number]))
        }
    }

    private mutating func fail(_ error: HatcheryError) {
        let isCancelled = error.kind == .cancelled || Task.isCancelled
        let status: Int32 = isCancelled ? 130 : 125
        let what = isCancelled ? "cancelled" : SecretMask.masked(error.description, Array(plan.secrets.values))
        endRunningSteps(status, what)
        if exitStatus == 0 || isCancelled { exitStatus = status }
        report.outcome = isCancelled ? .cancelled : .failed
        report.message = what
    }
}
