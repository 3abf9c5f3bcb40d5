import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Puts a root together from the pieces of a read-only tree, so that mount points exist which the tree does not have.
///
/// A directory that already holds all mount points wanted below it is bound as a whole. One that lacks some is made anew in
/// the tmpfs, and each of its entries is laid out in turn. The source is never written to, and none of its links is
/// followed: a root that ships /dev as a link leads nowhere (CVE-2026-41579, CVE-2026-47766).
enum RootAssembly {
    struct MountPoint {
        var path: [String]
        /// Taken from us whatever the source has there.
        var isOwn: Bool
        /// Whether the thing to mount is a directory; files are made for files.
        var isDirectory = true
    }

    /// More entries than this in one directory that must be laid out anew is an error: each costs a mount.
    static let entryLimit = 512
    static let depthLimit = 32

    static func lay(from source: Int32, onto target: Int32, _ wanted: [MountPoint], depth: Int = 0) throws(SystemError) {
        if depth > depthLimit { throw SystemError("mount", errno: ELOOP, subject: "mount points nest too deeply") }
        let here = Dictionary(grouping: wanted.filter { !$0.path.isEmpty }) { $0.path[0] }
        for name in try Files.names(in: source, limit: entryLimit) where here[name] == nil {
            try bind(source, name, target)
        }
        for (name, points) in here.sorted(by: { $0.key < $1.key }) {
            let below = points.map { MountPoint(path: Array($0.path.dropFirst()), isOwn: $0.isOwn, isDirectory: $0.isDirectory) }
            if let own = points.first(where: { $0.path.count == 1 && $0.isOwn }) {
                try makeMountPoint(at: target, name, isDirectory: own.isDirectory)
            } else {
                try layEntry(source, name, target, below, depth)
            }
        }
    }

    private static func layEntry(
        _ source: Int32, _ name: String, _ target: Int32, _ below: [MountPoint], _ depth: Int
    ) throws(SystemError) {
        guard let entry = try openIfPresent(source, name) else {
            let isFile = below.contains { $0.path.isEmpty && !$0.isDirectory }
            try makeMountPoint(at: target, name, isDirectory: !isFile)
            try layNothing(target, name, below)
            return
        }
        if below.allSatisfy({ exists(entry.raw, $0.path) }) {
            try bind(source, name, target)
            return
        }
        guard Files.isDirectory(entry.raw) else { throw SystemError("mount", errno: ENOTDIR, subject: name) }
        try makeMountPoint(at: target, name, isDirectory: true)
        let inner = try Files.open(at: target, name, flags: hatchery_o_path | O_DIRECTORY, resolve: [.beneath, .noSymlinks])
        try lay(from: entry.raw, onto: inner.raw, below, depth: depth + 1)
    }

    /// nil where nothing of that name is there; a link is an error (ELOOP), never followed.
    private static func openIfPresent(_ directory: Int32, _ name: String) throws(SystemError) -> Descriptor? {
        do throws(SystemError) {
            return try Files.open(
                at: directory, name, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
        } catch {
            if error.errno == ENOENT { return nil }
            throw error
        }
    }

    /// Mount points below a directory that the source does not have.
    private static func layNothing(_ target: Int32, _ name: String, _ below: [MountPoint]) throws(SystemError) {
        for point in below where !point.path.isEmpty {
            let inner = try Files.open(
                at: target, name, flags: hatchery_o_path | O_DIRECTORY, resolve: [.beneath, .noSymlinks])
            let parent = try PathWalk.makeParents(of: point.path.joined(separator: "/"), below: inner.raw, mode: 0o755)
            try makeMountPoint(at: parent.raw, point.path.last!, isDirectory: point.isDirectory)
        }
    }

    private static func exists(_ directory: Int32, _ path: [String]) -> Bool {
        if path.isEmpty { return true }
        return (try? Files.open(
            at: directory, path.joined(separator: "/"), flags: hatchery_o_path | O_NOFOLLOW,
            resolve: [.beneath, .noSymlinks])) != nil
    }

    /// One entry of the source as it is: links are copied, everything else is bound.
    private static func bind(_ source: Int32, _ name: String, _ target: Int32) throws(SystemError) {
        let entry = try Files.open(at: source, name, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.beneath])
        let kind = try Files.status(entry.raw).st_mode & S_IFMT
        if kind == S_IFLNK {
            try TreeCopy.copyLink(entry.raw, name, target)
            return
        }
        // Sockets, FIFOs and device nodes of a root are not wanted: /dev is ours.
        guard kind == S_IFDIR || kind == S_IFREG else { return }
        try makeMountPoint(at: target, name, isDirectory: kind == S_IFDIR)
        let tree = try Mounts.cloneTree(at: entry.raw, "")
        let place = try Files.open(
            at: target, name, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
        try Mounts.attach(tree.raw, at: place.raw, "")
    }

    /// Attaches a tree at a path below `root`, walked without links.
    static func attach(_ tree: Int32, _ root: Int32, _ path: String) throws(SystemError) {
        let target = try Files.open(
            at: root, PathWalk.components(path).joined(separator: "/"), flags: hatchery_o_path | O_NOFOLLOW,
            resolve: [.inRoot, .noSymlinks])
        try Mounts.attach(tree, at: target.raw, "")
    }

    static func makeMountPoint(at directory: Int32, _ name: String, isDirectory: Bool) throws(SystemError) {
        if isDirectory {
            if mkdirat(directory, name, 0o755) != 0 && hatchery_errno() != EEXIST {
                throw SystemError("mkdirat", errno: hatchery_errno(), subject: name)
            }
        } else {
            // openat2 would refuse to make a file on an O_PATH directory only where the walk leaves it.
            _ = try Files.open(
                at: directory, name, flags: O_CREAT | O_WRONLY | O_NOFOLLOW, mode: 0o644, resolve: [.beneath, .noSymlinks])
        }
    }
}
