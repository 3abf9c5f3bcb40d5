import Glibc
import HatcherySystem

/// The one file system of a sandbox that it can write to, as the front looks at it while the program runs.
enum ScratchSpace {
    /// A directory of it; the child's own descriptor.
    case directory(Int32)
    /// A place in the root of the sandbox's init.
    case path(String)

    /// The same space without a descriptor, which thousands of sandboxes would want one of each; nil where this process may not look there.
    ///
    /// SECURITY: the place is a mount point of a root that nobody in the sandbox can mount in, move or write to, and the init is not
    /// reaped by anybody but this process: what is there now stays there. Another file system may lie over it by the request's wish.
    static func withoutDescriptor(_ directory: Int32, initPID: Int32, home: String) -> ScratchSpace? {
        guard let wanted = try? Files.status(directory).st_dev else { return nil }
        for place in ["/tmp", home] {
            let path = "/proc/\(initPID)/root\(place)"
            var status = stat()
            if lstat(path, &status) == 0, status.st_dev == wanted, status.st_mode & S_IFMT == S_IFDIR { return .path(path) }
        }
        return nil
    }

    /// Bytes that its files take; 0 once the sandbox is gone.
    var usedBytes: UInt64 {
        var space = statvfs()
        let result =
            switch self {
            case .directory(let raw): fstatvfs(raw, &space)
            case .path(let path): statvfs(path, &space)
            }
        return result == 0 ? UInt64(space.f_blocks - space.f_bfree) * UInt64(space.f_frsize) : 0
    }
}
