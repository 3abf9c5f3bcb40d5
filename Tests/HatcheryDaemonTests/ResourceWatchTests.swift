import Glibc
import HatcheryProtocol
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
                initPID: getpid(), scratch: -1, limits: limits, cgroup: nil, user: user, loop: loop, lookout: lookout,
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

    /// A door that one thread opens and another waits at.
    private final class ManualGate: @unchecked Sendable {
        private var ends: [Int32] = [-1, -1]
        init() { pipe(&ends) }
        func wait() { var byte: UInt8 = 0; _ = read(ends[0], &byte, 1) }
        func open() { close(ends[1]) }
    }
}
