import Hatchery
import HatcheryProtocol

/// One line of `hatchery doctor`.
struct HostCheck: Sendable, Hashable {
    enum State: String, Sendable {
        case ok
        /// Sandboxes run, with less than they could have.
        case degraded
        /// Sandboxes cannot run.
        case missing
    }

    var name: String
    var state: State
    /// What was found, or why it does not hold.
    var found: String
    /// The exact way to mend it; empty where nothing is to be mended, or nothing can be.
    var mend = ""

    static func ok(_ name: String, _ found: String) -> HostCheck { HostCheck(name: name, state: .ok, found: found) }

    var line: String {
        let label = state == .ok ? "ok      " : state == .degraded ? "degraded" : "missing "
        let padding = String(repeating: " ", count: max(0, 16 - name.count))
        return "\(label)  \(name)\(padding)  \(found)\n"
            + (mend.isEmpty ? "" : "          \(String(repeating: " ", count: 18))mend: \(mend)\n")
    }

    func write(to writer: inout JSONWriter) {
        writer.string("check", name)
        writer.string("state", state.rawValue)
        writer.string("found", found)
        writer.string("mend", mend.isEmpty ? nil : mend)
    }
}
