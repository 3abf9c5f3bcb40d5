import Foundation
import Glibc
import HatcheryProtocol

/// What an interpreter needs of the host beside /usr, found without running it: it would run with the front's rights.
struct PythonInterpreter {
    /// Directories to bind: the prefixes of the interpreter, of each link on the way to it, and of the base of a virtual
    /// environment.
    var prefixes: [String] = []

    init(path: String) throws(HatcheryError) {
        var seen: Set<String> = []
        try follow(path, seen: &seen)
        for prefix in prefixes {
            try Reach.require(
                prefix, what: "the interpreter's directory",
                hint: "make a virtual environment in a place that everybody may read, such as /opt or /srv, or use "
                    + "the system's /usr/bin/python3")
        }
    }

    private mutating func follow(_ path: String, seen: inout Set<String>) throws(HatcheryError) {
        var current = (path as NSString).standardizingPath
        while seen.insert(current).inserted {
            guard access(current, X_OK) == 0 else {
                throw HatcheryError(
                    .setupFailed, side: .zygote, errno: hatchery_errno_value(), detail: "interpreter \(current)",
                    hint: "set zygotes[].interpreter to the absolute path of a CPython")
            }
            let prefix = ((current as NSString).deletingLastPathComponent as NSString).deletingLastPathComponent
            try add(prefix, seen: &seen)
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: current) else { break }
            let absolute =
                target.hasPrefix("/")
                ? target : ((current as NSString).deletingLastPathComponent as NSString).appendingPathComponent(target)
            current = (absolute as NSString).standardizingPath
        }
    }

    private mutating func add(_ prefix: String, seen: inout Set<String>) throws(HatcheryError) {
        guard prefix != "/", !RootTree.isBelow(prefix, "/usr"), !prefixes.contains(prefix) else { return }
        prefixes.append(prefix)
        // A virtual environment names the directory of its base interpreter (PEP 405).
        guard let text = try? String(contentsOfFile: prefix + "/pyvenv.cfg", encoding: .utf8) else { return }
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            if parts.count == 2, parts[0] == "home" {
                let candidates = ["python3", "python"].map { parts[1] + "/" + $0 }
                if let base = candidates.first(where: { access($0, X_OK) == 0 }) { try follow(base, seen: &seen) }
            }
        }
    }
}

private func hatchery_errno_value() -> Int32 { errno }
