import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Copies a directory that came out of a sandbox, whole or not at all.
///
/// Directories and regular files are copied; the rest (links, FIFOs, sockets, devices) is left out and told, since each of
/// them could mean something else out here than it meant inside. Files become 0644 and directories 0755, so that nothing that
/// comes out can be executed by accident. Names are taken over byte by byte.
struct TreeOut {
    /// Entries that were left out and are told one by one.
    static let mostRemarks = 100

    private let limits: RunOptions.FileOut
    private let deadline: UInt64
    private var entries = 0
    private var bytes: UInt64 = 0
    private var leftOut: [(path: String, why: String)] = []
    private var leftOutCount = 0

    private init(_ limits: RunOptions.FileOut) {
        self.limits = limits
        deadline = MonotonicClock.now() &+ limits.time.clampedNanoseconds
    }

    /// - Returns: one entry for the directory, and one for each thing in it that was left out.
    static func copy(_ wanted: RunOptions.FileOut, from directory: Int32) -> [RunResult.File] {
        var copy = TreeOut(wanted)
        var result = RunResult.File(path: wanted.path, destination: wanted.destination, bytes: 0, error: nil)
        do throws(SystemError) {
            try copy.copyWhole(from: directory)
            result.bytes = copy.bytes
        } catch {
            result.error = error.description
            return [result]
        }
        return [result] + copy.remarks
    }

    private var remarks: [RunResult.File] {
        var files = leftOut.map {
            RunResult.File(path: limits.path + "/" + $0.path, destination: "", bytes: 0, error: "left out: \($0.why)")
        }
        if leftOutCount > leftOut.count {
            let more = "left out: \(leftOutCount - leftOut.count) more"
            files.append(RunResult.File(path: limits.path, destination: "", bytes: 0, error: more))
        }
        return files
    }

    private mutating func copyWhole(from directory: Int32) throws(SystemError) {
        let place = try FilesOut.Destination(limits.destination)
        // An empty directory is replaced by the rename; with anything else the caller has to say which of the two it wants.
        if let kind = try place.kind(), kind != S_IFDIR {
            throw SystemError("rename", errno: ENOTDIR, subject: "\(limits.destination): it exists and is no directory")
        }
        try checkErrno(mkdirat(place.directory.raw, place.temporary, 0o700), "mkdirat", limits.destination)
        do throws(SystemError) {
            let target = try Files.open(
                at: place.directory.raw, place.temporary, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                resolve: [.beneath, .noSymlinks])
            let source = try Files.openUntrusted(at: directory, [0x2E, 0])
            try copyEntries(from: source, to: target.raw, below: "", depth: 1)
            try checkErrno(fchmod(target.raw, 0o755), "fchmod", limits.destination)
            try place.complete()
        } catch {
            TreeOut.remove(place.temporary, at: place.directory.raw)
            throw error
        }
    }

    private mutating func copyEntries(
        from source: consuming Descriptor, to target: Int32, below path: String, depth: Int
    ) throws(SystemError) {
        guard depth <= OutputTree.deepest else { throw tooMuch("more than \(OutputTree.deepest) directories in each other") }
        let reader = try DirectoryReader(source)
        while let name = reader.next() {
            if MonotonicClock.now() > deadline { throw SystemError("copy", errno: ETIMEDOUT, subject: limits.path) }
            entries += 1
            guard entries <= limits.entries else { throw tooMuch("more than \(limits.entries) entries") }
            try copyEntry(name, from: reader.raw, to: target, below: path, depth: depth)
        }
    }

    private mutating func copyEntry(
        _ name: [CChar], from directory: Int32, to target: Int32, below path: String, depth: Int
    ) throws(SystemError) {
        let shown = (path.isEmpty ? "" : path + "/") + FileName.text(name)
        var status = stat()
        try checkErrno(fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW), "fstatat", shown)
        let kind = status.st_mode & S_IFMT
        guard kind == S_IFREG || kind == S_IFDIR else {
            leaveOut(shown, TreeOut.name(of: kind))
            return
        }
        let entry = try Files.openUntrusted(at: directory, name)
        status = try Files.status(entry.raw)
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            try checkErrno(mkdirat(target, name, 0o700), "mkdirat", shown)
            let made = try Files.open(
                at: target, name, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
            try copyEntries(from: entry, to: made.raw, below: shown, depth: depth + 1)
            try checkErrno(fchmod(made.raw, 0o755), "fchmod", shown)
        case S_IFREG: try copyFile(entry.raw, size: UInt64(max(0, status.st_size)), name, to: target, shown)
        default: leaveOut(shown, "it changed meanwhile")
        }
    }

    private mutating func copyFile(
        _ source: Int32, size: UInt64, _ name: [CChar], to target: Int32, _ shown: String
    ) throws(SystemError) {
        guard size <= limits.limit - bytes else { throw tooMuch("more than \(limits.limit) bytes") }
        bytes += size
        let made = Descriptor(
            owning: try check(
                hatchery_openat(target, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600), "openat", shown))
        try SparseCopy(deadline: deadline).copy(from: source, to: made.raw, size: size)
        try checkErrno(fchmod(made.raw, 0o644), "fchmod", shown)
    }

    private mutating func leaveOut(_ path: String, _ why: String) {
        leftOutCount += 1
        if leftOut.count < TreeOut.mostRemarks { leftOut.append((path, why)) }
    }

    private func tooMuch(_ what: String) -> SystemError {
        SystemError("copy", errno: EFBIG, subject: "\(limits.path): \(what)")
    }

    private static func name(of kind: mode_t) -> String {
        switch kind {
        case S_IFLNK: "a symbolic link, which would lead elsewhere out here"
        case S_IFIFO: "a FIFO"
        case S_IFSOCK: "a socket"
        default: "a device"
        }
    }

    /// Removes a tree that we made, at most as deep as one can be.
    private static func remove(_ name: String, at directory: Int32) { remove(Array(name.utf8CString), at: directory) }

    private static func remove(_ name: [CChar], at directory: Int32) {
        if unlinkat(directory, name, 0) == 0 { return }
        if let opened = try? Files.openUntrusted(at: directory, name), let reader = try? DirectoryReader(opened) {
            while let entry = reader.next() { remove(entry, at: reader.raw) }
        }
        unlinkat(directory, name, AT_REMOVEDIR)
    }
}
