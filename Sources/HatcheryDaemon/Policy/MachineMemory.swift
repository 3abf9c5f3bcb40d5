import Glibc
import HatcherySystem

/// How much memory the machine can still give, MemAvailable of proc_meminfo(5), read at most every so often: the file costs
/// more than the rest of an admission.
struct MachineMemory {
    static let ageNanoseconds: UInt64 = 50_000_000

    private var bytes: UInt64 = 0
    private var readAt: UInt64?

    /// - Returns: nil where it cannot be read; then nobody waits for it.
    mutating func available(now: UInt64) -> UInt64? {
        if let readAt, now - readAt < MachineMemory.ageNanoseconds { return bytes }
        guard let text = try? Files.readText("/proc/meminfo", limit: 4096), let read = MachineMemory.parse(text) else { return nil }
        bytes = read
        readAt = now
        return bytes
    }

    static func parse(_ text: String) -> UInt64? {
        for line in text.split(separator: "\n") where line.hasPrefix("MemAvailable:") {
            // Such as "MemAvailable:   12345678 kB".
            return line.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }.map { $0 * 1024 }
        }
        return nil
    }
}
