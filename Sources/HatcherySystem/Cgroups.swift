import CHatchery
import Glibc

/// Where the cgroup v2 hierarchy is, as this process sees it: cgroups(7), cgroup_namespaces(7).
public enum CgroupHierarchy {
    /// A mount of the hierarchy: which of its cgroups is mounted (`root`), and where.
    public struct Mount: Sendable, Hashable {
        public var root: String
        public var place: String

        public init(root: String, place: String) {
            self.root = root
            self.place = place
        }
    }

    /// The first mount of a v2 hierarchy in the text of /proc/self/mountinfo, whose fields are those of
    /// proc_pid_mountinfo(5): id, parent, device, root, place, options, any number of tags, "-", type.
    public static func mount(mountinfo text: String) -> Mount? {
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ", omittingEmptySubsequences: false)
            guard let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count, fields[dash + 1] == "cgroup2", dash > 5
            else { continue }
            return Mount(root: unescaped(fields[3]), place: unescaped(fields[4]))
        }
        return nil
    }

    /// This process's cgroup in the text of /proc/self/cgroup: the line of hierarchy 0.
    public static func ownPath(cgroup text: String) -> String? {
        text.split(separator: "\n").first { $0.hasPrefix("0::") }.map { String($0.dropFirst(3)) }
    }

    /// The directory of a cgroup below a mount; nil where the mount does not show it.
    public static func directory(of path: String, in mount: Mount) -> String? {
        // "/.." means that the process was moved out of its cgroup namespace's root.
        if path.hasPrefix("/..") { return nil }
        let root = mount.root == "/" ? "" : mount.root
        guard path == root || path.hasPrefix(root + "/") else { return nil }
        let below = path.dropFirst(root.count)
        return below.isEmpty || below == "/" ? mount.place : mount.place + below
    }

    /// Blanks and backslashes are written as three octal digits there.
    private static func unescaped(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3, let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// One cgroup, held open: its files and its children are reached through the descriptor, never by a path again.
public final class CgroupDirectory: Sendable {
    /// For messages.
    public let path: String
    private let descriptor: Descriptor

    public init(path: String) throws(SystemError) {
        self.path = path
        descriptor = try Files.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }

    private init(path: String, descriptor: consuming Descriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    public func child(_ name: String) throws(SystemError) -> CgroupDirectory {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let raw = try check(hatchery_openat(descriptor.raw, name, flags, 0), "open", "\(path)/\(name)")
        return CgroupDirectory(path: "\(path)/\(name)", descriptor: Descriptor(owning: raw))
    }

    /// A descriptor for CLONE_INTO_CGROUP of a child; it can do nothing else.
    public func openForClone(_ name: String) throws(SystemError) -> Descriptor {
        let flags = hatchery_o_path | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        return Descriptor(owning: try check(hatchery_openat(descriptor.raw, name, flags, 0), "open", "\(path)/\(name)"))
    }

    public func makeChild(_ name: String) throws(SystemError) {
        try checkErrno(mkdirat(descriptor.raw, name, 0o755), "mkdir", "\(path)/\(name)")
    }

    /// - Throws: EBUSY while a process is in it.
    public func removeChild(_ name: String) throws(SystemError) {
        try checkErrno(unlinkat(descriptor.raw, name, AT_REMOVEDIR), "rmdir", "\(path)/\(name)")
    }

    /// The names of the cgroups in this one.
    public func children() throws(SystemError) -> [String] {
        try Files.names(in: descriptor.raw, limit: 1 << 20).filter { name in
            var status = stat()
            return fstatat(descriptor.raw, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_mode & S_IFMT == S_IFDIR
        }
    }

    public func has(_ file: String) -> Bool { faccessat(descriptor.raw, file, F_OK, 0) == 0 }

    /// One of its files, or of a child's (`NAME/FILE`), to be read from the start any number of times.
    public func open(_ file: String) throws(SystemError) -> Descriptor {
        Descriptor(
            owning: try check(hatchery_openat(descriptor.raw, file, O_RDONLY | O_CLOEXEC, 0), "open", "\(path)/\(file)"))
    }

    /// The text of one of its files, or of a child's.
    public func read(_ file: String) throws(SystemError) -> String {
        let open = try open(file)
        return try withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer throws(SystemError) -> String in
            let count = try checkErrno(Glibc.read(open.raw, buffer.baseAddress, buffer.count), "read", "\(path)/\(file)")
            return String(decoding: buffer[..<count], as: UTF8.self)
        }
    }

    public func write(_ file: String, _ text: String) throws(SystemError) {
        let raw = try check(hatchery_openat(descriptor.raw, file, O_WRONLY | O_CLOEXEC, 0), "open", "\(path)/\(file)")
        let open = Descriptor(owning: raw)
        let bytes = Array(text.utf8)
        try checkErrno(Glibc.write(open.raw, bytes, bytes.count), "write", "\(path)/\(file)")
    }

    /// Gives one of its files to a user, by the name of the file.
    public func give(_ file: String, to owner: uid_t) throws(SystemError) {
        try checkErrno(fchownat(descriptor.raw, file, owner, gid_t.max, AT_SYMLINK_NOFOLLOW), "chown", "\(path)/\(file)")
    }

    /// Takes the directory's lock for the life of this object, without waiting; false where somebody else has it.
    public func lock() -> Bool { flock(descriptor.raw, LOCK_EX | LOCK_NB) == 0 }

    /// One number out of a file of `name value` lines (cgroup.events, memory.events, cpu.stat), or the only one of a file.
    public static func number(_ text: String, _ name: String? = nil) -> UInt64? {
        guard let name else { return UInt64(text.prefix { $0.isNumber }) }
        for line in text.split(separator: "\n") where line.hasPrefix(name) && line.dropFirst(name.count).hasPrefix(" ") {
            return UInt64(line.dropFirst(name.count + 1))
        }
        return nil
    }
}
