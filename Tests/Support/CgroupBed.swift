import Foundation
import Glibc

/// What this host's cgroup v2 hierarchy offers to the tests, which run as root.
public enum CgroupBed {
    /// Where it is mounted.
    public static let mount: String? = {
        let text = (try? String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ")
            if fields.count > 2, fields[2] == "cgroup2" { return String(fields[1]) }
        }
        return nil
    }()

    /// Whether a daemon that root starts can make its own cgroups.
    public static let isWritable = geteuid() == 0 && mount.map { access($0, W_OK) == 0 && !isReadOnly($0) } ?? false

    /// Which of the limits the kernel can keep here.
    public static let controllers: Set<String> = {
        guard isWritable, let mount else { return [] }
        let text = (try? String(contentsOfFile: mount + "/cgroup.controllers", encoding: .utf8)) ?? ""
        return Set(text.split(whereSeparator: { $0.isWhitespace }).map(String.init))
    }()

    public static let isComplete = controllers.isSuperset(of: ["memory", "pids", "cpu"])

    private static func isReadOnly(_ place: String) -> Bool {
        var space = statvfs()
        return statvfs(place, &space) == 0 && space.f_flag & UInt(ST_RDONLY) != 0
    }

    /// The tree of a daemon, by its pid; nil where it has none.
    public static func tree(of pid: pid_t, below directory: String? = mount) -> String? {
        guard let directory, let names = try? FileManager.default.contentsOfDirectory(atPath: directory) else { return nil }
        return names.first { $0.hasPrefix("hatchery-\(pid)-") }.map { directory + "/" + $0 }
    }

    /// The cgroups below a directory that have none below them. How many groups those lie in says nothing.
    public static func leaves(below directory: String) -> [String] {
        let entries = FileManager.default.enumerator(atPath: directory)?.compactMap { $0 as? String } ?? []
        let folders = entries.filter { entry in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: "\(directory)/\(entry)", isDirectory: &isDirectory) && isDirectory.boolValue
        }
        return Array(Set(folders).subtracting(folders.map { ($0 as NSString).deletingLastPathComponent }))
    }

    /// The cgroup of a process as the host names it.
    public static func path(of pid: pid_t) -> String {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/cgroup", encoding: .utf8)) ?? ""
        return text.split(separator: "\n").first { $0.hasPrefix("0::") }.map { String($0.dropFirst(3)) } ?? ""
    }
}
