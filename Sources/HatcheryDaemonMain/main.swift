import ArgumentParser
import Glibc
import HatcheryDaemon

// Argument-parser's own status for a wrong flag is 64; ours is 125, as for every failure that is not the program's.
do {
    var command = try HatcheryDaemonCommand.parseAsRoot()
    try command.run()
} catch {
    let code = HatcheryDaemonCommand.exitCode(for: error)
    let text = HatcheryDaemonCommand.fullMessage(for: error) + "\n"
    _ = write(code == .success ? 1 : 2, text, text.utf8.count)
    exit(code == .success ? 0 : 125)
}
