import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization
import Testing

@testable import Hatchery

@Suite(.timeLimit(.minutes(1)))
struct RunTests {
    /// A front whose sandboxes do what `body` says and then end.
    private func front(
        withStdin: Bool = false, _ body: @escaping @Sendable (FakeSandbox, FakeFront.Peer, UInt32) -> Void
    ) throws -> FakeFront {
        try FakeFront { peer, received in
            guard received.frame.kind == .spawn else { return }
            let sandbox = FakeSandbox(peer, received.frame.request, withStdin: withStdin)
            inThread { body(sandbox, peer, received.frame.request) }
        }
    }

    private func run(
        _ options: RunOptions, withStdin: Bool = false, _ body: @escaping @Sendable (FakeSandbox) -> Void
    ) async throws -> RunResult {
        let front = try front(withStdin: withStdin) { sandbox, peer, request in
            body(sandbox)
            sandbox.end(peer, request)
        }
        return try await front.client().run(.program("x"), options)
    }

    @Test func outputStatusAndIdentityArrive() async throws {
        let result = try await run(RunOptions()) { sandbox in
            sandbox.say("out")
            sandbox.say(Array("err".utf8), to: sandbox.stderr)
        }
        #expect(result.verdict == .exited && result.exitCode == 0)
        #expect(result.stdout == "out" && result.stderr == "err")
        #expect(result.spawn.id == "s1" && result.spawn.pid == 4711 && result.spawn.generation == 4)
    }

    @Test(arguments: [(false, "0123"), (true, "6789")])
    func aCapKeepsTheFirstOrTheLastBytes(tail: Bool, expected: String) async throws {
        var options = RunOptions()
        options.outputLimit = 4
        options.keepsTail = tail
        let result = try await run(options) { $0.say("0123456789") }
        #expect(result.stdout == expected)
        #expect(result.stdoutTruncatedBytes == 6)
        #expect(result.stderrTruncatedBytes == 0)
    }

    @Test func aCapOfZeroKeepsNothingAndTheProgramIsNotBlocked() async throws {
        var options = RunOptions()
        options.outputLimit = 0
        let result = try await run(options) { $0.say([UInt8](repeating: 120, count: 3_000_000)) }
        #expect(result.stdout.isEmpty)
        #expect(result.stdoutTruncatedBytes == 3_000_000)
        #expect(result.verdict == .exited)
    }

    @Test func aTailOfALongStreamIsItsEnd() async throws {
        var options = RunOptions()
        options.outputLimit = 100_000
        options.keepsTail = true
        let result = try await run(options) { sandbox in
            for index in 0..<300_000 { sandbox.say("\(index % 10)") }
        }
        #expect(result.stdoutBytes.count == 100_000)
        #expect(result.stdout.hasSuffix("56789"))
        #expect(result.stdoutTruncatedBytes == 200_000)
    }

    @Test func aCodePointSplitAtTheCapDisappears() async throws {
        var options = RunOptions()
        options.outputLimit = 4
        var result = try await run(options) { $0.say("aéé") }
        #expect(result.stdout == "aé" && result.stdoutBase64 == nil)
        options.keepsTail = true
        options.outputLimit = 3
        result = try await run(options) { $0.say("aéé") }
        #expect(result.stdout == "é" && result.stdoutBase64 == nil)
    }

    @Test func invalidBytesAreDroppedAndKeptExactlyInBase64() async throws {
        let result = try await run(RunOptions()) { $0.say([0x61, 0xFF, 0xED, 0xA0, 0x80, 0x62]) }
        #expect(result.stdout == "ab")
        #expect(result.stdoutBase64 == "Yf/toIBi")
    }

    @Test func stdinIsWrittenToItsEnd() async throws {
        var options = RunOptions()
        options.stdin = .bytes(Array(repeating: 65, count: 1_000_000))
        let result = try await run(options, withStdin: true) { sandbox in
            let taken = (try? readAll(sandbox.stdin, limit: 2_000_000))?.count ?? 0
            sandbox.say("\(taken)")
        }
        #expect(result.stdout == "1000000")
        #expect(result.stdinWritten)
    }

    @Test func aProgramThatClosesItsStdinIsNoError() async throws {
        var options = RunOptions()
        options.stdin = .bytes(Array(repeating: 65, count: 1_000_000))
        let result = try await run(options, withStdin: true) { $0.say("no thanks") }
        #expect(result.verdict == .exited && result.stdout == "no thanks")
        #expect(!result.stdinWritten)
    }

    @Test func aStalledStdinHasItsOwnVerdictAndKeepsTheOutput() async throws {
        let sandbox = Mutex<FakeSandbox?>(nil)
        let front = try FakeFront { peer, received in
            if received.frame.kind == .spawn {
                let made = FakeSandbox(peer, received.frame.request, withStdin: true)
                made.say("before")
                sandbox.withLock { $0 = made }
            } else {
                peer.send(.done, received.frame.request)
                sandbox.withLock { $0 }?.end(peer, 2, .cancelled, code: nil, signal: SIGKILL)
            }
        }
        var options = RunOptions()
        options.stdin = .bytes(Array(repeating: 65, count: 1_000_000))
        options.stdinTime = .milliseconds(20)
        let result = try await front.client().run(.program("x"), options)
        #expect(result.verdict == .stdinStalled)
        #expect(result.stdout == "before" && !result.stdinWritten)
        #expect(result.signalName == "SIGKILL")
    }

    @Test func aDaemonLostDuringTheRunIsAVerdictWithTheOutputSoFar() async throws {
        let front = try front { sandbox, peer, _ in
            sandbox.say("so far")
            peer.hangUp()
            for raw in [sandbox.stdout, sandbox.stderr] { close(raw) }
        }
        let result = try await front.client().run(.program("x"))
        #expect(result.verdict == .lost && result.stdout == "so far")
    }

    @Test func aPipeHeldFromOutsideDoesNotKeepARunOpen() async throws {
        // Held until the run has returned: if the run waited for it, neither would ever end.
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let release = ends
        let front = try front { sandbox, peer, request in
            let copy = dup(sandbox.stdout)
            sandbox.say("x")
            sandbox.end(peer, request)
            var byte: UInt8 = 0
            _ = read(release[0], &byte, 1)
            close(copy)
        }
        let result = try await front.client().run(.program("x"))
        #expect(result.stdout == "x")
        close(release[1])
    }

    @Test func theBlockingFormGivesTheSameResult() throws {
        let front = try front { sandbox, peer, request in
            sandbox.say("x")
            sandbox.end(peer, request, .signaled, code: nil, signal: SIGSEGV)
        }
        let answer = Mutex<RunResult?>(nil)
        let client = Mutex<HatcheryClient?>(nil)
        let done = Mutex(false)
        Task {
            let made = try? await front.client()
            client.withLock { $0 = made }
            done.withLock { $0 = true }
        }
        while !done.withLock({ $0 }) { usleep(1000) }
        let connected = try #require(client.withLock { $0 })
        answer.withLock { $0 = try? connected.runBlocking(.program("x")) }
        #expect(answer.withLock { $0?.signalName } == "SIGSEGV")
    }
}

extension RunTests {
    private static func openPipes() -> Int {
        (0..<4096).filter { raw in
            var status = stat()
            return fstat(Int32(raw), &status) == 0 && status.st_mode & S_IFMT == S_IFIFO
        }.count
    }

    @Test func aHundredRunsLeaveNoPipeOpen() async throws {
        let front = try front(withStdin: true) { sandbox, peer, request in
            sandbox.say("x")
            sandbox.end(peer, request)
        }
        let client = try await front.client()
        var options = RunOptions()
        options.stdin = .bytes([1])
        let before = RunTests.openPipes()
        // First that the counter sees a leak: other tests of this process come and go, so one of fifty pipes.
        var leaked: [Int32] = []
        for _ in 0..<50 {
            var ends: [Int32] = [0, 0]
            pipe(&ends)
            leaked += ends
        }
        #expect(RunTests.openPipes() > before + 50)
        for raw in leaked { close(raw) }
        for _ in 0..<100 { #expect(try await client.run(.program("x"), options).stdout == "x") }
        // A leak would be a hundred or more.
        #expect(RunTests.openPipes() < before + 50)
    }

    @Test func theExampleOfTheReadmeCompilesAndRuns() async throws {
        let front = try front { sandbox, peer, request in
            sandbox.say("42\n")
            sandbox.end(peer, request)
        }
        let socket = front.path
        // The example:
        let client = try await HatcheryClient.connect(socketPath: socket)
        var options = RunOptions(time: .seconds(2))
        options.memory = 256 << 20
        let result = try await client.run(.python(code: "print(6 * 7)"), options)
        #expect(result.stdout == "42\n")
        #expect(result.verdict.name == "exited")
    }

    @Test func aMissingProgramIsNamedInTheError() async throws {
        let front = try FakeFront { peer, received in
            peer.fail(received.frame.request, HatcheryError(.programNotFound, side: .child, step: .main, errno: ENOENT))
        }
        let client = try await front.client()
        await #expect { _ = try await client.run(.program("nonesuch")) } throws: {
            ($0 as? HatcheryError)?.description
                == "child: start the program: nonesuch: ENOENT (No such file or directory)"
        }
    }

    @Test func filesComeOutWholeSparseAndNeverThroughALink() async throws {
        let place = "/tmp/hatchery-out-\(UInt32.random(in: 0 ... .max))"
        mkdir(place, 0o700)
        defer {
            for name in ["/big", "/victim", "/link", "/source"] { unlink(place + name) }
            rmdir(place)
        }
        symlink(place + "/victim", place + "/link")
        let front = try front { sandbox, peer, request in
            for raw in [sandbox.stdout, sandbox.stderr, sandbox.stdin] { close(raw) }
            let source = open(place + "/source", O_RDWR | O_CREAT, 0o600)
            ftruncate(source, 64 << 20)
            pwrite(source, "end", 3, 40 << 20)
            var ended = Ended(id: "s1", verdict: .exited)
            ended.filesOut = [.init(path: "/tmp/gone", errno: ENOENT), .init(path: "/tmp/big")]
            peer.send(.ended, request, ended.encoded(), [source])
            close(source)
        }
        var options = RunOptions()
        options.filesOut = [
            .init("/tmp/gone", to: place + "/gone"), .init("/tmp/big", to: place + "/link"),
            .init("/tmp/big", to: place + "/big", limit: 1000),
        ]
        let files = try await front.client().run(.program("x"), options).files
        #expect(files.map(\.bytes) == [0, 64 << 20, 0])
        #expect(files[0].error?.hasPrefix("ENOENT (No such file or directory)") == true)
        #expect(files[1].error == nil)
        #expect(files[2].error?.contains("EFBIG") == true)
        var status = stat()
        #expect(lstat(place + "/link", &status) == 0)
        #expect(status.st_mode & S_IFMT == S_IFREG && status.st_mode & 0o777 == 0o644)
        #expect(status.st_blocks * 512 < 1 << 20)
        #expect(access(place + "/victim", F_OK) != 0)
    }
}
