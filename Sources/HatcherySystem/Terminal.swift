import CHatchery
import Glibc
import HatcheryProtocol

/// Terminals by descriptor.
public enum Terminal {
    /// The byte that a terminal reads as the end of input, unless a program has changed that (VEOF, termios(3)).
    public static let endOfInput: UInt8 = 4

    /// Programs of the foreground get SIGWINCH where the size has changed.
    public static func resize(_ terminal: Int32, to size: TerminalSize) throws(SystemError) {
        try check(hatchery_terminal_resize(terminal, size.rows, size.columns), "ioctl(TIOCSWINSZ)")
    }

    /// nil where the descriptor is no terminal.
    public static func size(of terminal: Int32) -> TerminalSize? {
        var size = TerminalSize()
        return hatchery_terminal_size(terminal, &size.rows, &size.columns) < 0 ? nil : size
    }
}
