import CHatchery
import Foundation
import Glibc
import HatcherySystem

/// The listening socket in the file system: made over a dead one, never over a living one, removed at the end.
public enum DaemonSocket {
    public static func listen(_ configuration: SocketConfiguration) throws(SystemError) -> Descriptor {
        let path = configuration.path
        try makeDirectory(of: path)
        try removeDead(path)
        let socket = try MessageSocket.listen(path: path, mode: configuration.mode)
        if let group = configuration.group {
            guard let id = getgrnam(group)?.pointee.gr_gid ?? gid_t(group) else {
                throw SystemError("getgrnam", errno: ENOENT, subject: "socket.group \(group)")
            }
            try checkErrno(chown(path, uid_t.max, id), "chown", path)
        }
        return socket
    }

    /// A stream socket, for monitoring.
    static func listenStream(_ path: String, mode: UInt32) throws(SystemError) -> Descriptor {
        try makeDirectory(of: path)
        try removeDead(path)
        return try StreamSocket.listen(path: path, mode: mode)
    }

    private static func makeDirectory(of path: String) throws(SystemError) {
        let directory = (path as NSString).deletingLastPathComponent
        guard !directory.isEmpty, access(directory, F_OK) != 0 else { return }
        try checkErrno(mkdir(directory, 0o755), "mkdir", directory)
    }

    /// A socket file that nobody listens on is left over from a crash.
    private static func removeDead(_ path: String) throws(SystemError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw SystemError("bind", errno: EEXIST, subject: "\(path) exists and is not a socket")
        }
        do throws(SystemError) {
            _ = try MessageSocket.connect(path: path)
        } catch {
            // A living socket of another type says so (EPROTOTYPE).
            if error.errno == ECONNREFUSED {
                try checkErrno(unlink(path), "unlink", path)
                return
            }
        }
        throw SystemError("bind", errno: EADDRINUSE, subject: "a daemon already serves \(path)")
    }

    public static func inode(_ path: String) -> UInt64 {
        var status = stat()
        return lstat(path, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    /// Removes the socket's file if it is still the one that this daemon made.
    public static func remove(_ path: String, inode: UInt64) {
        if inode != 0 && self.inode(path) == inode { unlink(path) }
    }
}
