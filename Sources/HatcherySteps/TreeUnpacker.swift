import CHatchery
import Glibc
import HatcherySystem

/// Makes a directory hold what a stream says, by descriptors and through no link.
///
/// What is there already and is the same (kind, size, mode, time) is left alone; what is something else is replaced, a file in
/// one moment.
public final class TreeUnpacker {
    private let root: Descriptor
    /// Whether what the stream does not name is removed, in the directories that it names.
    private let deletesOthers: Bool
    /// Names of directories in which nothing is touched, wherever they are.
    private let untouched: Set<[UInt8]>
    /// Directories get their mode and time when everything in them is done.
    private var directories: [(path: [UInt8], entry: TreeStream.Entry)] = []
    private var named: [[UInt8]: Set<[UInt8]>] = [:]

    public init(_ root: consuming Descriptor, deletesOthers: Bool = false, untouched: Set<[UInt8]> = []) {
        self.root = root
        self.deletesOthers = deletesOthers
        self.untouched = untouched
        if deletesOthers { named[[]] = [] }
    }

    /// - Parameters:
    ///   - path: below the root; sound, as the reader of a stream gives it.
    ///   - data: gives the entry's data piece by piece.
    public func add(
        _ entry: TreeStream.Entry, at path: [UInt8], _ data: () throws(TreeStream.Problem) -> ArraySlice<UInt8>?
    ) throws(TreeStream.Problem) {
        let parts = path.split(separator: UInt8(ascii: "/")).map { Array($0) }
        guard let name = parts.last, !parts.contains(where: { untouched.contains($0) }) else { return }
        let parent = Array(parts.dropLast().joined(separator: [UInt8(ascii: "/")]))
        if deletesOthers { note(parts) }
        do throws(SystemError) {
            let directory = try makeDirectories(parts.dropLast())
            switch entry.kind {
            case .directory:
                try makeDirectory(directory.raw, text(name))
                directories.append((parent.isEmpty ? name : parent + [UInt8(ascii: "/")] + name, entry))
                if deletesOthers, named[path] == nil { named[path] = [] }
            case .link: try makeLink(directory.raw, text(name), try collected(data))
            case .file: try makeFile(directory.raw, text(name), entry, data)
            case .end: return
            }
        } catch {
            throw TreeStream.Problem("\(entry.text): \(error)")
        }
    }

    /// Removes what the stream did not name, and gives the directories their modes and times.
    public func finish() throws(TreeStream.Problem) {
        do throws(SystemError) {
            for (path, names) in named { try removeOthers(path, names) }
            for (path, entry) in directories.reversed() {
                let opened = try open(path)
                try checkErrno(fchmod(opened.raw, mode_t(entry.mode)), "fchmod", text(path))
                setTime(opened.raw, entry)
            }
        } catch {
            throw TreeStream.Problem(error)
        }
    }

    // MARK: Entries

    private func makeDirectories(_ parts: ArraySlice<[UInt8]>) throws(SystemError) -> Descriptor {
        var here = try root.duplicate()
        for part in parts {
            try makeDirectory(here.raw, text(part))
            here = try Files.open(
                at: here.raw, text(part), flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
        }
        return here
    }

    private func makeDirectory(_ directory: Int32, _ name: String) throws(SystemError) {
        if mkdirat(directory, name, 0o700) == 0 { return }
        guard hatchery_errno() == EEXIST else { throw SystemError("mkdirat", errno: hatchery_errno(), subject: name) }
        var status = stat()
        try checkErrno(fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW), "fstatat", name)
        if status.st_mode & S_IFMT == S_IFDIR { return }
        try checkErrno(unlinkat(directory, name, 0), "unlinkat", name)
        try checkErrno(mkdirat(directory, name, 0o700), "mkdirat", name)
    }

    private func makeLink(_ directory: Int32, _ name: String, _ target: [UInt8]) throws(SystemError) {
        var present = [UInt8](repeating: 0, count: TreeStream.longestPath)
        let count = readlinkat(directory, name, &present, present.count)
        if count == target.count, present.starts(with: target) { return }
        guard !target.isEmpty, !target.contains(0) else { throw SystemError("symlinkat", errno: EINVAL, subject: name) }
        try makeWay(directory, name)
        let result = (target.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { symlinkat($0.baseAddress!, directory, name) }
        try checkErrno(result, "symlinkat", name)
    }

    private func makeFile(
        _ directory: Int32, _ name: String, _ entry: TreeStream.Entry,
        _ data: () throws(TreeStream.Problem) -> ArraySlice<UInt8>?
    ) throws(SystemError) {
        if isPresent(directory, name, entry) { return }
        // Beside the old one, and over it when it is whole.
        let temporary = ".hatchery-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        let file = Descriptor(
            owning: try check(hatchery_openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600), "openat", name))
        do throws(SystemError) {
            while let piece = try collectedPiece(data) { try writeAll(file.raw, piece) }
            try checkErrno(fchmod(file.raw, mode_t(entry.mode)), "fchmod", name)
            setTime(file.raw, entry)
            var status = stat()
            if fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0, status.st_mode & S_IFMT == S_IFDIR {
                try makeWay(directory, name)
            }
            try checkErrno(renameat(directory, temporary, directory, name), "renameat", name)
        } catch {
            unlinkat(directory, temporary, 0)
            throw error
        }
    }

    private func isPresent(_ directory: Int32, _ name: String, _ entry: TreeStream.Entry) -> Bool {
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return false }
        return status.st_mode & S_IFMT == S_IFREG && UInt64(max(0, status.st_size)) == entry.size
            && UInt16(status.st_mode & 0o7777) == entry.mode && Int64(status.st_mtim.tv_sec) == entry.seconds
            && UInt32(status.st_mtim.tv_nsec) == entry.nanoseconds
    }

    private func setTime(_ raw: Int32, _ entry: TreeStream.Entry) {
        let time = timespec(tv_sec: Int(entry.seconds), tv_nsec: Int(entry.nanoseconds))
        // A time is a convenience for make(1); that it cannot be set is no reason to fail.
        _ = futimens(raw, [time, time])
    }

    private func collected(_ data: () throws(TreeStream.Problem) -> ArraySlice<UInt8>?) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        while let piece = try collectedPiece(data) { bytes += piece }
        return bytes
    }

    private func collectedPiece(_ data: () throws(TreeStream.Problem) -> ArraySlice<UInt8>?) throws(SystemError) -> ArraySlice<UInt8>? {
        do throws(TreeStream.Problem) {
            return try data()
        } catch {
            throw SystemError(error.description, errno: EIO)
        }
    }

    // MARK: What goes

    private func note(_ parts: [[UInt8]]) {
        var parent: [UInt8] = []
        for part in parts {
            if named[parent] != nil { named[parent]?.insert(part) }
            parent += (parent.isEmpty ? [] : [UInt8(ascii: "/")]) + part
        }
    }

    private func removeOthers(_ path: [UInt8], _ names: Set<[UInt8]>) throws(SystemError) {
        let directory = try path.isEmpty ? root.duplicate() : open(path)
        for name in try Files.names(in: directory.raw, limit: 1 << 20) {
            let bytes = Array(name.utf8)
            if names.contains(bytes) || untouched.contains(bytes) { continue }
            try TreeRemoval.remove(directory.raw, name)
        }
    }

    /// Removes what is in the way of an entry of another kind.
    private func makeWay(_ directory: Int32, _ name: String) throws(SystemError) {
        var status = stat()
        if fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0 { return }
        try TreeRemoval.remove(directory, name)
    }

    private func open(_ path: [UInt8]) throws(SystemError) -> Descriptor {
        try Files.open(at: root.raw, text(path), flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}

/// Removes an entry with all that is below it, through no link.
public enum TreeRemoval {
    public static func remove(_ directory: Int32, _ name: String, depth: Int = 0) throws(SystemError) {
        if unlinkat(directory, name, 0) == 0 { return }
        guard hatchery_errno() == EISDIR || hatchery_errno() == EPERM else {
            throw SystemError("unlinkat", errno: hatchery_errno(), subject: name)
        }
        guard depth < TreeStream.maximumDepth else { throw SystemError("unlinkat", errno: ELOOP, subject: name) }
        do {
            let inner = try Files.open(
                at: directory, name, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
            for entry in try Files.names(in: inner.raw, limit: 1 << 20) { try remove(inner.raw, entry, depth: depth + 1) }
        }
        try checkErrno(unlinkat(directory, name, AT_REMOVEDIR), "unlinkat", name)
    }
}
