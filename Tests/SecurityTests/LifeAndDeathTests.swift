import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Rows A18, A20 and A21, and how a program's own end is told.
@Suite(.serialized) struct LifeAndDeathTests {
    @Test(arguments: Probe.Zygote.allCases)
    func theProgramsOwnEndIsToldAsItWas(_ zygote: Probe.Zygote) async throws {
        let client = try await Beds.root().client()
        let exit = try await client.run(Probe.payload(zygote, code: "import os; os._exit(7)"))
        #expect(exit.verdict == .exited && exit.exitCode == 7 && exit.signal == nil)
        for (code, number, name) in [
            ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", Int32(15), "SIGTERM"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 9, "SIGKILL"),
            ("import os; os.abort()", 6, "SIGABRT"),
            ("import ctypes; ctypes.string_at(0)", 11, "SIGSEGV"),
        ] {
            let result = try await client.run(Probe.payload(zygote, code: code))
            #expect(result.verdict == .signaled, "\(name)")
            #expect(result.signal == number)
            #expect(result.signalName == name)
            #expect(result.exitCode == nil)
        }
    }

    @Test func nothingOfTheTreeSurvivesWhateverItDid() async throws {
        let client = try await Beds.root().client()
        for zygote in Probe.Zygote.allCases {
            let mark = "left-\(UInt32.random(in: 0...UInt32.max))"
            let code = """
                import os, signal, sys, time
                open("/proc/self/comm", "w").write("\(mark)")
                for sig in range(1, 65):
                    try: signal.signal(sig, signal.SIG_IGN)
                    except (OSError, ValueError): pass
                for _ in range(3):
                    if os.fork() == 0:
                        os.setsid()
                        if os.fork() == 0: time.sleep(1000)
                        os._exit(0)
                print("left", flush=True)
                sys.stdin.read()
                """
            let child = try await client.spawn(Probe.payload(zygote, code: code), stdinPipe: true)
            try await Wait.until("the counter sees the tree") { ProcessList.named(mark) >= 4 }
            child.closeStdin()
            #expect(try await child.wait().exitCode == 0)
            #expect(ProcessList.named(mark) == 0)
        }
    }

    @Test func aTimeLimitKeepsWhatWasPrinted() async throws {
        let client = try await Beds.root().client()
        var options = RunOptions(time: .milliseconds(700))
        let result = try await client.run(.python(code: "print('so far')\nwhile True: pass"), options)
        #expect(result.verdict == .timedOut)
        #expect(result.stdout == "so far\n")
        #expect(result.evidence.limit == "wall")
        options.time = .seconds(10_000)
        let error = await #expect(throws: HatcheryError.self) { try await client.spawn(.program("/bin/true"), options.sandbox) }
        #expect(error?.kind == .invalidRequest, "above the profile's maximum")
    }

    @Test func aCPULimitIsToldApartFromATimeLimit() async throws {
        var options = RunOptions(time: .seconds(15))
        options.cpuTime = .seconds(1)
        let result = try await Beds.root().client().run(.program("/bin/sh", ["-c", "while :; do :; done"]), options)
        #expect(result.verdict == .cpuLimit)
        #expect(result.usage.cpuSeconds >= 0.5)
        // A program that sends itself the signal has not reached a limit.
        let pretended = try await Beds.root().client().run(.program("/bin/sh", ["-c", "kill -XCPU $$"]))
        #expect(pretended.verdict == .signaled && pretended.signalName == "SIGXCPU")
    }

    @Test func aForkBombStopsAtItsOwnLimit() async throws {
        let code = """
            import os
            count = 0
            try:
                while True:
                    if os.fork() == 0:
                        import time; time.sleep(60); os._exit(0)
                    count += 1
            except BlockingIOError: print("refused", count < 64)
            """
        let client = try await Beds.root().client()
        async let bomb = client.run(.python(code: code))
        // Limits are each sandbox's own: others go on.
        let other = try await client.run(.python(code: "import os\nif os.fork() == 0: os._exit(0)\nos.wait(); print('ok')"))
        #expect(try await bomb.stdout == "refused True\n")
        #expect(other.stdout == "ok\n")
    }

    @Test func aClosedConnectionEndsWhatItOwns() async throws {
        let daemon = try Beds.root()
        let client = try await daemon.client()
        let child = try await client.spawn(.program("/bin/sleep", ["300"]))
        let pid = child.pid
        #expect(kill(pid, 0) == 0)
        client.close()
        try await Wait.until("the child is gone") { kill(pid, 0) != 0 }
        await #expect(throws: HatcheryError.self) { try await child.wait() }
    }

    @Test func theDaemonsDeathEndsEverything() async throws {
        let daemon = try TestDaemon(Beds.configuration)
        defer { daemon.stop() }
        let client = try await daemon.client()
        let child = try await client.spawn(.program("/bin/sleep", ["300"]))
        let pids = [child.pid] + (try await client.zygotes().map(\.pid))
        kill(daemon.pid, SIGKILL)
        try await Wait.until("children and zygotes are gone") { pids.allSatisfy { kill($0, 0) != 0 } }
        let error = await #expect(throws: HatcheryError.self) { try await child.wait() }
        #expect(error?.kind == .lost)
    }

    @Test func aZygotesDeathLeavesItsChildrenAndIsMended() async throws {
        let daemon = try TestDaemon(Beds.configuration)
        defer { daemon.stop() }
        let client = try await daemon.client()
        let child = try await client.spawn(.python(code: "import time; time.sleep(1); print('lived on')"))
        let zygote = try #require(try await client.zygotes().first { $0.name == "python" })
        kill(zygote.pid, SIGKILL)
        // A request meanwhile waits, or fails with a typed error.
        do {
            let meanwhile = try await client.run(.python(code: "print('served')"))
            #expect(meanwhile.stdout == "served\n")
        } catch {
            #expect((error as HatcheryError).kind != .malformed)
        }
        #expect(try await child.wait().exitCode == 0)
        try await Wait.until("the zygote is back") {
            let now = try await client.zygotes().first { $0.name == "python" }
            return now?.state == .ready && now?.pid != zygote.pid
        }
        #expect(try await client.run(.python(code: "print(1)")).stdout == "1\n")
    }

    /// Row A20: each step made to fail names itself and its errno, and is never an exit code.
    @Test(arguments: Step.allCases.filter { ![.ready, .requiredLayers].contains($0) })
    func aFailingStepNamesItself(_ step: Step) async throws {
        let client = try await Beds.root().client()
        var options = SandboxOptions()
        options.failAt = step
        if step == .loopback { options.network = .loopback }
        if step == .terminal { options.terminal = TerminalSize() }
        let error = await #expect(throws: HatcheryError.self) { try await client.spawn(.python(code: "print(1)"), options) }
        #expect(error?.step == step)
        #expect(error?.errno != 0)
        #expect(error?.side == step.side)
        let text = error?.description ?? ""
        #expect(text.hasPrefix("\(step.side.name): \(step.name): "), "\(text)")
    }

    /// Row A18, with the counter shown to see a leak first.
    @Test func twoHundredAtOnceAnswerAndNothingIsLeft() async throws {
        let daemon = try TestDaemon(
            """
            zygotes:
              - {name: exec, kind: exec, nursery: {min: 0, max: 0}}
              - {name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0}}
            """)
        defer { daemon.stop() }
        let client = try await daemon.client()
        _ = try await client.run(.python(code: "1"))
        // At rest: the run's end is told a moment before the front lets go of its last descriptor.
        var before = Leftovers.count(daemon: daemon.pid)
        for _ in 0..<50 {
            try await Task.sleep(for: .milliseconds(100))
            let now = Leftovers.count(daemon: daemon.pid)
            if now == before { break }
            before = now
        }
        let held = try await client.spawn(.program("/bin/sleep", ["100"]))
        let during = Leftovers.count(daemon: daemon.pid)
        #expect(during.processes > before.processes && during.descriptors > before.descriptors, "the counter sees a leak")
        try await held.kill()
        _ = try await held.wait()

        let code = "import sys; sys.stdin.readline(); print(sys.argv[1])"
        var options = SandboxOptions()
        options.time = .seconds(120)
        var children: [Child] = []
        for number in 0..<200 {
            let payload = Probe.payload(number % 2 == 0 ? .python : .exec, code: code, ["\(number)"])
            children.append(try await client.spawn(payload, options, stdinPipe: true))
        }
        #expect(try await client.sandboxes().count == 200)
        for child in children {
            _ = child.withStdin { write($0, "go\n", 3) }
            child.closeStdin()
        }
        for (number, child) in children.enumerated() {
            #expect(try await child.wait().exitCode == 0)
            var buffer = [UInt8](repeating: 0, count: 64)
            let count = read(child.stdout.raw, &buffer, buffer.count)
            #expect(String(decoding: buffer[..<max(0, count)], as: UTF8.self) == "\(number)\n")
        }
        children = []
        try await Wait.until("everything is gone") {
            let after = Leftovers.count(daemon: daemon.pid)
            return after.processes <= before.processes && after.descriptors <= before.descriptors
                && after.mounts == before.mounts && after.files == before.files && after.zombies == 0
        }
    }
}

/// What a spawn could leave behind on this machine.
struct Leftovers: Equatable {
    var processes = 0
    var zombies = 0
    var descriptors = 0
    var mounts = 0
    var files = 0

    static func count(daemon: pid_t) -> Leftovers {
        let files = FileManager.default
        var result = Leftovers()
        result.descriptors = (try? files.contentsOfDirectory(atPath: "/proc/\(daemon)/fd").count) ?? 0
        result.mounts = (try? String(contentsOfFile: "/proc/\(daemon)/mountinfo", encoding: .utf8))?.split(separator: "\n").count ?? 0
        result.files = (try? files.contentsOfDirectory(atPath: "/dev/shm").count) ?? 0
        for pid in (try? files.contentsOfDirectory(atPath: "/proc")) ?? [] where Int(pid) != nil {
            guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let end = stat.lastIndex(of: ")")
            else { continue }
            let fields = stat[stat.index(end, offsetBy: 2)...].split(separator: " ")
            guard fields.count > 1, fields[1] == "\(daemon)" else { continue }
            result.processes += 1
            if fields[0] == "Z" { result.zombies += 1 }
        }
        return result
    }
}

enum ProcessList {
    /// Command lines of all processes of this machine.
    static func commandLines() -> [String] {
        pids().compactMap {
            (try? Data(contentsOf: URL(fileURLWithPath: "/proc/\($0)/cmdline"))).map {
                String(decoding: $0, as: UTF8.self).replacingOccurrences(of: "\0", with: " ")
            }
        }
    }

    /// How many processes of this machine carry the name (`/proc/PID/comm`), which forks inherit.
    static func named(_ name: String) -> Int {
        pids().count { (try? String(contentsOfFile: "/proc/\($0)/comm", encoding: .utf8)) == name + "\n" }
    }

    private static func pids() -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).filter { Int($0) != nil }
    }
}

enum Wait {
    /// Waits for a condition; only its coming true is asserted, never how long it took.
    static func until(_ what: String, _ condition: () async throws -> Bool) async throws {
        for _ in 0..<1000 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("never happened: \(what)")
    }
}
