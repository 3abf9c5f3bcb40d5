import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// The terminal that the caller sits at, while a program in a sandbox runs in one of its own.
///
/// What is typed goes to the program as it is typed, Ctrl-C too, so the caller's terminal is raw for that time. It is put back at
/// the end, at exit, and by every signal that a process can see; what the caller's terminal then still answers to the program's
/// last escape sequences is dropped, so that the shell does not read it.
final class CallersTerminal: @unchecked Sendable {
    private let reactor: Reactor
    private let resized: (TerminalSize) -> Void
    private let isRaw: Bool
    private var signals: Descriptor?
    private var watch: Reactor.Watch?

    /// - Parameters:
    ///   - passesInput: whether the program reads what is typed here.
    ///   - resized: gets every new size.
    init(
        _ reactor: Reactor, passesInput: Bool, _ resized: @escaping (TerminalSize) -> Void
    ) throws(HatcheryError) {
        self.reactor = reactor
        self.resized = resized
        isRaw = passesInput && isatty(STDIN_FILENO) == 1
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGWINCH, SIGCONT] { sigaddset(&set, signal) }
        do throws(SystemError) {
            sigprocmask(SIG_BLOCK, &set, nil)
            let descriptor = Descriptor(
                owning: try checkErrno(signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK)), "signalfd"))
            let raw = descriptor.raw
            signals = consume descriptor
            watch = try reactor.watch(raw, .read) { [weak self] _ in self?.signalled(raw) }
        } catch {
            throw HatcheryError(client: error)
        }
    }

    /// The program runs: what is typed is its own now.
    func enter() {
        if isRaw { _ = hatchery_terminal_make_raw(STDIN_FILENO) }
        // It may have changed since it was told with the request.
        if let size = CallersTerminal.size { resized(size) }
    }

    func leave() {
        if let watch { reactor.cancel(watch) }
        watch = nil
        signals = nil
        hatchery_terminal_restore()
    }

    private func signalled(_ raw: Int32) {
        var record = signalfd_siginfo()
        // A shell that stopped us has set its own mode in between, so a continued process enters anew.
        while read(raw, &record, MemoryLayout.size(ofValue: record)) > 0 {}
        enter()
    }

    /// The size of the terminal that any of our standard streams is; nil where none is one.
    static var size: TerminalSize? {
        [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO].lazy.compactMap { Terminal.size(of: $0) }.first
    }

    /// The kind of the caller's terminal, for TERM inside: the one variable that comes along, because the program's output is
    /// for this terminal. Only what can be the name of one.
    static var kind: String {
        guard let name = getenv("TERM").map({ String(cString: $0) }), !name.isEmpty, name.utf8.count <= 64,
            name.utf8.allSatisfy({ isalnum(Int32($0)) != 0 || Array("-+._".utf8).contains($0) })
        else { return "xterm" }
        return name
    }
}
