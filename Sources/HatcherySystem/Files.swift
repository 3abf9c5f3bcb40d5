import CHatchery
import Glibc

/// Path walks that cannot be led astray, openat2(2).
public struct Resolution: OptionSet, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// The walk may not leave `directory`.
    public static let beneath = Resolution(rawValue: UInt64(HATCHERY_RESOLVE_BENEATH))
    /// `directory` acts as the root of the walk, for absolute paths, `..` and links.
    public static let inRoot = Resolution(rawValue: UInt64(HATCHERY_RESOLVE_IN_ROOT))
    /// No component may be a symbolic link.
    public static let noSymlinks = Resolution(rawValue: UInt64(HATCHERY_RESOLVE_NO_SYMLINKS))
    /// No /proc/PID/fd style links.
    public static let noMagicLinks = Resolution(rawValue: UInt64(HATCHERY_RESOLVE_NO_MAGICLINKS))
    /// Only what the kernel has in its caches; EAGAIN where a file system would have to be asked.
    public static let cachedOnly = Resolution(rawValue: 0x20)
    /// No crossing of mount points.
    public static let noCrossing = Resolution(rawValue: UInt64(HATCHERY_RESOLVE_NO_XDEV))
}

public enum Files {
    public static func open(
        at directory: Int32, _ path: String, flags: Int32, mode: UInt64 = 0, resolve: Resolution
    ) throws(SystemError) -> Descriptor {
        try open(at: directory, path.utf8CString.map { $0 }, flags: flags, mode: mode, resolve: resolve)
    }

    /// - Parameter path: ends with NUL; need not be UTF-8.
    public static func open(
        at directory: Int32, _ path: [CChar], flags: Int32, mode: UInt64 = 0, resolve: Resolution
    ) throws(SystemError) -> Descriptor {
        var how = hatchery_open_how(
            flags: UInt64(UInt32(bitPattern: flags | O_CLOEXEC)), mode: mode, resolve: resolve.rawValue)
        while true {
            let raw = hatchery_openat2(directory, path, &how)
            // A rename somewhere raced with the walk; the kernel asks to walk again.
            if (raw == -EAGAIN && !resolve.contains(.cachedOnly)) || raw == -EINTR { continue }
            return Descriptor(owning: try check(raw, "openat2", FileName.text(path)))
        }
    }

    /// Opens what a program may have left to be found, for reading.
    ///
    /// SECURITY: it may be anything: a link out, a FIFO that blocks, a device. No link is followed, the walk stays below, opening
    /// never waits; the caller looks at what it has got (CVE-2024-28185).
    public static func openUntrusted(at directory: Int32, _ path: [CChar]) throws(SystemError) -> Descriptor {
        try open(
            at: directory, path, flags: O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY,
            resolve: [.beneath, .noSymlinks, .noMagicLinks, .noCrossing])
    }

    /// A plain open, close-on-exec, for paths that the operator or the user's own shell named.
    public static func open(_ path: String, flags: Int32, mode: UInt32 = 0) throws(SystemError) -> Descriptor {
        Descriptor(owning: try check(hatchery_open(path, flags | O_CLOEXEC, mode), "open", path))
    }

    public static func status(_ raw: Int32) throws(SystemError) -> stat {
        var status = stat()
        try checkErrno(fstat(raw, &status), "fstat")
        return status
    }

    /// What is known of an open file without asking its file system: a descriptor of somebody else's may lie on one that
    /// never answers (FUSE, NFS), and fstat(2) would wait for it.
    public struct CachedStatus: Sendable {
        public var mode: UInt32
        public var device: UInt64
        public var inode: UInt64
    }

    public static func cachedStatus(_ raw: Int32) throws(SystemError) -> CachedStatus {
        var status = hatchery_cached_status()
        try check(hatchery_stat_cached(raw, &status), "statx")
        return CachedStatus(mode: status.mode, device: status.device, inode: status.inode)
    }

    public static func isDirectory(_ raw: Int32) -> Bool {
        (try? cachedStatus(raw)).map { $0.mode & S_IFMT == S_IFDIR } ?? false
    }

    public static func isRegular(_ raw: Int32) -> Bool {
        (try? cachedStatus(raw)).map { $0.mode & S_IFMT == S_IFREG } ?? false
    }

    /// Writes a whole file, such as those of /proc.
    public static func write(_ path: String, _ text: String) throws(SystemError) {
        let descriptor = try open(path, flags: O_WRONLY)
        let bytes = Array(text.utf8)
        try checkErrno(Glibc.write(descriptor.raw, bytes, bytes.count), "write", path)
    }

    public static func readText(_ path: String, limit: Int = 1 << 20) throws(SystemError) -> String {
        let descriptor = try open(path, flags: O_RDONLY)
        return String(decoding: try readAll(descriptor.raw, limit: limit), as: UTF8.self)
    }

    /// The names in a directory, without `.` and `..`, at most `limit`.
    public static func names(in directory: Int32, limit: Int) throws(SystemError) -> [String] {
        // fdopendir takes the descriptor over, so it gets one of its own.
        let raw = try check(hatchery_openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), "openat", ".")
        let copy = Descriptor(owning: raw)
        guard let stream = fdopendir(copy.raw) else { throw SystemError("fdopendir", errno: hatchery_errno()) }
        _ = copy.release()
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            guard names.count < limit else { throw SystemError("readdir", errno: E2BIG) }
            names.append(name)
        }
        return names
    }
}
