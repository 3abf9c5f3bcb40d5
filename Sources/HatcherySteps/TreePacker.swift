import CHatchery
import Glibc
import HatcherySystem

/// Walks a directory by descriptors, through no link, and writes what it holds.
public struct TreePacker {
    private let writer: TreeStreamWriter
    private let root: TreeStream.Root
    /// Whether modes that keep the owner out are changed for the reading: the tree is thrown away afterwards.
    private let mayChangeModes: Bool
    /// Paths that are left out.
    private let without: Set<[UInt8]>

    public init(
        _ writer: TreeStreamWriter, root: TreeStream.Root, mayChangeModes: Bool = false, without: Set<[UInt8]> = []
    ) {
        self.writer = writer
        self.root = root
        self.mayChangeModes = mayChangeModes
        self.without = without
    }

    public func pack(_ directory: Int32) throws(TreeStream.Problem) {
        try pack(directory, path: [], depth: 0)
    }

    private func pack(_ directory: Int32, path: [UInt8], depth: Int) throws(TreeStream.Problem) {
        guard depth < TreeStream.maximumDepth else {
            throw TreeStream.Problem("\(text(path)): nested more than \(TreeStream.maximumDepth) levels deep")
        }
        let names: [String] = try explained(path) { () throws(SystemError) in
            try Files.names(in: directory, limit: 1 << 20).sorted()
        }
        for name in names {
            let below = (path.isEmpty ? [] : path + [UInt8(ascii: "/")]) + Array(name.utf8)
            if without.contains(below) { continue }
            try packEntry(directory, name, below, depth: depth)
        }
    }

    private func packEntry(_ directory: Int32, _ name: String, _ path: [UInt8], depth: Int) throws(TreeStream.Problem) {
        guard TreeStream.isSound(path) else { throw TreeStream.Problem("\(text(path)): the path is too long") }
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            // Gone since it was listed.
            if hatchery_errno() == ENOENT { return }
            throw TreeStream.Problem(SystemError("fstatat", errno: hatchery_errno(), subject: text(path)))
        }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            let opened = try open(directory, name, path, O_RDONLY | O_DIRECTORY, needs: 0o500, status)
            try writer.begin(entry(.directory, path, status, size: 0))
            try pack(opened.raw, path: path, depth: depth + 1)
        case S_IFREG:
            try packFile(try open(directory, name, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, needs: 0o400, status), path, status)
        case S_IFLNK:
            var target = [UInt8](repeating: 0, count: TreeStream.longestPath)
            let count = readlinkat(directory, name, &target, target.count)
            guard count > 0, count < target.count else { return }
            try writer.begin(entry(.link, path, status, size: UInt64(count)))
            try writer.write(target[..<count])
        // Sockets, FIFOs and devices are of their moment.
        default: return
        }
    }

    private func packFile(_ file: consuming Descriptor, _ path: [UInt8], _ listed: stat) throws(TreeStream.Problem) {
        let raw = file.raw
        let status = try explained(path) { () throws(SystemError) in try Files.status(raw) }
        guard status.st_mode & S_IFMT == S_IFREG else { return }
        var described = status
        described.st_mode = listed.st_mode
        try writer.begin(entry(.file, path, described, size: UInt64(max(0, status.st_size))))
        var left = UInt64(max(0, status.st_size))
        while left > 0 {
            let wanted = Int(min(left, UInt64(TreeStream.chunkBytes)))
            var chunk = try explained(path) { () throws(SystemError) in try readAll(raw, limit: wanted) }
            // Shorter than it was a moment ago: the announced size is kept.
            if chunk.count < wanted { chunk += [UInt8](repeating: 0, count: wanted - chunk.count) }
            try writer.write(chunk[...])
            left -= UInt64(wanted)
        }
    }

    private func open(
        _ directory: Int32, _ name: String, _ path: [UInt8], _ flags: Int32, needs bits: mode_t, _ status: stat
    ) throws(TreeStream.Problem) -> Descriptor {
        if mayChangeModes, status.st_mode & bits != bits { fchmodat(directory, name, status.st_mode & 0o777 | bits, 0) }
        return try explained(path) { () throws(SystemError) in
            try Files.open(at: directory, name, flags: flags | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
        }
    }

    private func entry(_ kind: TreeStream.Kind, _ path: [UInt8], _ status: stat, size: UInt64) -> TreeStream.Entry {
        TreeStream.Entry(
            kind, root, path: path, mode: UInt16(status.st_mode & 0o777), seconds: Int64(status.st_mtim.tv_sec),
            nanoseconds: UInt32(status.st_mtim.tv_nsec), size: size)
    }

    private func text(_ path: [UInt8]) -> String { path.isEmpty ? "." : String(decoding: path, as: UTF8.self) }

    private func explained<Value: ~Copyable>(
        _ path: [UInt8], _ body: () throws(SystemError) -> Value
    ) throws(TreeStream.Problem) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw TreeStream.Problem("\(text(path)): \(error)")
        }
    }
}
