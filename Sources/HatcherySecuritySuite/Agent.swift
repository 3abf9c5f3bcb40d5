import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// Something that tries what it is told, a line at a time (`HatcheryProbes.h`).
protocol Agent: Sendable {
    /// - Returns: the answer; `no answer: …` where there is none.
    func ask(_ line: String) async -> String
}

/// The agent in a sandbox.
struct SandboxAgent: Agent {
    static let patience = Duration.seconds(30)

    let session: Session

    func ask(_ line: String) async -> String {
        do {
            guard try await session.writeLine(line, timeout: SandboxAgent.patience).isComplete else {
                return "no answer: it does not read"
            }
            switch try await session.readLine(timeout: SandboxAgent.patience) {
            case .line(let line): return line.text
            case .timedOut: return "no answer: time out"
            case .endOfFile: return "no answer: it is gone"
            }
        } catch {
            return "no answer: \(error)"
        }
    }

    func end() async -> Ended? { try? await session.close(grace: .zero) }
}

/// The same program outside of every sandbox: a process for sandboxes to look for, the owner of things that they must not
/// find, and the proof that an attempt works where nothing stops it.
final class OutsideAgent: Agent, @unchecked Sendable {
    // Used by one task at a time.
    let pid: pid_t
    private let input: Descriptor
    private let output: Descriptor
    private var received: [UInt8] = []

    init(program: String) throws(SystemError) {
        var toAgent: [Int32] = [-1, -1]
        var fromAgent: [Int32] = [-1, -1]
        try check(hatchery_pipe(&toAgent), "pipe2")
        input = Descriptor(owning: toAgent[1])
        let agentInput = Descriptor(owning: toAgent[0])
        try check(hatchery_pipe(&fromAgent), "pipe2")
        output = Descriptor(owning: fromAgent[0])
        let agentOutput = Descriptor(owning: fromAgent[1])
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, agentInput.raw, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, agentOutput.raw, STDOUT_FILENO)
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(program), nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, program, &actions, nil, &arguments, environ)
        if result != 0 { throw SystemError("posix_spawn", errno: result, subject: program) }
        self.pid = pid
    }

    deinit {
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    func ask(_ line: String) async -> String {
        guard (try? writeAll(input.raw, Array((line + "\n").utf8))) != nil else { return "no answer: it is gone" }
        while true {
            if let newline = received.firstIndex(of: 0x0A) {
                defer { received.removeFirst(newline + 1) }
                return String(decoding: received[..<newline], as: UTF8.self)
            }
            var state = pollfd(fd: output.raw, events: Int16(POLLIN), revents: 0)
            guard poll(&state, 1, 30_000) > 0 else { return "no answer: time out" }
            var chunk = [UInt8](repeating: 0, count: 16_384)
            let count = read(output.raw, &chunk, chunk.count)
            if count <= 0 { return "no answer: it is gone" }
            received += chunk[..<count]
        }
    }

    /// Neither ended nor stopped.
    var isAlive: Bool { waitpid(pid, nil, WNOHANG) == 0 }
}
