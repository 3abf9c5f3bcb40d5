import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Opens the files and directories that a run leaves for its client, after the program ended. The client copies them itself,
/// so that no byte of a sandbox is handled here.
enum FilesOut {
    struct Opened {
        /// One for each path, in their order.
        var reports: [Ended.FileOut] = []
        /// For those whose errno is 0, in their order.
        var descriptors: [Int32] = []
        /// Which of the descriptors are directories.
        var directories: [Int32] = []
    }

    static func open(_ paths: [String], home: String, scratch: Int32) -> Opened {
        var opened = Opened()
        for path in paths {
            do throws(SystemError) {
                let file = try open(path, home: home, scratch: scratch)
                if Files.isDirectory(file.raw) { opened.directories.append(file.raw) }
                opened.descriptors.append(file.release())
                opened.reports.append(Ended.FileOut(path: path))
            } catch {
                opened.reports.append(Ended.FileOut(path: path, errno: error.errno))
            }
        }
        return opened
    }

    private static func open(_ path: String, home: String, scratch: Int32) throws(SystemError) -> Descriptor {
        guard let below = scratchPath(path, home: home) else {
            throw SystemError("openat2", errno: ENOENT, subject: path)
        }
        let file = try Files.openUntrusted(at: scratch, Array(below.utf8CString))
        let kind = try Files.status(file.raw).st_mode & S_IFMT
        guard kind == S_IFREG || kind == S_IFDIR else { throw SystemError("openat2", errno: EINVAL, subject: path) }
        return file
    }

    /// Files can come out of the scratch space only; everything else is read-only or was the client's own mount.
    private static func scratchPath(_ path: String, home: String) -> String? {
        let absolute = path.hasPrefix("/") ? path : home + "/" + path
        for (place, name) in [("/tmp/", "tmp/"), ("/dev/shm/", "shm/"), (home + "/", "home/")]
        where absolute.hasPrefix(place) {
            return name + absolute.dropFirst(place.count)
        }
        return nil
    }
}

/// Makes what lies below some directories readable to whoever holds their descriptors, for clients that have no right of their
/// own over the sandbox's ids. Nobody else can reach it: the sandbox is dead, and its scratch space has no name.
///
/// A program may have left very many files, so they are taken in slices, between which the loop goes on.
final class TreeOpening {
    /// Entries of one slice, some microseconds each.
    private static let sliceEntries = 128

    private let loop: EventLoop
    private var done: () -> Void
    private var stack: [DirectoryReader] = []
    private var left = OutputTree.mostEntries

    /// - Parameters:
    ///   - directories: borrowed until `done`.
    ///   - done: called once, never before this returns.
    init(_ directories: [Int32], loop: EventLoop, done: @escaping () -> Void) {
        self.loop = loop
        self.done = done
        for raw in directories { open(at: raw, [0x2E, 0]) }
        schedule()
    }

    private func schedule() {
        loop.after(nanoseconds: 0) { [self] in
            for _ in 0..<TreeOpening.sliceEntries where !stack.isEmpty && left > 0 { step() }
            if !stack.isEmpty && left > 0 {
                schedule()
            } else {
                stack = []
                let callback = done
                done = {}
                callback()
            }
        }
    }

    private func step() {
        guard let directory = stack.last, let name = directory.next() else {
            stack.removeLast()
            return
        }
        left -= 1
        open(at: directory.raw, name)
    }

    private func open(at directory: Int32, _ name: [CChar]) {
        guard let entry = try? Files.openUntrusted(at: directory, name), let status = try? Files.status(entry.raw) else { return }
        switch status.st_mode & S_IFMT {
        case S_IFREG: fchmod(entry.raw, status.st_mode & 0o777 | 0o444)
        case S_IFDIR:
            fchmod(entry.raw, 0o755)
            if stack.count < OutputTree.deepest, let reader = try? DirectoryReader(entry) { stack.append(reader) }
        default: break
        }
    }
}
