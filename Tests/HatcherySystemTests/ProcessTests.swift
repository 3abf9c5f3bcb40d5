import CHatchery
import Glibc
import HatcherySystem
import Testing

@Suite struct SignalTests {
    @Test(arguments: 1...31 as ClosedRange<Int32>)
    func namesAndNumbersRoundTrip(number: Int32) {
        let name = Signals.name(number)
        #expect(name.hasPrefix("SIG"))
        #expect(Signals.number(name) == number)
        #expect(Signals.number(String(name.dropFirst(3))) == number)
        #expect(Signals.number(name.lowercased()) == number)
        #expect(Signals.number("\(number)") == number)
    }

    @Test func namesAreThoseOfKill() {
        #expect(Signals.name(SIGTERM) == "SIGTERM")
        #expect(Signals.name(SIGKILL) == "SIGKILL")
        #expect(Signals.name(hatchery_sigrtmin()) == "SIGRTMIN")
        #expect(Signals.name(hatchery_sigrtmin() + 3) == "SIGRTMIN+3")
        #expect(Signals.name(99) == "SIG99")
    }

    @Test(arguments: ["", "0", "65", "-9", "SIG", "SIGNONE", "KILLALL", "9x", "SIGSIGKILL"])
    func whatIsNoSignalIsRefused(text: String) {
        #expect(Signals.number(text) == nil)
    }
}

@Suite struct ProcessTests {
    /// A child that waits for its end: it holds no lock and calls nothing but pause(2).
    private func sleeper() throws -> Int32 {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var pid: pid_t = 0
        let arguments: [UnsafeMutablePointer<CChar>?] = ["sleep", "60"].map { (word: String) in strdup(word) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let error = posix_spawn(&pid, "/bin/sleep", nil, &attributes, arguments, [nil])
        guard error == 0 else { throw SystemError("posix_spawn", errno: error) }
        return pid
    }

    @Test func aPidfdGivesTheNamespacesOfItsProcess() throws {
        let own = try Processes.open(pid: getpid())
        for (namespace, name) in [(Processes.Namespace.mount, "mnt"), (.network, "net")] {
            guard let held = Processes.namespace(namespace, of: own.raw) else {
                print("skipped: this kernel gives no namespace of a pidfd (before Linux 6.11)")
                return
            }
            var status = stat()
            try #require(stat("/proc/self/ns/\(name)", &status) == 0)
            #expect(try Files.status(held.raw).st_ino == status.st_ino)
        }
        let ofNoProcess = Processes.namespace(.mount, of: STDIN_FILENO) != nil
        #expect(!ofNoProcess)
    }

    @Test func aPidfdTellsItsPid() throws {
        let own = try Processes.open(pid: getpid())
        #expect(try Processes.pid(of: own.raw) == getpid())
        let pid = try sleeper()
        let child = try Processes.open(pid: pid)
        #expect(try Processes.pid(of: child.raw) == pid)

        try Processes.signal(child.raw, SIGKILL)
        let ended = try #require(try Processes.reap(pid: pid, wait: true))
        #expect(ended.pid == pid)
        #expect(ExitStatus(waitStatus: ended.status) == .signaled(signal: SIGKILL))
        // Reaped: the number may be another's by now, and the descriptor no longer says it.
        #expect(try Processes.pid(of: child.raw) == nil)
        try Processes.signal(child.raw, SIGKILL)
    }

    @Test func whatIsNoPidfdHasNoPid() throws {
        let pipe = try Pipe()
        #expect(try Processes.pid(of: pipe.readEnd.raw) == nil)
        #expect(throws: SystemError.self) { try Processes.pid(of: -1) }
    }

    @Test func aLivingChildIsNotReaped() throws {
        let pid = try sleeper()
        let child = try Processes.open(pid: pid)
        #expect(try Processes.reap(pid: pid) == nil)
        // Not SIGTERM: a test beside this one may have it blocked, and a child inherits that.
        try Processes.signal(child.raw, SIGKILL)
        #expect(try #require(try Processes.reap(pid: pid, wait: true)).status == SIGKILL)
        #expect(throws: SystemError("wait4", errno: ECHILD, subject: "\(pid)")) { _ = try Processes.reap(pid: pid) }
    }

    @Test func statusWordsAreReadAsWaitWritesThem() {
        #expect(ExitStatus(waitStatus: 3 << 8) == .exited(code: 3))
        #expect(ExitStatus(waitStatus: 0) == .exited(code: 0))
        #expect(ExitStatus(waitStatus: 11 | 0x80) == .signaled(signal: 11))
    }
}
