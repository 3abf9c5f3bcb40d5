import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// The directory of the user's private daemon: its socket, lock and log.
struct PrivatePlace: Equatable {
    let directory: String

    var socketPath: String { directory + "/hatchery.sock" }
    var lockPath: String { directory + "/lock" }
    var logPath: String { directory + "/hatcheryd.log" }

    /// `$XDG_RUNTIME_DIR/hatchery`, or else `/tmp/hatchery-UID`.
    ///
    /// - Returns: nil where it does not exist and `creates` is false.
    /// - Throws: `.notPermitted` where something else stands at that place.
    static func find(creates: Bool) throws(HatcheryError) -> PrivatePlace? {
        try find(PrivatePlace(directory: candidate()), creates: creates)
    }

    static func find(_ place: PrivatePlace, creates: Bool) throws(HatcheryError) -> PrivatePlace? {
        if creates && mkdir(place.directory, 0o700) != 0 && hatchery_errno() != EEXIST {
            throw HatcheryError(
                .unreachable, side: .client, errno: hatchery_errno(), detail: "mkdir \(place.directory)")
        }
        var status = stat()
        guard lstat(place.directory, &status) == 0 else {
            if !creates && hatchery_errno() == ENOENT { return nil }
            throw HatcheryError(
                .unreachable, side: .client, errno: hatchery_errno(), detail: "lstat \(place.directory)")
        }
        // SECURITY: /tmp belongs to everybody. Whoever owns the directory can put a socket there and is given our code and
        // data; lstat, so that a link is not taken for what it points to. Test: aForeignPrivateDirectoryIsRefused.
        guard isPrivate(status) else {
            throw HatcheryError(
                .notPermitted, side: .client, detail: "\(place.directory) is not a directory of this user alone",
                hint: "remove it, or name a daemon with --socket")
        }
        return place
    }

    static func isPrivate(_ status: stat) -> Bool {
        status.st_mode & S_IFMT == S_IFDIR && status.st_uid == geteuid() && status.st_mode & 0o077 == 0
    }

    private static func candidate() -> String {
        if let runtime = DaemonLocator.environment("XDG_RUNTIME_DIR"), runtime.hasPrefix("/") {
            var status = stat()
            // After su or sudo the variable may still name another user's.
            if lstat(runtime, &status) == 0, isPrivate(status) { return runtime + "/hatchery" }
        }
        return "/tmp/hatchery-\(geteuid())"
    }

    /// Held while a daemon is started, so that two commands start one.
    final class Lock {
        private var descriptor: Descriptor?

        init(_ descriptor: consuming Descriptor) { self.descriptor = consume descriptor }

        func release() { descriptor = nil }
    }

    func lock() throws(HatcheryError) -> Lock {
        do throws(SystemError) {
            let file = try Files.open(lockPath, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
            while flock(file.raw, LOCK_EX) != 0 {
                guard hatchery_errno() == EINTR else {
                    throw SystemError("flock", errno: hatchery_errno(), subject: lockPath)
                }
            }
            return Lock(file)
        } catch {
            throw HatcheryError(client: error, kind: .unreachable)
        }
    }
}
