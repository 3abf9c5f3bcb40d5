import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The terminal of a sandbox.
enum Terminals {
    /// Terminals that one sandbox may open; the kernel has 4096 for all (/proc/sys/kernel/pty/max).
    static let most = "16"

    // step 39 (child)
    /// Mounts a devpts of the sandbox's own and opens its first terminal.
    ///
    /// SECURITY: every devpts mount is an instance of its own (since Linux 4.7), so that no number in it means a terminal of
    /// the host or of another sandbox. The caller's own terminal never enters the sandbox at all: what the program does to its
    /// terminal (TIOCSTI, stty, reading what others type) it does to this one. Test: theTerminalIsTheSandboxsOwn.
    static func open(
        in root: Int32, _ size: TerminalSize, owner: (uid: UInt32, gid: UInt32)
    ) throws(SystemError) -> (client: Int32, payload: Int32) {
        let devpts = try Mounts.make(
            "devpts",
            options: [
                ("uid", "\(owner.uid)"), ("gid", "\(owner.gid)"), ("mode", "0600"), ("ptmxmode", "0666"), ("max", most),
            ],
            attributes: [.noSetuid, .noExecution])
        try Mounts.attach(devpts.raw, at: root, "dev/pts")
        var ends: [Int32] = [-1, -1]
        try check(hatchery_terminal_open(devpts.raw, size.rows, size.columns, &ends), "ioctl(TIOCGPTPEER)")
        return (ends[0], ends[1])
    }
}
