import Glibc
import HatcheryProtocol
import HatcherySystem
import Testing

@testable import HatcheryDaemon

@Suite struct ResourceWatchTests {
    /// Whose processes cannot be looked at, because the look does not come back, has no limits; it must not go on so.
    @Test func whatCannotBeLookedAtIsEnded() throws {
        let loop = try EventLoop()
        let lookout = try Lookout(loop: loop)
        let stuck = ManualGate()
        lookout.look(for: 1, { stuck.wait() }, {})
        let limits = GrantedLimits(
            wallNanoseconds: 1, cpuNanoseconds: 1 << 60, memoryBytes: 1 << 60, processes: 1, diskBytes: 1, openFiles: 1,
            milliCPUs: 1, outputBytes: 1)
        var ended: [uid_t: Verdict] = [:]
        func watch(_ user: uid_t) -> ResourceWatch {
            ResourceWatch(
                initPID: getpid(), scratch: nil, limits: limits, cgroup: nil, user: user, loop: loop, lookout: lookout,
                blindNanoseconds: 5_000_000_000
            ) {
                ended[user] = $0
                loop.stop()
            }
        }
        // The second one belongs to another user, whom the first one's trouble does not concern.
        let watches = [watch(1), watch(2)]
        loop.after(nanoseconds: 60_000_000_000) { loop.stop() }
        try loop.run()
        #expect(ended == [1: .memoryLimit])
        for watch in watches { watch.stop() }
        stuck.open()
    }

    /// A tree whose CPU time stood still since the last look is not looked at again; one that ran is.
    @Test func whatDidNotRunIsNotLookedAtAgain() throws {
        let loop = try EventLoop()
        let used = ManualCount()
        let limits = GrantedLimits(
            wallNanoseconds: 1, cpuNanoseconds: 1 << 60, memoryBytes: 1 << 60, processes: 1, diskBytes: 1, openFiles: 1,
            milliCPUs: 1, outputBytes: 1)
        let shell = try ManualTree()
        defer { shell.end() }
        let watch = ResourceWatch(
            initPID: shell.pid, scratch: nil, limits: limits, cgroup: nil, user: 1, loop: loop, lookout: try Lookout(loop: loop),
            usedMicroseconds: { used.value }) { _ in }
        var quietUntil: UInt64 = 0
        /// Looked at every few milliseconds; whatever takes longest has a minute.
        func check() {
            let now = MonotonicClock.now()
            switch (quietUntil, watch.usage.processes) {
            case (0, 1):
                shell.haveAnotherChild()
                quietUntil = MonotonicClock.now() + 500_000_000
            case (1..., 2) where used.value == 1:
                Issue.record("it was looked at although it did not run")
                return loop.stop()
            case (1..., 1) where now > quietUntil: used.value = 2
            case (1..., 2): return loop.stop()
            default: break
            }
            loop.after(nanoseconds: 5_000_000) { check() }
        }
        check()
        loop.after(nanoseconds: 60_000_000_000) { loop.stop() }
        try loop.run()
        #expect(watch.usage.processes == 2)
        watch.stop()
    }

    private final class ManualCount: @unchecked Sendable {
        var value: UInt64 = 1
    }

    /// A shell with one child, and on demand a second one.
    private final class ManualTree {
        let pid: pid_t
        private let input: Int32

        init() throws {
            var ends: [Int32] = [-1, -1]
            #expect(pipe(&ends) == 0)
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
            posix_spawn_file_actions_addclose(&actions, ends[1])
            var child: pid_t = 0
            let arguments = ["sh", "-c", "exec >/dev/null 2>&1; sleep 1000 & a=$!; read line; sleep 1000 & b=$!; read line; kill -KILL $a $b"]
            var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
            defer { for argument in argv { free(argument) } }
            #expect(posix_spawn(&child, "/bin/sh", &actions, nil, &argv, environ) == 0)
            close(ends[0])
            (pid, input) = (child, ends[1])
        }

        func haveAnotherChild() {
            _ = write(input, "\n", 1)
            // Its children are listed by the kernel: until both are there.
            for _ in 0..<2000 where ProcessTree(initPID: pid).sample(members: nil, preciseAbove: .max, cpuNanoseconds: 0).processes < 2 {
                usleep(5000)
            }
        }

        func end() {
            _ = write(input, "\n", 1)
            close(input)
            waitpid(pid, nil, 0)
        }
    }

    /// A door that one thread opens and another waits at.
    private final class ManualGate: @unchecked Sendable {
        private var ends: [Int32] = [-1, -1]
        init() { pipe(&ends) }
        func wait() { var byte: UInt8 = 0; _ = read(ends[0], &byte, 1) }
        func open() { close(ends[1]) }
    }
}
