import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// `--progress`: one line on stderr that tells how far a run is, where stderr is a terminal; otherwise nothing at all.
///
/// The line is taken away before anything else is written, and not drawn where the program's own output stands in the middle of
/// one, so that what the program says stays whole.
final class ProgressLine: @unchecked Sendable {
    static let interval = Duration.milliseconds(500)

    private let connection: Connection
    private let machine: RunMachine
    private let started = MonotonicClock.now()
    private var id: String?
    private var timer: Reactor.Timer?
    private var usage: SandboxListing.Usage?
    private var isDrawn = false

    /// - Returns: nil where there is nobody to see it.
    init?(_ connection: Connection, _ machine: RunMachine) {
        guard isatty(STDERR_FILENO) == 1 else { return nil }
        self.connection = connection
        self.machine = machine
    }

    func begin(id: String) {
        self.id = id
        schedule()
    }

    func end() {
        if let timer { connection.reactor.cancel(timer) }
        id = nil
        clear()
    }

    func clear() {
        guard isDrawn else { return }
        isDrawn = false
        // Back to the start, and erase to the end of the line (ECMA-48 EL).
        try? writeAll(STDERR_FILENO, Array("\r\u{1B}[K".utf8))
    }

    private func schedule() {
        timer = connection.reactor.after(ProgressLine.interval) { [weak self] in self?.ask() }
    }

    /// The next look comes after this one's answer, so that a busy daemon is not asked the more.
    private func ask() {
        guard let id else { return }
        connection.request(.list, body: Connection.listBody(id: id)) { [weak self] reply in
            guard let self, self.id != nil else { return }
            usage = (try? reply.sandboxes().get())?.first?.usage
            draw()
            schedule()
        }
    }

    private func draw() {
        clear()
        guard machine.endsLine else { return }
        let elapsed = MonotonicClock.now() - started
        let text = ProgressLine.text(elapsedNanoseconds: elapsed, usage, outputBytes: machine.outputBytes)
        let width = Int(Terminal.size(of: STDERR_FILENO)?.columns ?? 0)
        // A line that wraps could not be taken away again.
        let shown = width > 1 ? String(text.prefix(width - 1)) : text
        isDrawn = (try? writeAll(STDERR_FILENO, Array(shown.utf8))) != nil
    }

    static func text(elapsedNanoseconds: UInt64, _ usage: SandboxListing.Usage?, outputBytes: UInt64) -> String {
        var parts = ["hatchery: " + Table.seconds(elapsedNanoseconds)]
        if let usage {
            let noun = usage.processes == 1 ? "process" : "processes"
            parts += [
                "memory " + size(usage.memoryBytes), "cpu " + Table.seconds(usage.cpuNanoseconds), "\(usage.processes) \(noun)",
            ]
        }
        return (parts + ["output " + size(outputBytes)]).joined(separator: "  ")
    }

    /// Three digits or so.
    static func size(_ bytes: UInt64) -> String {
        for (unit, shift) in [("G", 30), ("M", 20), ("K", 10)] as [(String, UInt64)] where bytes >> shift > 0 {
            let tenths = (bytes * 10) >> shift
            return tenths < 1000 ? "\(tenths / 10).\(tenths % 10)\(unit)" : "\(tenths / 10)\(unit)"
        }
        return "\(bytes)"
    }
}
