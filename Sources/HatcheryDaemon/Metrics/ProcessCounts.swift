import CHatchery
import Glibc
import HatcherySystem

/// What this process holds of the kernel's things.
enum ProcessCounts {
    /// Entries of /proc/self/fd, without the one that reading them takes.
    static var openDescriptors: Int {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var count = -1
        while let entry = readdir(directory) {
            if entry.pointee.d_name.0 != CChar(bitPattern: UInt8(ascii: ".")) { count += 1 }
        }
        return count
    }

    static var mostDescriptors: UInt64 {
        var limit = rlimit()
        return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? UInt64(limit.rlim_cur) : 0
    }

    /// Of this process alone, its children not counted.
    static var cpuSeconds: Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.cpuNanoseconds) / 1e9
    }

    /// Lines of /proc/self/mountinfo.
    static var mounts: Int {
        (try? Files.readText("/proc/self/mountinfo", limit: 16 << 20)).map { $0.utf8.count { $0 == UInt8(ascii: "\n") } } ?? 0
    }

    /// Children that nobody here waits for, and how many of them are zombies. Known ones are reaped as soon as their pidfd
    /// says that they ended.
    static func strangers(known: Set<Int32>) -> (all: Int, zombies: Int) {
        let text = (try? Files.readText("/proc/self/task/\(getpid())/children", limit: 1 << 20)) ?? ""
        let strangers = text.split(separator: " ").compactMap { Int32($0) }.filter { !known.contains($0) }
        let zombies = strangers.count { pid in
            // "pid (name) Z ...": the name may hold anything, the last parenthesis ends it.
            let status = (try? Files.readText("/proc/\(pid)/stat", limit: 4096)) ?? ""
            return status.split(separator: ")").last?.hasPrefix(" Z") ?? false
        }
        return (strangers.count, zombies)
    }
}
