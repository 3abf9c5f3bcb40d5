import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Copies small trees of configuration into the base tree. Only what everybody on the host may read is taken: the copy must
/// not give a sandbox more than an ordinary user has.
enum TreeCopy {
    static func copy(from source: String, to destination: String, below root: Int32) throws(SystemError) {
        var left = BaseTree.copyEntryLimit
        let parent = try PathWalk.makeParents(of: destination, below: root, mode: 0o755)
        let raw = hatchery_open(source, hatchery_o_path | O_NOFOLLOW | O_CLOEXEC, 0)
        if raw == -ENOENT { return }
        let entry = Descriptor(owning: try check(raw, "open", source))
        try copyEntry(entry.raw, PathWalk.components(destination).last!, parent.raw, &left, depth: 0)
    }

    private static func copyEntry(
        _ entry: Int32, _ name: String, _ target: Int32, _ left: inout Int, depth: Int
    ) throws(SystemError) {
        left -= 1
        if left < 0 || depth > 16 { throw SystemError("copy", errno: E2BIG, subject: name) }
        let status = try Files.status(entry)
        switch status.st_mode & S_IFMT {
        case S_IFLNK: try copyLink(entry, name, target)
        case S_IFDIR where status.st_mode & 0o005 == 0o005:
            try copyDirectory(entry, name, target, &left, depth)
        case S_IFREG where status.st_mode & 0o004 != 0 && status.st_size <= BaseTree.copyFileLimit:
            try copyFile(entry, name, target, executable: status.st_mode & 0o111 != 0)
        default: break
        }
    }

    private static func copyDirectory(
        _ entry: Int32, _ name: String, _ target: Int32, _ left: inout Int, _ depth: Int
    ) throws(SystemError) {
        try RootAssembly.makeMountPoint(at: target, name, isDirectory: true)
        let inner = try Files.open(
            at: target, name, flags: hatchery_o_path | O_DIRECTORY, resolve: [.beneath, .noSymlinks])
        for child in try Files.names(in: entry, limit: BaseTree.copyEntryLimit) {
            let source = try Files.open(at: entry, child, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.beneath])
            try copyEntry(source.raw, child, inner.raw, &left, depth: depth + 1)
        }
    }

    private static func copyFile(_ entry: Int32, _ name: String, _ target: Int32, executable: Bool) throws(SystemError) {
        let source = try Files.open("/proc/self/fd/\(entry)", flags: O_RDONLY)
        let file = try Files.open(
            at: target, name, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: executable ? 0o755 : 0o644,
            resolve: [.beneath, .noSymlinks])
        try writeAll(file.raw, try readAll(source.raw, limit: BaseTree.copyFileLimit))
    }

    static func copyLink(_ link: Int32, _ name: String, _ target: Int32) throws(SystemError) {
        let text = try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) {
            buffer throws(SystemError) in
            let length = try checkErrno(readlinkat(link, "", buffer.baseAddress!, Int(PATH_MAX) - 1), "readlinkat", name)
            buffer[length] = 0
            return String(cString: buffer.baseAddress!)
        }
        try checkErrno(symlinkat(text, target, name), "symlinkat", name)
    }
}
