import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// What the seccomp policy refuses is counted, named in the result, and ends the run where the profile says so.
@Suite struct ViolationTests {
    /// The default policy, and the same one with on_violation: kill; python and exec with a nursery of either.
    private static let daemon = Result {
        try TestDaemon(
            """
            zygotes:
              - {name: exec, kind: exec, nursery: {min: 1, max: 4}}
              - {name: python, kind: python, interpreter: \(Beds.python), preload: [ctypes], nursery: {min: 1, max: 4}}
              - {name: strict, kind: python, interpreter: \(Beds.python), preload: [ctypes], profile: strict, nursery: {min: 1, max: 4}}
              - name: rehearsed
                kind: python
                interpreter: \(Beds.python)
                preload: [ctypes]
                rehearsal: "import ctypes; ctypes.CDLL(None).swapoff(b'x'); ctypes.CDLL(None).swapoff(b'x')"
                nursery: {min: 1, max: 1}
            profiles:
              default: {}
              strict: {on_violation: kill}
            """)
    }

    private static func refusing(_ calls: String) -> String { "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n" + calls }

    private typealias Violation = RunResult.Evidence.Violation

    @Test(arguments: Probe.Zygote.allCases)
    func refusedCallsAreNamedAndCounted(_ zygote: Probe.Zygote) async throws {
        let code = Self.refusing(
            """
            for i in range(3): print(c.mount(0, 0, 0, 0, 0), ctypes.get_errno())
            c.unshare(0x10000000)
            for i in range(1000): c.swapoff(b"x")
            """)
        let result = try await Self.daemon.get().client().run(Probe.payload(zygote, code: code))
        #expect(result.verdict == .exited)
        // The program sees what it saw without the counting: EPERM.
        #expect(result.stdout == String(repeating: "-1 1\n", count: 3))
        #expect(
            result.evidence.violations == [
                Violation(syscall: "mount", count: 3), Violation(syscall: "swapoff", count: 1000),
                Violation(syscall: "unshare", count: 1),
            ])
    }

    @Test(.enabled(if: Beds.available(Beds.isRoot, "needs another user")))
    func aDaemonWithoutRightsCountsThem() throws {
        let result = try UserClient.run(Beds.user(), [], ["/usr/bin/unshare", "--user", "/bin/true"])
        #expect(result["exit_code"] as? Int == 1)
        let violations = result.section("evidence")["violations"] as? [[String: Any]]
        #expect(violations?.map { "\($0.text("syscall")) \($0.text("count"))" } == ["unshare 1"])
    }

    /// What well-behaved programs ask for and do without is no violation: clone3, netlink, unknown numbers.
    @Test(arguments: Probe.Zygote.allCases)
    func whatProgramsProbeForIsNoViolation(_ zygote: Probe.Zygote) async throws {
        let code = Self.refusing(
            """
            import socket, subprocess
            subprocess.run(["/bin/true"])
            try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
            except OSError: pass
            c.syscall(435, 0, 0); c.syscall(599, 0, 0)
            """)
        let result = try await Self.daemon.get().client().run(Probe.payload(zygote, code: code))
        #expect(result.exitCode == 0)
        #expect(result.evidence.violations == [])
    }

    /// A daughter's daughter in a session of its own is under the same filter and asks the same init.
    @Test func everyProcessOfTheSandboxIsCounted() async throws {
        let code = Self.refusing(
            """
            import os
            for i in range(4):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0: [c.swapoff(b"x") for i in range(50)]
                    else: os.wait()
                    os._exit(0)
            for i in range(4): os.wait()
            """)
        let result = try await Self.daemon.get().client().run(.python(code: code))
        #expect(result.evidence.violations == [Violation(syscall: "swapoff", count: 200)])
    }

    /// The twin of what a parked child did before the request came.
    @Test func aRehearsalsRefusalsAreNotTheProgramsOwn() async throws {
        let client = try await Self.daemon.get().client()
        for _ in 0..<4 {
            var options = RunOptions()
            options.zygote = "rehearsed"
            let result = try await client.run(.python(code: Self.refusing("c.swapoff(b'x')")), options)
            // A hit or a miss: a child whose request waits rehearses nothing.
            #expect(result.evidence.violations == [Violation(syscall: "swapoff", count: 1)])
        }
    }

    @Test(arguments: [("python", "default"), ("strict", "strict"), ("exec", "strict")])
    func aViolationEndsTheRunWhereTheProfileSaysSo(_ zygote: String, _ profile: String) async throws {
        var options = RunOptions()
        options.profile = profile
        options.zygote = zygote
        // A daughter violates: its mother does not live on either.
        let code = Self.refusing(
            """
            import os, time
            print("before", flush=True)
            if os.fork() == 0: c.reboot(0)
            else: time.sleep(1)
            print("after", flush=True)
            """)
        let payload = Probe.payload(zygote == "exec" ? .exec : .python, code: code)
        let result = try await Self.daemon.get().client().run(payload, options)
        if profile == "strict" {
            #expect(result.verdict == .syscallDenied)
            #expect(result.signal == SIGSYS)
            #expect(result.exitCode == nil)
            #expect(result.stdout == "before\n")
        } else {
            #expect(result.verdict == .exited)
        }
        #expect(result.evidence.violations == [Violation(syscall: "reboot", count: 1)])
    }

    /// SIGSYS is what an end by the filter looks like. Every way in which a program itself can send it is told from that.
    @Test(arguments: [
        "os.kill(os.getpid(), 31)", "signal.raise_signal(31)", "signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 31)",
        "c.sigqueue(os.getpid(), 31, 0)", "c.syscall(200, os.getpid(), 31)",
    ])
    func aSignalThatAProgramSendsItselfIsNoDeniedCall(_ statement: String) async throws {
        let code = Self.refusing("import os, signal\n" + statement)
        let result = try await Self.daemon.get().client().run(.python(code: code))
        #expect(result.verdict == .signaled)
        #expect(result.signal == SIGSYS)
    }

    #if arch(x86_64)
        @Test func aForeignArchitectureIsADeniedCall() async throws {
            let code = Self.refusing("c.syscall(0x40000000 | 39)")
            let result = try await Self.daemon.get().client().run(.python(code: code))
            #expect(result.verdict == .syscallDenied)
            #expect(result.signal == SIGSYS)
        }
    #endif

    /// A sandbox pays for its own flood: the front is told of each doubling only, and everybody else goes on.
    @Test func aFloodIsCountedAndHoldsUpNobody() async throws {
        let daemon = try Self.daemon.get()
        let code = Self.refusing(
            """
            import os
            for i in range(8):
                if os.fork() == 0:
                    for i in range(1000): c.swapoff(b"x")
                    os._exit(0)
            for i in range(8): os.wait()
            """)
        async let flood = daemon.client().run(.python(code: code))
        #expect(try await daemon.client().run(.program("/bin/echo", ["fine"])).stdout == "fine\n")
        #expect(try await flood.evidence.violations == [Violation(syscall: "swapoff", count: 8000)])
    }

    /// A run that is ended from outside has no totals from its init; what it told on the way stands.
    @Test func aKilledRunKeepsWhatWasTold() async throws {
        var options = RunOptions()
        options.time = .seconds(2)
        let code = Self.refusing("import time\nfor i in range(20): c.swapoff(b'x')\ntime.sleep(100)")
        let result = try await Self.daemon.get().client().run(.python(code: code), options)
        #expect(result.verdict == .timedOut)
        #expect(result.evidence.violations == [Violation(syscall: "swapoff", count: 20)])
    }

    /// Who holds the listener decides about refused calls. A program finds no way to it: not among its own descriptors, not
    /// through /proc, not by pidfd_getfd, and it gets none for a filter of its own.
    @Test(arguments: Probe.Zygote.allCases)
    func theListenerIsOutOfReach(_ zygote: Probe.Zygote) async throws {
        let code = Self.refusing(
            """
            import os
            print(sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3], os.path.exists("/proc/1/fd"))
            fd = os.pidfd_open(1)
            print([c.syscall(438, fd, n, 0) for n in range(16)] == [-1] * 16)
            class Filter(ctypes.Structure): _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
            class Program(ctypes.Structure): _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
            allow = Filter(6, 0, 0, 0x7fff0000)
            program = Program(1, ctypes.pointer(allow))
            result = c.syscall(317 if os.uname().machine == "x86_64" else 277, 1, 8, ctypes.byref(program))
            print(result, ctypes.get_errno())
            """)
        let result = try await Self.daemon.get().client().run(Probe.payload(zygote, code: code))
        #expect(result.stdout == "[0, 1, 2] False\nTrue\n-1 16\n", "\(result.stderr)")
    }
}
