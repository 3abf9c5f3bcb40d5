import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// The evil programs of ACCEPTANCE section B, as Python for both kinds of zygote, and how a bounded run of each must end.
struct EvilProgram: Sendable, CustomTestStringConvertible {
    enum Input: Sendable {
        case none
        case bytes(Int)
        /// A pipe of ours that nobody writes to.
        case silent
    }

    var name: String
    var code: String
    var verdict: Verdict
    var exitCode: Int32?
    var signal: Int32?
    var input = Input.none
    /// Whether stdin has a budget of its own, shorter than the run's.
    var hasStdinTime = false
    /// What it has written by the time that it ends by itself; nil where a limit may come before.
    var output: String?

    var testDescription: String { name }

    /// Bounded options; the caller closes what comes back beside them.
    /// - Parameters:
    ///   - limit: where it must be ended.
    ///   - patience: where it ends by itself, or by another limit.
    func options(limit: Duration, patience: Duration) -> (RunOptions, descriptor: [Int32]) {
        var options = RunOptions(time: verdict == .timedOut ? limit : patience)
        options.memory = 64 << 20
        options.pids = 16
        options.outputLimit = 100_000
        if hasStdinTime { options.stdinTime = limit }
        switch input {
        case .none: return (options, [])
        case .bytes(let count):
            options.stdin = .bytes([UInt8](repeating: UInt8(ascii: "x"), count: count))
            return (options, [])
        case .silent:
            var ends: [Int32] = [-1, -1]
            pipe(&ends)
            options.stdin = .descriptor(ends[0])
            return (options, ends)
        }
    }

    static let all: [EvilProgram] = [
        .init(name: "blocks on input", code: "import sys; sys.stdin.read()", verdict: .timedOut, input: .silent),
        .init(
            name: "closes its outputs and spins", code: "import os\nfor n in (0, 1, 2): os.close(n)\nwhile True: pass",
            verdict: .timedOut),
        .init(
            name: "forks once and leaves", code: "import os, time\nif os.fork() == 0: time.sleep(1000)\nos.write(1, b'left')\nos._exit(5)",
            verdict: .exited, exitCode: 5, output: "left"),
        .init(
            name: "forks for ever",
            code: "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", verdict: .timedOut),
        .init(
            name: "never reads", code: "import time; time.sleep(1000)", verdict: .stdinStalled, input: .bytes(1 << 20),
            hasStdinTime: true),
        .init(
            name: "echoes", code: "import sys; sys.stdout.write(sys.stdin.read())", verdict: .exited, exitCode: 0,
            input: .bytes(70_000), output: String(repeating: "x", count: 70_000)),
        .init(name: "prints without end", code: "while True: print('word')", verdict: .timedOut),
        .init(
            name: "prints without a newline", code: "import sys\nwhile True: sys.stdout.write('x' * 5000)", verdict: .timedOut),
        .init(
            name: "reads one line and sleeps", code: "import sys, time; sys.stdin.readline(); time.sleep(1000)",
            verdict: .timedOut, input: .silent),
        .init(
            name: "dies after a moment", code: "import os, time; os.write(1, b'so far'); time.sleep(0.02); os.abort()",
            verdict: .signaled, signal: SIGABRT, output: "so far"),
        .init(
            name: "dies while writing", code: "import os\nfor _ in range(30): os.write(1, b'x' * 1000)\nos.kill(os.getpid(), 9)",
            verdict: .signaled, signal: SIGKILL, output: String(repeating: "x", count: 30_000)),
        .init(
            name: "ignores SIGTERM",
            code: "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nos.kill(os.getpid(), 15)\ntime.sleep(1000)",
            verdict: .timedOut),
        .init(name: "stops itself", code: "import os; os.kill(os.getpid(), 19)", verdict: .timedOut),
        .init(
            name: "leaves a grandchild in a session of its own",
            code: """
                import os, time
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0: time.sleep(1000)
                    os._exit(1)
                os.wait()
                os.write(1, b"left")
                os._exit(6)
                """,
            verdict: .exited, exitCode: 6, output: "left"),
        .init(
            name: "allocates in a grandchild",
            code: """
                import os, time
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        held = [b"x" * (1 << 20) for _ in range(200)]
                        time.sleep(1000)
                    os._exit(0)
                time.sleep(1000)
                """,
            verdict: .memoryLimit),
    ]
}
