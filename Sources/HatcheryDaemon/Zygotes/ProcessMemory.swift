import Foundation

/// What /proc/PID/status says of a process's memory; zeros where it cannot be read.
struct ProcessMemory {
    private(set) var pageTableBytes: UInt64 = 0
    private(set) var anonymousBytes: UInt64 = 0

    init(pid: Int32) {
        self.init(status: (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? "")
    }

    init(status text: String) {
        for line in text.split(separator: "\n") {
            // Such as "VmPTE:\t     244 kB".
            let words = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
            guard words.count == 3, let kilobytes = UInt64(words[1]) else { continue }
            switch words[0] {
            case "VmPTE:": pageTableBytes = kilobytes * 1024
            case "RssAnon:": anonymousBytes = kilobytes * 1024
            default: break
            }
        }
    }
}
