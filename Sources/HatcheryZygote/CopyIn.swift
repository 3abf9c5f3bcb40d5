import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Files that the client opened and that are copied into the sandbox before its program starts.
enum CopyIn {
    // step 31 (child): the descriptors carry the client's own right to read; only the bytes are taken over.
    static func run(_ files: [SpawnRequest.FileIn], _ descriptors: [Int32], home: String) throws(SystemError) {
        for (file, source) in zip(files, descriptors) {
            let path = file.destination.hasPrefix("/") ? file.destination : home + "/" + file.destination
            try copy(from: source, to: path, mode: file.executable ? 0o755 : 0o644)
        }
    }

    private static func copy(from source: Int32, to path: String, mode: UInt64) throws(SystemError) {
        let parent = try PathWalk.makeParents(of: path, mode: 0o755)
        let name = PathWalk.components(path).last ?? ""
        let target = try Files.open(
            at: parent.raw, name, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: mode,
            resolve: [.beneath, .noSymlinks])
        // The source's offset belongs to the client's open file; reading by position leaves it alone.
        var offset: off_t = 0
        while true {
            let moved = sendfile(target.raw, source, &offset, 1 << 30)
            if moved == 0 { return }
            if moved < 0 {
                let saved = hatchery_errno()
                if saved == EINTR { continue }
                throw SystemError("sendfile", errno: saved, subject: path)
            }
        }
    }
}

/// Directories made on the way to a path, below the root of this process, never through a link.
enum PathWalk {
    static func components(_ path: String) -> [String] { SandboxPath.components(path) }

    /// Opens the parent directory of `path` below `root`, making what is missing.
    /// - Parameter owner: who gets the directories that are made; nil leaves them to this process.
    static func makeParents(
        of path: String, below root: Int32? = nil, mode: mode_t, owner: (uid: UInt32, gid: UInt32)? = nil
    ) throws(SystemError) -> Descriptor {
        var directory: Descriptor
        if let root {
            directory = Descriptor(
                owning: try check(hatchery_fcntl(root, hatchery_f_dupfd_cloexec, 3), "fcntl(F_DUPFD_CLOEXEC)"))
        } else {
            directory = try Files.open("/", flags: hatchery_o_path | O_DIRECTORY)
        }
        for component in components(path).dropLast() {
            if component == ".." { throw SystemError("openat2", errno: EINVAL, subject: path) }
            let isMade = mkdirat(directory.raw, component, mode) == 0
            if let owner, isMade {
                try checkErrno(fchownat(directory.raw, component, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW), "fchownat")
            }
            if !isMade && hatchery_errno() != EEXIST {
                // A read-only tree may hold the directory already; the open below tells.
                let saved = hatchery_errno()
                if saved != EROFS && saved != EACCES { throw SystemError("mkdirat", errno: saved, subject: path) }
            }
            directory = try Files.open(
                at: directory.raw, component, flags: hatchery_o_path | O_DIRECTORY | O_NOFOLLOW,
                resolve: [.beneath, .noSymlinks])
        }
        return directory
    }
}
