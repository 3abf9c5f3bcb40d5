import CHatchery
import Glibc

/// Processes by descriptor: a pidfd never means somebody else's process.
public enum Processes {
    public static func open(pid: Int32) throws(SystemError) -> Descriptor {
        Descriptor(owning: try check(hatchery_pidfd_open(pid, 0), "pidfd_open", "\(pid)"))
    }

    /// Sends a signal; ESRCH (already gone) is not an error.
    public static func signal(_ pidfd: Int32, _ signal: Int32) throws(SystemError) {
        let result = hatchery_pidfd_send_signal(pidfd, signal)
        if result == -ESRCH { return }
        try check(result, "pidfd_send_signal", "\(signal)")
    }

    /// The pid behind a pidfd in the reader's own pid namespace (`Pid:` of /proc/self/fdinfo, proc_pid_fdinfo(5)).
    /// - Returns: nil where the process is gone, or the descriptor is no pidfd.
    /// - Throws: where it cannot be asked, for want of descriptors.
    public static func pid(of pidfd: Int32) throws(SystemError) -> Int32? {
        let text = try Files.readText("/proc/self/fdinfo/\(pidfd)", limit: 4096)
        for line in text.split(separator: "\n") where line.hasPrefix("Pid:") {
            let digits = line.dropFirst(4).drop(while: { $0 == "\t" || $0 == " " })
            return Int32(digits).flatMap { $0 > 0 ? $0 : nil }
        }
        return nil
    }

    /// A namespace that a process may be in, by its number in the ioctls of a pidfd (linux/pidfd.h).
    public enum Namespace: Int32 {
        case mount = 3
        case network = 4
    }

    /// A descriptor of the namespace that a living process is in; it lives as long as the descriptor.
    /// - Returns: nil where the kernel cannot say (before Linux 6.11), the process has ended, or it may not be asked.
    public static func namespace(_ namespace: Namespace, of pidfd: Int32) -> Descriptor? {
        let raw = hatchery_pidfd_namespace(pidfd, namespace.rawValue)
        return raw >= 0 ? Descriptor(owning: raw) : nil
    }

    /// What wait4(2) told of a process that ended.
    public struct Ended: Sendable {
        public var pid: Int32
        public var status: Int32
        public var usage: rusage
    }

    /// Reaps one given child if it has ended.
    public static func reap(pid: Int32, wait: Bool = false) throws(SystemError) -> Ended? {
        var status: Int32 = 0
        var usage = rusage()
        while true {
            let result = wait4(pid, &status, wait ? 0 : WNOHANG, &usage)
            if result < 0 {
                let saved = hatchery_errno()
                if saved == EINTR { continue }
                throw SystemError("wait4", errno: saved, subject: "\(pid)")
            }
            return result == 0 ? nil : Ended(pid: result, status: status, usage: usage)
        }
    }
}

extension Processes {
    /// Reaps a child by its pidfd, which never means another one, and waits for its end.
    /// - Returns: nil where somebody else has reaped it.
    public static func reap(pidfd: Int32) -> ExitStatus? {
        var information = siginfo_t()
        while true {
            if waitid(idtype_t(3), id_t(pidfd), &information, WEXITED) == 0 { break }  // P_PIDFD
            if hatchery_errno() != EINTR { return nil }
        }
        let status = information._sifields._sigchld.si_status
        return information.si_code == CLD_EXITED ? .exited(code: status) : .signaled(signal: status)
    }
}

/// How a process ended, taken out of the status word of wait(2).
public enum ExitStatus: Sendable, Hashable {
    case exited(code: Int32)
    case signaled(signal: Int32)

    public init(waitStatus: Int32) {
        if hatchery_signaled(waitStatus) != 0 {
            self = .signaled(signal: hatchery_term_signal(waitStatus))
        } else {
            self = .exited(code: hatchery_exit_code(waitStatus))
        }
    }
}

/// Names of signals as kill(1) knows them, with SIG in front.
public enum Signals {
    public static func name(_ number: Int32) -> String {
        if let text = hatchery_signal_name(number) { return "SIG" + String(cString: text) }
        if number >= hatchery_sigrtmin() && number <= hatchery_sigrtmax() {
            let offset = number - hatchery_sigrtmin()
            return offset == 0 ? "SIGRTMIN" : "SIGRTMIN+\(offset)"
        }
        return "SIG\(number)"
    }

    /// The number of a signal given as a number, `TERM` or `SIGTERM`.
    public static func number(_ text: String) -> Int32? {
        if let number = Int32(text) { return (1...64).contains(number) ? number : nil }
        let wanted = text.uppercased().hasPrefix("SIG") ? String(text.dropFirst(3)) : text
        return (1...64).first { hatchery_signal_name($0).map { String(cString: $0) } == wanted.uppercased() }
    }
}
