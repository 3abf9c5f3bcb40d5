import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// SIGINT, SIGTERM and SIGHUP as events of the reactor. The first one asks for an orderly end; the second one ends this
/// process on the spot, and the daemon, which sees the connection close, ends the sandbox.
final class Interruptions: @unchecked Sendable {
    private let descriptor: Descriptor
    private let reactor: Reactor
    private var watch: Reactor.Watch?
    private let action: @Sendable () -> Void
    private(set) var received: Int32?

    init(_ reactor: Reactor, _ action: @escaping @Sendable () -> Void) throws(HatcheryError) {
        self.reactor = reactor
        self.action = action
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGINT, SIGTERM, SIGHUP] where !Interruptions.isIgnored(signal) { sigaddset(&set, signal) }
        do throws(SystemError) {
            // Blocked first: a signal in between then waits for the descriptor.
            sigprocmask(SIG_BLOCK, &set, nil)
            descriptor = Descriptor(
                owning: try checkErrno(signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK)), "signalfd"))
            watch = try reactor.watch(descriptor.raw, .read) { [weak self] _ in self?.read() }
        } catch {
            throw HatcheryError(client: error)
        }
    }

    /// nohup and background jobs of simple shells have asked for these to be ignored.
    private static func isIgnored(_ signal: Int32) -> Bool {
        var action = sigaction()
        guard sigaction(signal, nil, &action) == 0 else { return false }
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1  // SIG_IGN
    }

    private func read() {
        var record = signalfd_siginfo()
        guard Glibc.read(descriptor.raw, &record, MemoryLayout.size(ofValue: record)) > 0 else { return }
        if let received {
            hatchery_terminal_restore()
            _exit(128 + received)
        }
        received = Int32(record.ssi_signo)
        action()
    }
}
