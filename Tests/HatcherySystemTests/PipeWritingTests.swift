import CHatchery
import Glibc
import HatcherySystem
import Testing

struct PipeWritingTests {
    @Test func aPipeWithoutAReaderIsAnErrnoAndNoSignal() throws {
        var pipeSignal = sigset_t()
        var before = sigset_t()
        sigemptyset(&pipeSignal)
        sigaddset(&pipeSignal, SIGPIPE)
        // Blocked here, so that a signal that was not taken away would be seen as pending instead of ending the tests.
        pthread_sigmask(SIG_BLOCK, &pipeSignal, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        var ends: [Int32] = [-1, -1]
        #expect(hatchery_pipe(&ends) == 0)
        let writeEnd = Descriptor(owning: ends[1])
        close(ends[0])
        let raw = writeEnd.raw
        #expect([UInt8(1)].withUnsafeBytes { writeWithoutSignal(raw, $0) } == -Int(EPIPE))
        var pending = sigset_t()
        sigpending(&pending)
        #expect(sigismember(&pending, SIGPIPE) == 0)
        var mask = sigset_t()
        pthread_sigmask(SIG_BLOCK, nil, &mask)
        #expect(sigismember(&mask, SIGPIPE) == 1)
        // The counter sees one: the plain call leaves it pending.
        _ = write(raw, [1], 1)
        sigpending(&pending)
        #expect(sigismember(&pending, SIGPIPE) == 1)
        // And one that was pending before stays.
        #expect([UInt8(1)].withUnsafeBytes { writeWithoutSignal(raw, $0) } == -Int(EPIPE))
        sigpending(&pending)
        #expect(sigismember(&pending, SIGPIPE) == 1)
        var atOnce = timespec()
        sigtimedwait(&pipeSignal, nil, &atOnce)
    }
}
