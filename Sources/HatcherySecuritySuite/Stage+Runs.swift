import Hatchery
import HatcheryProtocol
import HatcherySystem

/// Whole runs, as scenarios need them.
extension Stage {
    private var ownProgram: String { Stage.place + token + "-run" }

    private func options() -> RunOptions {
        var options = RunOptions()
        options.sandbox = Stage.options(without: without)
        options.filesIn = [.init(programs.program, to: ownProgram)]
        options.zygote = "exec"
        return options
    }

    /// How a changed request fares: `it ran`, or how it was refused, with the step where there was one.
    func outcome(_ change: (inout RunOptions) -> Void) async -> String {
        var options = options()
        change(&options)
        do throws(HatcheryError) {
            _ = try await client.run(.program(ownProgram), options)
            return "it ran"
        } catch {
            switch error.kind {
            case .malformed: return "malformed"
            case .invalidRequest: return "invalid request"
            case .setupFailed: return "set-up failed: \(error)"
            default: return "\(error)"
            }
        }
    }

    /// Has a sandbox of its own do something that ends it, and tells the verdict.
    func verdict(_ line: String, _ change: (inout SandboxOptions) -> Void) async throws -> String {
        let agent = try await openSandbox(change)
        _ = try await agent.session.writeLine(line, timeout: .seconds(5))
        let deadline = MonotonicClock.now() + 30_000_000_000
        // An agent that answers has not been stopped.
        switch try await agent.session.readLine(timeout: .seconds(30)) {
        case .line(let line) where MonotonicClock.now() < deadline:
            _ = await agent.end()
            return "not stopped: \(line.text)"
        case .timedOut:
            _ = await agent.end()
            return "not stopped in 30 s"
        default: return try await agent.session.wait().verdict.name
        }
    }

    /// 32 MiB on one of the streams, of which 64 KiB are kept.
    func flood(_ stream: Int) async throws -> String {
        var options = options()
        options.outputLimit = 65_536
        options.stdin = .bytes(Array("here flood \(stream) 33554432\n".utf8))
        let result = try await client.run(.program(ownProgram), options)
        let kept = stream == 1 ? result.stdoutBytes.count : result.stderrBytes.count
        let dropped = stream == 1 ? result.stdoutTruncatedBytes : result.stderrTruncatedBytes
        // The agent's own answer, `ok`, comes after the flood on the same stream.
        let total = UInt64(kept) + dropped - (stream == 1 ? 3 : 0)
        return "kept \(kept) of \(total), \(result.verdict.name)"
    }

    /// Asks for sandboxes all at once, and ends them when every request was answered.
    func manySandboxes(_ count: Int) async -> (made: Int, refused: Int) {
        await withTaskGroup(of: SandboxAgent?.self) { group in
            for _ in 0..<count { group.addTask { try? await self.openSandbox() } }
            var agents: [SandboxAgent] = []
            var refused = 0
            for await agent in group {
                if let agent { agents.append(agent) } else { refused += 1 }
            }
            for agent in agents { _ = await agent.end() }
            return (agents.count, refused)
        }
    }
}
