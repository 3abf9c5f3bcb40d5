import Hatchery
import HatcheryProtocol
import HatcherySystem

/// What came of one probe with one kind of zygote.
public struct ProbeResult: Sendable {
    public enum Verdict: String, Sendable {
        /// What was expected.
        case passed
        /// The sandbox did not stand, or it cannot be told.
        case failed
        /// It means nothing here; `got` says why.
        case skipped
    }

    public let probe: Probe
    public let zygote: ZygoteKind
    public let verdict: Verdict
    public let got: String
    public let seconds: Double
}

/// Everything that one call of the suite found.
public struct SuiteReport: Sendable {
    public var results: [ProbeResult] = []
    /// The layers that were active in the sandboxes of each zygote.
    public var receipts: [(zygote: ZygoteKind, receipt: Receipt)] = []
    /// Layers that were left out on purpose, those included that cannot stand without them.
    public var without: LayerSet = []
    public var daemon = ""

    public func count(_ verdict: ProbeResult.Verdict) -> Int { results.count { $0.verdict == verdict } }
}

/// Tries to break out of a daemon's sandboxes, probe after probe.
public struct SecuritySuite: Sendable {
    public static let probes: [Probe] = Catalog.all

    let client: HatcheryClient
    let programs: ProbePrograms
    let socketPath: String
    let without: LayerSet

    /// - Parameters:
    ///   - socketPath: of the daemon that `client` talks to: sandboxes look for it.
    ///   - without: layers to leave out, which only a daemon that was built for tests does.
    public init(_ client: HatcheryClient, _ programs: ProbePrograms, socketPath: String, without: LayerSet) {
        self.client = client
        self.programs = programs
        self.socketPath = socketPath
        self.without = without
    }

    /// Runs probes, one after the other.
    /// - Parameter tell: called with every result as it comes.
    public func run(
        _ probes: [Probe], zygotes: [ZygoteKind], tell: (ProbeResult) -> Void = { _ in }
    ) async throws(HatcheryError) -> SuiteReport {
        var report = SuiteReport()
        report.without = without
        report.daemon = "\(client.welcome.version), \(client.welcome.identity)"
        for zygote in zygotes {
            let chosen = probes.filter { $0.zygotes.contains(zygote) }
            if let reason = try await whyNot(zygote) {
                report.results += chosen.map { skipped($0, zygote, reason) }
                continue
            }
            do {
                let stage = try await Stage(client, programs, zygote, without: without, socketPath: socketPath)
                report.receipts.append((zygote, stage.receipt))
                report.without.formUnion(stage.leftOut)
                for probe in chosen {
                    let result = await run(probe, stage)
                    tell(result)
                    report.results.append(result)
                }
                await stage.end()
            } catch let error as HatcheryError {
                throw error
            } catch {
                throw HatcheryError(.setupFailed, side: .client, detail: "security-test: \(error)")
            }
        }
        return report
    }

    private func skipped(_ probe: Probe, _ zygote: ZygoteKind, _ reason: String) -> ProbeResult {
        ProbeResult(probe: probe, zygote: zygote, verdict: .skipped, got: reason, seconds: 0)
    }

    /// Why nothing of a kind can be probed here.
    private func whyNot(_ zygote: ZygoteKind) async throws(HatcheryError) -> String? {
        guard try await client.zygotes().contains(where: { $0.name == zygote.rawValue }) else {
            return "the daemon has no zygote called \(zygote.rawValue)"
        }
        if zygote == .python && programs.library == nil { return "\(ProbePrograms.libraryName) is not installed" }
        return nil
    }

    private func run(_ probe: Probe, _ stage: Stage) async -> ProbeResult {
        let start = MonotonicClock.now()
        var verdict = ProbeResult.Verdict.skipped
        var got = ""
        do {
            if let reason = await missing(probe, stage) {
                got = reason
            } else {
                switch try await act(probe, stage) {
                case .skipped(let reason): got = reason
                case .saw(let answer):
                    got = answer
                    verdict = probe.holds(answer) ? .passed : .failed
                }
            }
            try await stage.mend()
        } catch {
            got = "could not be tried: \(error)"
            verdict = .failed
        }
        return ProbeResult(
            probe: probe, zygote: stage.kind, verdict: verdict, got: got,
            seconds: Double(MonotonicClock.now() - start) / 1e9)
    }

    private func act(_ probe: Probe, _ stage: Stage) async throws -> Observation {
        switch probe.action {
        case .attempt(let attempt): .saw(await stage.a.ask("do " + stage.filled(attempt)))
        case .inAgent(let attempt): .saw(await stage.a.ask("here " + stage.filled(attempt)))
        case .scenario(let scenario): try await scenario(stage)
        }
    }

    /// Why a probe cannot be judged here; nil where it can.
    private func missing(_ probe: Probe, _ stage: Stage) async -> String? {
        for need in probe.needs {
            switch need {
            case .kernel(let name):
                if await stage.outside.ask("do kernel-has \(name)") != "ok" {
                    return "\(name) is not in this kernel, or refused outside as well"
                }
            case .outside(let attempt, let wanted):
                let answer = await stage.outside.ask("do " + stage.filled(attempt))
                if !answer.hasPrefix(wanted) { return "outside of the sandbox the same attempt gives: \(answer)" }
            case .layer(let layer):
                if !stage.receipt.active.contains(layer) && !stage.leftOut.contains(layer) {
                    let why = stage.receipt.missing.first { $0.layer == layer }?.why ?? "unknown"
                    return "the layer \(layer.name) is missing: \(why)"
                }
            case .distinctIDs:
                if !stage.receipt.active.contains(.distinctUID) && !stage.leftOut.contains(.distinctUID) {
                    return "sandboxes share one uid here (distinct_uid is missing)"
                }
            case .root:
                if !stage.isRoot { return "the host's part of it takes root" }
            case .foreignEntries:
                #if !arch(x86_64)
                    return "this architecture has no such entry"
                #endif
            }
        }
        return nil
    }
}
