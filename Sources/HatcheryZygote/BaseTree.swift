import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The minimal tree that a zygote's children get as their root, and the one that it preloads in: built once for each zygote, by its
/// launcher, while it still has the front's rights over mounts.
///
/// One tmpfs holds everything that is small (directories, links, made-up and copied files, device nodes), so that a child
/// copies a handful of mounts and not the host's.
enum BaseTree {
    /// Bytes that copied configuration may take. More than this in /etc is not what programs need.
    static let sizeOption = "64m"
    static let copyEntryLimit = 20_000
    static let copyFileLimit = 4 << 20

    /// Builds the tree in this mount namespace, makes it the root and drops the host's tree.
    /// - Returns: the tree for the preload, detached.
    static func enter(_ spec: ZygoteSpec) throws(SystemError) -> Descriptor {
        try Mounts.makeAllPrivate()
        // Sources are opened before anything is mounted over them.
        var binds: [(tree: Int32, destination: String)] = []
        for bind in spec.binds {
            let tree = try Mounts.cloneTree(at: AT_FDCWD, bind.source, followLinks: true)
            try Mounts.setAttributes(tree.raw, [.readOnly, .noSetuid, .noDevices])
            binds.append((tree.release(), bind.destination))
        }
        let proc = try cloneProc()
        let procOfChildren = try makeProcOfChildren()
        #if HATCHERY_TESTING
            let outerProc = try cloneProc()
        #endif
        let devices = try openHostDevices()

        let root = try Mounts.make(
            "tmpfs", options: [("size", sizeOption), ("mode", "0755")], attributes: [.noSetuid])
        try Mounts.attach(root.raw, "/tmp")
        try lay(spec, root.raw)
        for bind in binds {
            try makePlace(root.raw, bind.destination, isDirectory: Files.isDirectory(bind.tree))
            try RootAssembly.attach(bind.tree, root.raw, bind.destination)
        }
        try makeDevices(root.raw, devices)
        try Mounts.setAttributes(root.raw, [.readOnly], recursive: false)
        try checkErrno(fchdir(root.raw), "fchdir")
        try Mounts.pivotToCurrentDirectory()

        let preload = try makePreloadTree(proc: proc.raw)
        if let procOfChildren {
            try Mounts.attach(procOfChildren.raw, "/proc")
            #if HATCHERY_TESTING
                try attachOuterProc(outerProc)
            #endif
        }
        return preload
    }

    /// The template and what a preload wants beside it: put together in this namespace, and taken out of it as a whole.
    private static func makePreloadTree(proc: Int32) throws(SystemError) -> Descriptor {
        let workbench = "/mnt"
        let template = try Mounts.cloneTree("/")
        try Mounts.attach(template.raw, workbench)
        try Mounts.attach(proc, workbench + "/proc")
        for place in ["/tmp", "/dev/shm", SandboxRoot.templateHome] {
            let scratch = try Mounts.make(
                "tmpfs", options: [("size", "256m"), ("mode", "1777")], attributes: [.noSetuid, .noDevices])
            try Mounts.attach(scratch.raw, workbench + place)
        }
        let preload = try Mounts.cloneTree(workbench)
        try check(hatchery_umount_detach(workbench), "umount2(MNT_DETACH)", workbench)
        return preload
    }

    /// The /proc that children find in their root. A whole one must be visible there for them to be allowed a fresh one
    /// (mount_too_revealing() in fs/namespace.c). SECURITY: theirs covers it, so it is one in which no process ever shows.
    ///
    /// It has to be made while the host's is still visible, for the same reason.
    /// - Returns: nil where the kernel refuses it, as in a container with a masked /proc. It refuses it to children too, and theirs stays empty.
    private static func makeProcOfChildren() throws(SystemError) -> Descriptor? {
        let raw = hatchery_make_empty_proc()
        return raw == -EPERM ? nil : Descriptor(owning: try check(raw, "fsmount", "proc"))
    }

    #if HATCHERY_TESTING
        /// What a child shows whose own /proc a test leaves out: what a spawner without it would show. Under the scratch space of every
        /// other child.
        private static func attachOuterProc(_ outer: consuming Descriptor) throws(SystemError) {
            try Mounts.setAttributes(outer.raw, [.noSetuid, .noDevices, .noExecution])
            try Mounts.attach(outer.raw, SandboxRoot.scratchScaffold)
        }
    #endif

    private static func cloneProc() throws(SystemError) -> Descriptor {
        do throws(SystemError) {
            return try Mounts.cloneTree(at: AT_FDCWD, "/proc", recursive: false)
        } catch {
            // Mounts below /proc that are locked (we are in a user namespace) come along or nothing does.
            if error.errno != EINVAL { throw error }
            return try Mounts.cloneTree(at: AT_FDCWD, "/proc", recursive: true)
        }
    }

    private static func lay(_ spec: ZygoteSpec, _ root: Int32) throws(SystemError) {
        let standard = ["dev", "dev/shm", "dev/pts", "proc", "tmp", "home", "mnt", "srv", "run", "etc", "var", "home/sandbox"]
        for directory in standard + spec.directories {
            try makePlace(root, directory, isDirectory: true)
        }
        for copy in spec.copies { try TreeCopy.copy(from: copy.source, to: copy.destination, below: root) }
        for file in spec.files {
            let parent = try PathWalk.makeParents(of: file.path, below: root, mode: 0o755)
            let target = try Files.open(
                at: parent.raw, PathWalk.components(file.path).last!, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
                mode: 0o644, resolve: [.beneath, .noSymlinks])
            try writeAll(target.raw, file.contents)
        }
        for link in spec.links {
            let parent = try PathWalk.makeParents(of: link.path, below: root, mode: 0o755)
            try checkErrno(
                symlinkat(link.target, parent.raw, PathWalk.components(link.path).last!), "symlinkat", link.path)
        }
    }

    private static func makePlace(_ root: Int32, _ path: String, isDirectory: Bool) throws(SystemError) {
        let parent = try PathWalk.makeParents(of: path, below: root, mode: 0o755)
        try RootAssembly.makeMountPoint(at: parent.raw, PathWalk.components(path).last!, isDirectory: isDirectory)
    }

    // MARK: Devices

    /// The minimal /dev: name, major and minor number (Documentation/admin-guide/devices.txt).
    static let deviceNumbers: [(name: String, major: UInt32, minor: UInt32)] = [
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    ]
    static let deviceLinks = [
        ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
    ]

    /// The host's nodes as detached mounts, for where nodes cannot be made. Each is checked to be what its name says: a
    /// container may have put anything at /dev/null (CVE-2025-31133).
    private static func openHostDevices() throws(SystemError) -> [Int32] {
        var trees: [Int32] = []
        for device in deviceNumbers {
            let tree = try Mounts.cloneTree(at: AT_FDCWD, "/dev/" + device.name, recursive: false)
            let status = try Files.status(tree.raw)
            guard status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == hatchery_makedev(device.major, device.minor)
            else { throw SystemError("fstat", errno: ENODEV, subject: "/dev/\(device.name) is not the device of that name") }
            trees.append(tree.release())
        }
        return trees
    }

    private static func makeDevices(_ root: Int32, _ hostTrees: [Int32]) throws(SystemError) {
        let directory = try Files.open(
            at: root, "dev", flags: hatchery_o_path | O_DIRECTORY, resolve: [.beneath, .noSymlinks])
        for (device, tree) in zip(deviceNumbers, hostTrees) {
            if makeNode(directory.raw, device) { continue }
            try RootAssembly.makeMountPoint(at: directory.raw, device.name, isDirectory: false)
            let place = try Files.open(
                at: directory.raw, device.name, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
            // Read-only keeps the node's mode and times from being changed; the device itself works all the same.
            try Mounts.setAttributes(tree, [.readOnly, .noSetuid], recursive: false)
            try Mounts.attach(tree, at: place.raw, "")
        }
        for (name, target) in deviceLinks { try checkErrno(symlinkat(target, directory.raw, name), "symlinkat", name) }
    }

    /// A node of our own, which costs no mount. Works for real root only, and only where the device cgroup allows it.
    private static func makeNode(_ directory: Int32, _ device: (name: String, major: UInt32, minor: UInt32)) -> Bool {
        guard mknodat(directory, device.name, S_IFCHR | 0o666, hatchery_makedev(device.major, device.minor)) == 0
        else { return false }
        _ = fchmodat(directory, device.name, 0o666, 0)
        // A node on a tmpfs that belongs to a user namespace exists and cannot be opened.
        let probe = hatchery_openat(directory, device.name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0)
        if probe >= 0 { close(probe) }
        if probe >= 0 || probe == -ENXIO { return true }
        _ = unlinkat(directory, device.name, 0)
        return false
    }
}
