import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Limits that the kernel keeps for the whole sandbox. A hybrid host has the controllers elsewhere; the virtual machine of
/// Tests/beds has them all.
@Suite(
    .enabled(if: Beds.available(CgroupBed.isComplete, "the cgroup v2 hierarchy lacks the controllers memory, pids or cpu")))
struct CgroupLimitsTests {
    private static let limit: UInt64 = 64 << 20

    private func run(_ code: String, _ change: (inout RunOptions) -> Void) async throws -> RunResult {
        var options = RunOptions(time: Beds.time(.seconds(20)))
        change(&options)
        return try await Beds.root().client().run(.program(Beds.python, ["-I", "-c", code]), options)
    }

    @Test func memoryBitesWithinFivePercent() async throws {
        let code = """
            held = []
            while True:
                held.append(b'x' * (1 << 20))
                print(len(held), flush=True)
            """
        let result = try await run(code) { $0.memory = Self.limit }
        #expect(result.verdict == .memoryLimit)
        #expect(result.evidence.limit == "memory")
        let observed = Double(result.evidence.observed ?? "") ?? 0
        #expect(abs(observed / Double(Self.limit) - 1) <= 0.05, "\(observed)")
        // The program had what it was promised: all but the interpreter and what the kernel needs for it.
        let held = result.stdout.split(separator: "\n").last.flatMap { Int($0) } ?? 0
        #expect((40...64).contains(held), "\(held) MiB")
    }

    @Test func theWholeTreeGoesWhenOneOfItsProcessesTookTooMuch() async throws {
        let code = """
            import os
            if os.fork() == 0:
                held = b'x' * (200 << 20)
                os._exit(0)
            os.wait()
            print('survived', flush=True)
            """
        let result = try await run(code) { $0.memory = Self.limit }
        #expect(result.verdict == .memoryLimit)
        #expect(result.stdout == "")
    }

    @Test(arguments: ["/tmp/f", "/dev/shm/f", "/own/f"])
    func filesInMemoryCountWhereverTheyLie(_ path: String) async throws {
        let code = """
            file = open('\(path)', 'wb')
            for _ in range(150): file.write(bytes(1 << 20)); file.flush()
            print('written')
            """
        let result = try await run(code) {
            $0.memory = Self.limit
            $0.disk = 400 << 20
            $0.temporaryFileSystems = [.init(destination: "/own", size: 160 << 20)]
        }
        #expect(result.verdict == .memoryLimit)
        #expect(result.stdout == "")
    }

    @Test func memoryThatNobodyMapsCounts() async throws {
        let code = """
            import os
            file = os.memfd_create('hidden')
            for _ in range(150): os.write(file, bytes(1 << 20))
            print('written')
            """
        #expect(try await run(code) { $0.memory = Self.limit }.verdict == .memoryLimit)
    }

    @Test func thePeakIsWhatWasTaken() async throws {
        let result = try await run("held = b'x' * (100 << 20)\ndel held") { $0.memory = 400 << 20 }
        #expect(result.verdict == .exited)
        #expect(((100 << 20)..<(140 << 20)).contains(result.usage.peakMemoryBytes), "\(result.usage.peakMemoryBytes)")
    }

    @Test func processesAndThreadsAreCountedTogether() async throws {
        let code = """
            import os, threading, time
            count = 1
            try:
                for _ in range(4):
                    if os.fork() == 0:
                        time.sleep(60)
                        os._exit(0)
                    count += 1
                for _ in range(40):
                    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                    count += 1
            except (OSError, RuntimeError) as error:
                print(count, type(error).__name__, flush=True)
            time.sleep(0.5)
            os._exit(0)
            """
        let result = try await run(code) { $0.pids = 12 }
        #expect(result.stdout == "12 RuntimeError\n")
        #expect(result.usage.peakPids == 12)
    }

    @Test(arguments: [0.5, 0.1])
    func theShareOfProcessorsIsLimited(_ share: Double) async throws {
        let code = """
            import os, time
            start, own, child = time.monotonic(), time.process_time(), os.fork()
            while time.monotonic() - start < 3: pass
            if child == 0: os._exit(0)
            os.wait()
            used, of_child = time.process_time() - own, os.times()
            print((used + of_child.children_user + of_child.children_system) / (time.monotonic() - start))
            """
        let result = try await run(code) { $0.cpus = share }
        // Two processes could use two processors. The kernel gives quota out in slices of 5 ms for each processor.
        #expect((Double(result.stdout.dropLast()) ?? 9) < share * 1.3 + 0.05, "\(result.stdout)\(result.stderr)")
    }

    @Test func aParkedChildGetsTheLimitsOfItsRequest() async throws {
        let client = try await Beds.root().client()
        var options = RunOptions(time: Beds.time(.seconds(20)))
        options.memory = Self.limit
        options.pids = 5
        for _ in 0..<20 {
            let code = "import os; held = b'x' * (80 << 20); print('held')"
            let result = try await client.run(.python(code: code), options)
            #expect(result.verdict == .memoryLimit)
            if result.spawn.nurseryHit == true { return }
        }
        Issue.record("no request took a parked child")
    }

    @Test func aTinyMemoryLimitEndsNoParkedChild() async throws {
        let daemon = try TestDaemon("zygotes: [{name: exec, kind: exec, nursery: {min: 2, max: 2}}]")
        defer { daemon.stop() }
        let client = try await daemon.client()
        var options = SandboxOptions()
        options.memory = 256 << 10
        for _ in 0..<6 {
            let error = await #expect(throws: HatcheryError.self) { try await client.spawn(.program("/bin/true"), options) }
            #expect(error?.description.contains("ENOMEM") == true, "\(String(describing: error))")
            #expect(error?.hint.contains("memory limit is too small") == true)
        }
        #expect(try await client.zygotes().first?.nurseryHits == 0)
        let result = try await client.run(.program("/bin/true"))
        #expect(result.exitCode == 0)
    }
}
