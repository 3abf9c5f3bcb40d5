import Foundation

/// The machine of a run: without it no figure means anything.
struct HostFacts: Encodable {
    var kernel = ""
    var cores = 0
    var processor = ""
    var memoryMiB = 0
    var mounts = 0
    var python = ""
    var daemon = ""
    var commit = ""
    var user = 0
    var receiptActive: [String] = []
    var receiptMissing: [String] = []
    var load = 0.0

    static func gather(python: String, commit: String) -> HostFacts {
        var facts = HostFacts()
        var name = utsname()
        uname(&name)
        facts.kernel = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        facts.cores = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        facts.processor = field("model name", of: "/proc/cpuinfo") ?? "unknown"
        facts.memoryMiB = memory("MemTotal") / 1024
        facts.mounts = text("/proc/self/mounts").split(separator: "\n").count
        facts.python = python
        facts.commit = commit
        facts.user = Int(getuid())
        facts.load = loadAverage()
        return facts
    }

    var lines: [String] {
        [
            "Linux \(kernel), \(cores) cores (\(processor)), \(memoryMiB) MiB, \(mounts) mounts, uid \(user)",
            "\(python); hatcheryd \(daemon), commit \(commit)",
            "layers active: \(receiptActive.joined(separator: " "))"
                + (receiptMissing.isEmpty ? "" : "; missing: \(receiptMissing.joined(separator: " "))"),
        ]
    }

    /// Of the last minute.
    static func loadAverage() -> Double { Double(text("/proc/loadavg").split(separator: " ").first ?? "") ?? 0 }

    /// KiB of one field of /proc/meminfo.
    static func memory(_ name: String) -> Int {
        Int(field(name, of: "/proc/meminfo")?.split(separator: " ").first ?? "") ?? 0
    }

    /// The first "name: value" of a file of /proc.
    static func field(_ name: String, of path: String) -> String? {
        for line in text(path).split(separator: "\n") where line.hasPrefix(name) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            return line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        return nil
    }

    static func text(_ path: String) -> String {
        // Files of /proc have no size: read them to the end.
        guard let file = fopen(path, "re") else { return "" }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
        return String(decoding: bytes, as: UTF8.self)
    }
}
