import Foundation
import Glibc
import HatcherySystem

/// What a daemon serves that nobody configured: an exec zygote, and a Python zygote where the host has a Python that
/// sandboxes can read.
public enum PrivateDaemon {
    /// How long it stays without a client.
    public static let idleExit = Duration.seconds(300)

    public static func complete(_ configuration: inout Configuration, hasFile: Bool) {
        if configuration.idleExit == nil { configuration.idleExit = idleExit }
        guard !hasFile, !configuration.zygotes.contains(where: { $0.kind == .python }) else { return }
        let candidates = ["/usr/bin/python3", "/usr/local/bin/python3"]
        guard let interpreter = candidates.first(where: { access($0, X_OK) == 0 && (try? PythonInterpreter(path: $0)) != nil })
        else { return }
        var zygote = ZygoteConfiguration(name: "python", kind: .python)
        zygote.interpreter = interpreter
        configuration.zygotes.append(zygote)
    }
}

/// The environment of this process.
public enum Environment {
    public static func current() -> [String: String] { ProcessInfo.processInfo.environment }
}
