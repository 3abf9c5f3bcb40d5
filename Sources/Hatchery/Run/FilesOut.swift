import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import SystemPackage

/// Puts the files and directories that came out of a sandbox where the caller wants them.
///
/// SECURITY: the front opened them (regular files and directories only, no link followed); here nothing inside the sandbox is
/// named again but entries of these directories, each below its own. At the destination a new file or tree is written beside the
/// old and renamed, so that a link there is replaced, not followed, and nobody ever sees half of it.
package enum FilesOut {
    /// Blocks; not for the reactor's thread.
    package static func copy(
        _ options: RunOptions, from ended: Ended?, _ descriptors: OwnedDescriptors
    ) -> [RunResult.File] {
        var sources: [String: Result<Int32, Absence>] = [:]
        var next = 0
        let borrowed = descriptors.borrowed
        for file in ended?.filesOut ?? [] {
            if file.errno != 0 {
                sources[file.path] = .failure(Absence(why: explain(file.errno), errno: file.errno))
                continue
            }
            sources[file.path] =
                borrowed.indices.contains(next)
                ? .success(borrowed[next]) : .failure(Absence(why: "the daemon sent no descriptor for it"))
            next += 1
        }
        let unknown = Absence(
            why: ended == nil ? "the run did not end in an orderly way" : "the daemon did not answer for it")
        var files: [RunResult.File] = []
        for wanted in options.filesOut { files += copy(wanted, sources[wanted.path] ?? .failure(unknown)) }
        if let plots = options.plots {
            files += Plots.collect(sources[Plots.directory] ?? .failure(unknown), to: plots)
        }
        return files
    }

    private static func explain(_ errno: Int32) -> String {
        let reason =
            switch errno {
            case EINVAL: "it is neither a regular file nor a directory"
            case ELOOP: "a symbolic link, which is never followed out of a sandbox"
            case ENOENT: "nothing of that name is in the sandbox's home directory, /tmp or /dev/shm"
            default: ""
            }
        return ErrnoNames.describe(errno) + (reason.isEmpty ? "" : ": " + reason)
    }

    /// Why there is nothing to copy.
    struct Absence: Error {
        var why: String
        var errno: Int32 = 0
    }

    private static func copy(_ wanted: RunOptions.FileOut, _ source: Result<Int32, Absence>) -> [RunResult.File] {
        var result = RunResult.File(path: wanted.path, destination: wanted.destination, bytes: 0, error: nil)
        switch source {
        case .failure(let absence):
            result.error = absence.why
            return [result]
        case .success(let raw) where Files.isDirectory(raw):
            return TreeOut.copy(wanted, from: raw)
        case .success(let raw):
            do throws(SystemError) {
                result.bytes = try copyFile(from: raw, to: wanted.destination, limit: wanted.limit)
            } catch {
                result.error = error.description
            }
            return [result]
        }
    }

    /// - Returns: the size of the copy in bytes.
    static func copyFile(from source: Int32, to destination: String, limit: UInt64) throws(SystemError) -> UInt64 {
        let size = UInt64(max(0, try Files.status(source).st_size))
        guard size <= limit else { throw SystemError("copy", errno: EFBIG, subject: "\(size) bytes, at most \(limit)") }
        let place = try Destination(destination)
        if try place.kind() == S_IFDIR { throw SystemError("rename", errno: EISDIR, subject: destination) }
        let target = Descriptor(
            owning: try check(
                hatchery_openat(
                    place.directory.raw, place.temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600),
                "openat", destination))
        do throws(SystemError) {
            try SparseCopy().copy(from: source, to: target.raw, size: size)
            // After the data: the mode is as promised whatever the umask, and nobody reads a half-written file.
            try checkErrno(fchmod(target.raw, 0o644), "fchmod", destination)
            try place.complete()
        } catch {
            unlinkat(place.directory.raw, place.temporary, 0)
            throw error
        }
        return size
    }

    /// A place to put something, by way of a temporary name beside it.
    struct Destination: ~Copyable {
        /// Held open: the temporary name and the rename then mean the same directory, whatever is renamed meanwhile.
        let directory: Descriptor
        let name: String
        let temporary = ".hatchery-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        private let path: String

        init(_ path: String) throws(SystemError) {
            let parts = FilePath(path)
            guard let name = parts.lastComponent?.string, name != "..", name != "." else {
                throw SystemError("open", errno: EISDIR, subject: path)
            }
            let folder = parts.removingLastComponent()
            let directory = try Files.open(folder.isEmpty ? "." : folder.string, flags: O_RDONLY | O_DIRECTORY)
            self.directory = directory
            self.path = path
            self.name = name
        }

        /// What is there now, S_IF*; nil where nothing is.
        func kind() throws(SystemError) -> mode_t? {
            var status = stat()
            if fstatat(directory.raw, name, &status, AT_SYMLINK_NOFOLLOW) == 0 { return status.st_mode & S_IFMT }
            let saved = hatchery_errno()
            if saved == ENOENT { return nil }
            throw SystemError("fstatat", errno: saved, subject: path)
        }

        func complete() throws(SystemError) {
            try checkErrno(renameat(directory.raw, temporary, directory.raw, name), "renameat", path)
        }
    }
}
