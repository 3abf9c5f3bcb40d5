import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The init's second task: what the payload's policy refuses comes here, is counted, told to the front and answered
/// (Docs/Decisions/0023-the-init-counts-refusals.md). The time that it takes is the sandbox's own.
///
/// Nothing that a program chooses is looked at but the number of the call: no pointer, no memory.
struct RefusalCounter {
    /// The listener of the payload's filter; -1 where there is none, or none any more.
    private var listener: Int32
    /// Readable when a child of this process has ended.
    private let children: Int32
    private let control: Int32
    private let program: [UInt8]
    private let isFatal: Bool
    /// By the number of the call; nothing until the first refusal, since memory of a parked child is dear.
    private var counts: [UInt32] = []
    private var toldSignal = false

    /// Each refusal is told up to this count, then each doubling, so that a program cannot keep the front busy with them. The
    /// exact counts are told at the end.
    private static let alwaysToldUpTo: UInt32 = 32
    /// Beyond the last number that any architecture has.
    private static let syscalls = 1024

    // step 37 (child): while the init still may make descriptors.
    /// - Parameter listener: owned.
    init(listener: Int32, child: Child) throws(SystemError) {
        self.listener = listener
        control = child.control
        program = child.payloadFilter
        isFatal = child.setup.refusalsAreFatal
        // From here on the end of a child waits to be read. What ended before is found by the first look.
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGCHLD)
        sigprocmask(SIG_BLOCK, &set, nil)
        children = try checkErrno(signalfd(-1, &set, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK)), "signalfd")
    }

    /// Answers refused calls until a child of this process has ended, or something else wants a look.
    mutating func serveUntilAChildEnds() {
        var waiting = [
            pollfd(fd: children, events: Int16(POLLIN), revents: 0), pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
        ]
        while true {
            guard poll(&waiting, 2, -1) > 0 else { continue }
            if Int32(waiting[1].revents) & POLLIN != 0 {
                answerOne()
            } else if waiting[1].revents != 0 {
                // Nobody is left under the filter. A negative descriptor is passed over by poll.
                waiting[1].fd = -1
            }
            if waiting[0].revents != 0 {
                var info = signalfd_siginfo()
                while read(children, &info, MemoryLayout<signalfd_siginfo>.size) > 0 {}
                return
            }
        }
    }

    private mutating func answerOne() {
        var refusal = hatchery_refusal()
        // ENOENT: the caller was killed while it waited.
        guard hatchery_refusal_take(listener, program, program.count / 8, &refusal) == 0 else { return }
        if refusal.error == 0 { tellOfSignal() } else { count(Int(refusal.syscall)) }
        _ = hatchery_refusal_answer(listener, &refusal)
    }

    private mutating func tellOfSignal() {
        if !toldSignal { tell(.sentBadSystemCall) }
        toldSignal = true
    }

    private mutating func count(_ syscall: Int) {
        if counts.isEmpty { counts = [UInt32](repeating: 0, count: RefusalCounter.syscalls) }
        guard counts.indices.contains(syscall), counts[syscall] < .max else { return }
        counts[syscall] += 1
        let count = counts[syscall]
        if isFatal || count <= RefusalCounter.alwaysToldUpTo || count & (count - 1) == 0 { tell(syscall, isFatal: isFatal) }
        // SECURITY: the call is never answered. With this process the whole pid namespace ends.
        if isFatal { _exit(0) }
    }

    /// The counts as they are now: before the end is reported, since nobody reads afterwards.
    func tellTotals() {
        for (syscall, count) in counts.enumerated() where count > RefusalCounter.alwaysToldUpTo { tell(syscall, isFatal: false) }
    }

    private func tell(_ syscall: Int, isFatal: Bool) {
        // SECURITY: at its end a process closes its files before its pid namespace is killed (do_exit() in kernel/exit.c), and a
        // call whose listener closes goes on with ENOSYS. So the front gets the listener and closes it when everybody is dead.
        // Test: aViolationEndsTheRunWhereTheProfileSaysSo.
        tell(
            .refused(syscall: UInt16(syscall), count: counts[syscall], isFatal: isFatal), with: isFatal ? [listener] : [])
    }

    private func tell(_ message: InitMessage, with descriptors: [Int32] = []) {
        _ = try? MessageSocket.send(control, message.encoded(), descriptors: descriptors)
    }
}
