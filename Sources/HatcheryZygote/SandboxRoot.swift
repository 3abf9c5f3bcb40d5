import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The private root of one sandbox (steps 9 to 14), built by its init in its own mount namespace.
///
/// The namespace begins as a copy of the zygote's: the finished template of the root and an empty /proc, all locked
/// (`BaseTree`). Everything is done on descriptors and detached mounts; no name is resolved twice.
enum SandboxRoot {
    /// Directories that serve as scaffolding. What is mounted over them hides them: the place of the scratch space is covered by the
    /// sandbox's own /tmp; an assembled root replaces all of them.
    static let scratchScaffold = "/tmp"
    private static let assemblyScaffold = "/dev"
    private static let sourceScaffold = "/mnt"
    /// A directory of the template that is always empty.
    private static let emptyDirectory = "/srv"
    /// The place of the scratch home in the template; another home needs a root of its own.
    static let templateHome = "/home/sandbox"

    static func build(_ child: inout Child) {
        // Left out together with its namespace only by a test: without one, nothing may be mounted at all.
        if child.isLeftOut(.mountns) || child.isLeftOut(.root) { return showPreloadRoot(&child) }

        child.step(.privateMounts) { _ throws(SystemError) in try Mounts.makeAllPrivate() }  // step 9
        var root: Int32 = -1
        let isAssembled = needsAssembly(child)
        child.step(.rootFileSystem) { child throws(SystemError) in  // step 10
            root = isAssembled ? try assemble(child) : try openTemplate().release()
        }
        mountProc(&child, root)  // step 11
        var scratch: Int32 = -1
        child.step(.scratch) { child throws(SystemError) in  // step 12
            scratch = try mountScratch(child.setup, root)
            child.scratch = scratch
        }
        child.root = root
        child.step(.extraMounts) { child throws(SystemError) in  // step 13
            try attachExtraMounts(child, root: root, scratch: scratch)
            if isAssembled { try Mounts.setAttributes(root, [.readOnly], recursive: false) }
        }
        if let size = child.setup.terminal {
            child.step(.terminal) { child throws(SystemError) in  // step 39
                child.terminal = try Terminals.open(in: root, size, owner: (child.setup.uid, child.setup.gid))
            }
        }
        child.step(.pivotRoot, layer: .root) { _ throws(SystemError) in  // step 14
            // The template is the root of this namespace from the start.
            guard isAssembled else { return }
            try checkErrno(fchdir(root), "fchdir")
            try Mounts.pivotToCurrentDirectory()
        }
        child.closeSetupDescriptors()
    }

    /// What a spawner without a root for each child would show: the zygote's own tree.
    private static func showPreloadRoot(_ child: inout Child) {
        #if HATCHERY_TESTING
            child.step(.pivotRoot) { child throws(SystemError) in
                try check(hatchery_raise_permitted_capabilities(), "capset")
                try check(hatchery_change_root(child.preloadRoot), "chroot")
            }
        #endif
    }

    private static func openTemplate() throws(SystemError) -> Descriptor {
        try Files.open("/", flags: hatchery_o_path | O_DIRECTORY)
    }

    // step 10 (child)
    private static func assemble(_ child: Child) throws(SystemError) -> Int32 {
        let setup = child.setup
        let devices = try Mounts.cloneTree("/dev")
        if setup.rootFileSystem { try Mounts.attach(child.setupDescriptors[2], sourceScaffold) }
        let source = setup.rootFileSystem ? try Files.open(sourceScaffold, flags: hatchery_o_path | O_DIRECTORY) : try openTemplate()
        let root = try Mounts.make(
            "tmpfs", options: [("size", "1m"), ("nr_inodes", "4096"), ("mode", "0755")],
            attributes: [.noSetuid, .noDevices])
        try Mounts.attach(root.raw, assemblyScaffold)
        let own: [RootAssembly.MountPoint] = ["proc", "dev", "tmp"].map { .init(path: [$0], isOwn: true) }
        let home = RootAssembly.MountPoint(path: PathWalk.components(setup.home), isOwn: false)
        try RootAssembly.lay(from: source.raw, onto: root.raw, own + [home] + requiredMountPoints(child))
        try Mounts.attach(devices.raw, at: root.raw, "dev")
        // The seal on the tmpfs itself comes last (step 13), when every mount point exists.
        return root.release()
    }

    /// Whether the template does not do as it is: another root, or mount points that it does not have.
    private static func needsAssembly(_ child: Child) -> Bool {
        child.setup.rootFileSystem || child.setup.home != templateHome || !requiredMountPoints(child).isEmpty
    }

    /// The mount points that a read-only root must hold for the extra mounts. What lies in the scratch space is made there.
    private static func requiredMountPoints(_ child: Child) -> [RootAssembly.MountPoint] {
        let setup = child.setup
        let mounted = zip(setup.mounts, mountTrees(child)).map {
            RootAssembly.MountPoint(
                path: PathWalk.components($0.destination), isOwn: false, isDirectory: Files.isDirectory($1))
        }
        let temporary = setup.temporaryFileSystems.map {
            RootAssembly.MountPoint(path: PathWalk.components($0.destination), isOwn: false)
        }
        let outside = (mounted + temporary).filter { scratchPath(of: $0.path, setup) == nil }
        // The template has it; in a root of one's own it may be absent, or a link to somewhere else.
        guard setup.network != nil && setup.rootFileSystem else { return outside }
        return outside + [.init(path: PathWalk.components(ChildNetwork.resolverPath), isOwn: true, isDirectory: false)]
    }

    /// The detached trees that came with the set-up order, after the filters and the root.
    private static func mountTrees(_ child: Child) -> ArraySlice<Int32> {
        child.setupDescriptors.dropFirst(child.setup.rootFileSystem ? 3 : 2)
    }

    // step 11 (child)
    private static func mountProc(_ child: inout Child, _ root: Int32) {
        if child.isLeftOut(.proc) {
            #if HATCHERY_TESTING
                showOuterProc(child, root)
            #endif
            return
        }
        do throws(SystemError) {
            // SECURITY: only one's own processes are visible: the init is not (hidepid, proc(5)).
            let proc = try makeProc()
            try Mounts.attach(proc.raw, at: root, "proc")
            child.active.insert(.proc)
        } catch {
            // The announced fallback: where parts of /proc are masked (a container), the kernel refuses a fresh one
            // (mount_too_revealing). /proc then stays empty, never the outer one; the receipt says so.
            if error.errno != EPERM { child.fail(.proc, error.errno) }
            child.step(.proc) { _ throws(SystemError) in
                let nothing = try Mounts.cloneTree(emptyDirectory, recursive: false)
                try Mounts.attach(nothing.raw, at: root, "proc")
            }
        }
        #if HATCHERY_TESTING
            if child.setup.failAt == .proc { child.fail(.proc, EIO) }
        #endif
    }

    #if HATCHERY_TESTING
        /// What a spawner without this layer would show: the /proc that it has itself.
        private static func showOuterProc(_ child: Child, _ root: Int32) {
            do throws(SystemError) {
                let outer = try Mounts.cloneTree(scratchScaffold)
                try Mounts.attach(outer.raw, at: root, "proc")
            } catch {
                child.fail(.proc, error.errno)
            }
        }
    #endif

    private static func makeProc() throws(SystemError) -> Descriptor {
        let attributes: Mounts.Attributes = [.noSetuid, .noDevices, .noExecution]
        do throws(SystemError) {
            return try Mounts.make("proc", options: [("hidepid", "invisible")], attributes: attributes)
        } catch {
            // Before Linux 5.8 only numbers are known.
            if error.errno != EINVAL { throw error }
            return try Mounts.make("proc", options: [("hidepid", "2")], attributes: attributes)
        }
    }

    // step 12 (child): one tmpfs with one budget of bytes and inodes for everything that can be written.
    private static func mountScratch(_ setup: SetupOrder, _ root: Int32) throws(SystemError) -> Int32 {
        let scratch = try Mounts.make(
            "tmpfs",
            options: [
                ("size", "\(setup.scratchBytes)"), ("nr_inodes", "\(setup.scratchInodes)"), ("mode", "0755"),
            ],
            attributes: [.noSetuid, .noDevices])
        try Mounts.attach(scratch.raw, scratchScaffold)
        for (name, place, mode) in scratchDirectories(setup) {
            try checkErrno(mkdirat(scratch.raw, name, mode), "mkdirat", name)
            // mkdirat's mode went through the umask.
            try checkErrno(fchmodat(scratch.raw, name, mode, 0), "fchmodat", name)
            if name == "home" {
                try checkErrno(fchownat(scratch.raw, name, setup.uid, setup.gid, 0), "fchownat", name)
            }
            let tree = try Mounts.cloneTree(at: scratch.raw, name, recursive: false)
            try RootAssembly.attach(tree.raw, root, place)
        }
        return scratch.release()
    }

    private static func scratchDirectories(_ setup: SetupOrder) -> [(name: String, place: String, mode: mode_t)] {
        [("tmp", "/tmp", 0o1777), ("shm", "/dev/shm", 0o1777), ("home", setup.home, 0o700)]
    }

    /// The path below the scratch directory that a path of the sandbox stands for, or nil.
    private static func scratchPath(of parts: [String], _ setup: SetupOrder) -> String? {
        for (name, place, _) in scratchDirectories(setup) {
            let prefix = PathWalk.components(place)
            if parts.starts(with: prefix) && parts.count > prefix.count {
                return ([name] + parts.dropFirst(prefix.count)).joined(separator: "/")
            }
        }
        return nil
    }

    // step 13 (child)
    private static func attachExtraMounts(_ child: Child, root: Int32, scratch: Int32) throws(SystemError) {
        let setup = child.setup
        var extras = zip(setup.mounts, mountTrees(child)).map {
            ExtraMount(path: PathWalk.components($0.destination), tree: $1, isOurs: false)
        }
        for (number, temporary) in setup.temporaryFileSystems.enumerated() {
            // Held to the end of the set-up, which closes all that is left by range (step 34).
            let tree = try makeTemporary(temporary, number, scratch: scratch).release()
            extras.append(ExtraMount(path: PathWalk.components(temporary.destination), tree: tree, isOurs: true))
        }
        // The outer ones first, whatever their kind: what is mounted later covers what lies below it. Equal ones in the request's order,
        // mounts before file systems.
        let ordered = extras.enumerated().sorted { ($0.element.path.count, $0.offset) < ($1.element.path.count, $1.offset) }.map(\.element)
        for (index, extra) in ordered.enumerated() {
            try place(extra, above: ordered[..<index], setup, root: root, scratch: scratch)
        }
        if let network = setup.network {
            try ChildNetwork.placeResolver(network.resolver, scratch: scratch, root: root)
        }
    }

    /// A tree of the client's, or an empty file system of the sandbox's own.
    private struct ExtraMount {
        var path: [String]
        var tree: Int32
        var isOurs: Bool
    }

    private static func makeTemporary(
        _ temporary: SetupOrder.TemporaryFileSystem, _ number: Int, scratch: Int32
    ) throws(SystemError) -> Descriptor {
        if temporary.size > 0 {
            return try Mounts.make(
                "tmpfs", options: [
                    ("size", "\(temporary.size)"), ("nr_inodes", "\(max(64, temporary.size / 4096))"), ("mode", "1777"),
                ],
                attributes: [.noSetuid, .noDevices])
        }
        let name = "extra\(number)"
        try checkErrno(mkdirat(scratch, name, 0o1777), "mkdirat", name)
        try checkErrno(fchmodat(scratch, name, 0o1777, 0), "fchmodat", name)
        return try Mounts.cloneTree(at: scratch, name, recursive: false)
    }

    /// - Parameter above: what is in place already. In what is the sandbox's own, mount points are made; a client's tree is not
    ///   written to, and must have them.
    private static func place(
        _ extra: ExtraMount, above: ArraySlice<ExtraMount>, _ setup: SetupOrder, root: Int32, scratch: Int32
    ) throws(SystemError) {
        let cover = above.last { extra.path.starts(with: $0.path) && extra.path.count > $0.path.count }
        var own: (directory: Int32, below: String)?
        if let cover {
            if cover.isOurs { own = (cover.tree, extra.path.dropFirst(cover.path.count).joined(separator: "/")) }
        } else if let below = scratchPath(of: extra.path, setup) {
            own = (scratch, below)
        }
        if let own {
            let parent = try PathWalk.makeParents(of: own.below, below: own.directory, mode: 0o755, owner: (setup.uid, setup.gid))
            try RootAssembly.makeMountPoint(at: parent.raw, extra.path.last!, isDirectory: Files.isDirectory(extra.tree))
        }
        try RootAssembly.attach(extra.tree, root, extra.path.joined(separator: "/"))
    }
}
