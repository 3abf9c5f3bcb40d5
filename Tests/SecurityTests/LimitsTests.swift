import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Limits of the whole tree, whoever keeps them: the kernel or the watch. Only verdicts are asserted, never when they came.
@Suite struct LimitsTests {
    private static let allocate = "import time; held = bytearray(300 << 20); time.sleep(60)"

    private func runWithMemory(_ zygote: Probe.Zygote, _ code: String) async throws -> RunResult {
        var options = RunOptions(time: Beds.time(.seconds(20)))
        options.memory = 64 << 20
        return try await Beds.root().client().run(Probe.payload(zygote, code: code), options)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func memoryIsLimitedAndTheVerdictNamesIt(_ zygote: Probe.Zygote) async throws {
        let result = try await runWithMemory(zygote, "print('so far', flush=True)\n" + Self.allocate)
        #expect(result.verdict == .memoryLimit)
        #expect(result.evidence.limit == "memory")
        // The kernel stops a tree at the limit itself, the watch finds it somewhere above.
        #expect((UInt64(result.evidence.observed ?? "") ?? 0) > (64 << 20) / 100 * 95)
        #expect(result.stdout == "so far\n")
    }

    @Test(arguments: [
        // A grandchild whose parent has gone; a child of a second thread; shared memory that belongs to no heap; files.
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        \(allocate)\n    os._exit(0)\nimport time; time.sleep(60)",
        "import os, threading\ndef f():\n    if os.fork() == 0:\n        \(allocate)\n    import time; time.sleep(60)\nthreading.Thread(target=f).start()",
        "import mmap, time; m = mmap.mmap(-1, 200 << 20)\nfor i in range(0, 200 << 20, 4096): m[i] = 1\ntime.sleep(60)",
        // Page tables with nothing in them: 64 GiB of which every 512th page is read.
        """
        import ctypes, mmap, time
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        place = libc.mmap(None, ctypes.c_size_t(64 << 30), 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, ctypes.c_long(0))
        libc.madvise(ctypes.c_void_p(place), ctypes.c_size_t(64 << 30), 15)
        for at in range(0, 64 << 30, 2 << 20): ctypes.c_byte.from_address(place + at).value
        time.sleep(60)
        """,
        "import time; f = open('/tmp/big', 'wb')\nfor _ in range(200): f.write(bytes(1 << 20)); f.flush()\ntime.sleep(60)",
    ])
    func memoryOfTheWholeTreeCounts(_ code: String) async throws {
        #expect(try await runWithMemory(.exec, code).verdict == .memoryLimit)
    }

    /// What is killed together with its init is reaped by nobody: its time would be missing in the result.
    @Test(arguments: [
        "while True: pass", "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass\nimport time; time.sleep(60)",
    ])
    func cpuTimeOfWhatWasKilledIsCounted(_ code: String) async throws {
        for zygote in Probe.Zygote.allCases {
            // Not more on a slow machine: what has not begun yet uses the processor as well.
            let result = try await Beds.root().client().run(
                Probe.payload(zygote, code: code), RunOptions(time: .seconds(2)))
            #expect(result.verdict == .timedOut)
            // The machine may be busy with other tests.
            #expect(result.usage.cpuSeconds > result.usage.wallSeconds / 20, "\(zygote)")
        }
    }

    /// What it costs to look at a tree is the program's doing; others must not pay for it.
    @Test func aTreeThatIsHardToLookAtHoldsNobodyUp() async throws {
        // Forty processes that share what would be too much if it counted in each, in hundreds of mappings.
        let code = """
            import ctypes, mmap, os, time
            held = mmap.mmap(-1, 20 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for at in range(0, 20 << 20, 4096): held[at] = 1
            libc = ctypes.CDLL(None)
            libc.mmap.restype = ctypes.c_void_p
            place = libc.mmap(None, ctypes.c_size_t(900 * 8192), 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, ctypes.c_long(0))
            for at in range(0, 900 * 8192, 8192): libc.mprotect(ctypes.c_void_p(place + at), 4096, 1)
            for _ in range(40):
                if os.fork() == 0: time.sleep(60)
            print('up', flush=True)
            time.sleep(60)
            """
        let daemon = try TestDaemon("zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]")
        defer { daemon.stop() }
        var options = SessionOptions()
        options.sandbox.memory = 256 << 20
        let client = try await daemon.client()
        let isCounted = try await client.run(.program("/bin/true")).receipt.active.contains(.cgroup)
        guard !isCounted else {
            print("skipped: the kernel counts memory here, so nothing is looked at")
            return
        }
        let session = try await client.session(.program(Beds.python, ["-c", code]), options)
        #expect(try await session.readLine(timeout: Beds.time(.seconds(20))).text == "up")
        let before = try ThreadTime(daemon)
        try await Wait.until("it has been looked at") { try ThreadTime(daemon).all > before.all + 100 }
        let after = try ThreadTime(daemon)
        // Who looks is not the loop, which serves everybody.
        #expect(after.loop - before.loop < (after.all - before.all) / 4)
        try? await session.kill()
    }

    /// CPU time that a daemon has used, in clock ticks.
    private struct ThreadTime {
        var loop: Int
        var all: Int

        init(_ daemon: TestDaemon) throws {
            func ticks(_ path: String) throws -> Int {
                let text = try String(contentsOfFile: path, encoding: .utf8)
                let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
                return (Int(fields[11]) ?? 0) + (Int(fields[12]) ?? 0)
            }
            loop = try ticks("/proc/\(daemon.pid)/task/\(daemon.pid)/stat")
            all = try ticks("/proc/\(daemon.pid)/stat")
        }
    }

    @Test func readingWhatWasPreloadedCostsNothing() async throws {
        let daemon = try TestDaemon(
            """
            zygotes:
              - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0},
                 warmup: "import builtins; builtins.ballast = b'x' * (200 << 20)"}
            """)
        defer { daemon.stop() }
        var options = RunOptions(time: Beds.time(.seconds(20)))
        options.memory = 64 << 20
        let code = "import time; print(ballast.count(b'x')); time.sleep(0.5); print('done')"
        let result = try await daemon.client().run(.python(code: code), options)
        #expect(result.stdout == "\(200 << 20)\ndone\n")
        #expect(result.verdict == .exited)
    }

    @Test func diskIsOneBudgetForEverythingWritable() async throws {
        var options = RunOptions()
        options.disk = 8 << 20
        options.temporaryFileSystems = [.init(destination: "/extra")]
        let script = "for d in /tmp /dev/shm /home/sandbox /extra; do head -c 3M /dev/zero > $d/f || echo full $d; done"
        let result = try await Beds.root().client().run(.program("/bin/sh", ["-c", script]), options)
        #expect(result.stdout == "full /home/sandbox\nfull /extra\n", "\(result.stderr)")
    }

    @Test func inodesAreLimitedToo() async throws {
        var options = RunOptions()
        options.disk = 1 << 20
        let code = """
            import errno
            try:
                for i in range(100_000): open(f"/tmp/{i}", "w").close()
            except OSError as error: print(errno.errorcode[error.errno], i < 2000)
            """
        #expect(try await Beds.root().client().run(.python(code: code), options).stdout == "ENOSPC True\n")
    }

    @Test func cpuTimeOfTheTreeIsLimited() async throws {
        var options = RunOptions(time: Beds.time(.seconds(19)))
        options.cpuTime = .seconds(1)
        // Four processes of which none reaches the limit alone.
        let code = """
            import os
            for _ in range(3):
                if os.fork() == 0: break
            while True: pass
            """
        let result = try await Beds.root().client().run(.python(code: code), options)
        #expect(result.verdict == .cpuLimit)
        #expect(result.evidence.limit == "cpu")
    }
}
