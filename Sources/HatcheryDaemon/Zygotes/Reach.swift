import Glibc
import HatcheryProtocol

/// Whether sandboxes can get at something of the host: their outer ids are strangers here, and get what everybody gets.
enum Reach {
    /// - Throws: where a directory on the way to `path`, or what is there, is closed to others.
    static func require(_ path: String, what: String, hint: String) throws(HatcheryError) {
        var current = ""
        for component in path.split(separator: "/") {
            current += "/" + component
            var status = stat()
            guard stat(current, &status) == 0 else { continue }
            if status.st_mode & 0o001 == 0 {
                throw HatcheryError(
                    .setupFailed, side: .zygote, errno: EACCES,
                    detail: "\(what) \(path) is out of reach for sandboxes, because \(current) has mode "
                        + String(status.st_mode & 0o7777, radix: 8),
                    hint: hint)
            }
        }
    }
}
