import Glibc
import HatcheryProtocol
import HatcherySystem

/// Files of the suite on the host, all below a directory of its own.
enum HostFiles {
    static func write(_ path: String, _ text: String, mode: mode_t) throws(SystemError) {
        let file = try Files.open(path, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
        try writeAll(file.raw, Array(text.utf8))
        try checkErrno(fchmod(file.raw, mode), "fchmod", path)
    }

    static func copy(_ source: String, to destination: String, mode: mode_t) throws(SystemError) {
        let from = try Files.open(source, flags: O_RDONLY)
        let to = try Files.open(destination, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        var offset: off_t = 0
        while try checkErrno(sendfile(to.raw, from.raw, &offset, 1 << 30), "sendfile", source) > 0 {}
        try checkErrno(fchmod(to.raw, mode), "fchmod", destination)
    }

    static func makeDirectory(_ path: String) throws(SystemError) {
        try checkErrno(mkdir(path, 0o755), "mkdir", path)
    }

    static func owner(_ path: String) -> uid_t? {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_uid : nil
    }

    static func mode(_ path: String) -> mode_t? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode : nil
    }

    /// A directory and what is in it, links not followed.
    static func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        if let directory = try? Files.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW) {
            for name in (try? Files.names(in: directory.raw, limit: 100_000)) ?? [] { remove(path + "/" + name) }
        }
        rmdir(path)
    }
}
