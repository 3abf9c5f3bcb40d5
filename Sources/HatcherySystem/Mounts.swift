import CHatchery
import Glibc

/// Mounts as descriptors (the mount API of Linux 5.2): nothing here resolves a name twice.
public enum Mounts {
    /// Mount attributes of MOUNT_ATTR_*, mount_setattr(2).
    public struct Attributes: OptionSet, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        public static let readOnly = Attributes(rawValue: UInt64(HATCHERY_MOUNT_ATTR_RDONLY))
        public static let noSetuid = Attributes(rawValue: UInt64(HATCHERY_MOUNT_ATTR_NOSUID))
        public static let noDevices = Attributes(rawValue: UInt64(HATCHERY_MOUNT_ATTR_NODEV))
        public static let noExecution = Attributes(rawValue: UInt64(HATCHERY_MOUNT_ATTR_NOEXEC))
    }

    /// A detached copy of the mount tree at a path below `directory`.
    /// - Parameters:
    ///   - path: empty for `directory` itself.
    ///   - recursive: takes the mounts below along. Where the tree holds locked mounts, the kernel wants this (EINVAL).
    public static func cloneTree(
        at directory: Int32 = AT_FDCWD, _ path: String, recursive: Bool = true, followLinks: Bool = false
    ) throws(SystemError) -> Descriptor {
        var flags = UInt32(HATCHERY_OPEN_TREE_CLONE) | UInt32(O_CLOEXEC)
        if recursive { flags |= UInt32(HATCHERY_AT_RECURSIVE) }
        if !followLinks { flags |= UInt32(AT_SYMLINK_NOFOLLOW) }
        if path.isEmpty { flags |= UInt32(hatchery_at_empty_path) }
        return Descriptor(owning: try check(hatchery_open_tree(directory, path, flags), "open_tree", path))
    }

    /// Attaches a detached tree (or moves an attached one) onto the place that `target` names below `directory`.
    public static func attach(
        _ tree: Int32, at directory: Int32 = AT_FDCWD, _ target: String
    ) throws(SystemError) {
        var flags = UInt32(HATCHERY_MOVE_MOUNT_F_EMPTY_PATH)
        if target.isEmpty { flags |= UInt32(HATCHERY_MOVE_MOUNT_T_EMPTY_PATH) }
        try check(hatchery_move_mount(tree, "", directory, target, flags), "move_mount", target)
    }

    public static func setAttributes(
        _ tree: Int32, _ attributes: Attributes, clear: Attributes = [], recursive: Bool = true
    ) throws(SystemError) {
        var value = hatchery_mount_attr(
            attr_set: attributes.rawValue, attr_clr: clear.rawValue, propagation: 0, userns_fd: 0)
        let flags = UInt32(hatchery_at_empty_path) | (recursive ? UInt32(HATCHERY_AT_RECURSIVE) : 0)
        try check(hatchery_mount_setattr(tree, "", flags, &value), "mount_setattr")
    }

    /// A new, detached file system.
    /// - Parameter options: key and value as fsconfig(2) takes them; a nil value sets a flag.
    public static func make(
        _ type: String, options: [(String, String?)] = [], attributes: Attributes = []
    ) throws(SystemError) -> Descriptor {
        let context = Descriptor(owning: try check(hatchery_fsopen(type), "fsopen", type))
        for (key, value) in options {
            if let value {
                let result = value.withCString {
                    hatchery_fsconfig(context.raw, UInt32(HATCHERY_FSCONFIG_SET_STRING), key, $0, 0)
                }
                try check(result, "fsconfig", "\(type) \(key)=\(value)")
            } else {
                try check(
                    hatchery_fsconfig(context.raw, UInt32(HATCHERY_FSCONFIG_SET_FLAG), key, nil, 0), "fsconfig",
                    "\(type) \(key)")
            }
        }
        try check(
            hatchery_fsconfig(context.raw, UInt32(HATCHERY_FSCONFIG_CMD_CREATE), nil, nil, 0), "fsconfig", type)
        return Descriptor(
            owning: try check(hatchery_fsmount(context.raw, UInt32(attributes.rawValue)), "fsmount", type))
    }

    /// Makes every mount of this namespace private, so that nothing that follows is seen outside of it.
    public static func makeAllPrivate() throws(SystemError) {
        try check(hatchery_mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil), "mount(MS_PRIVATE)", "/")
    }

    /// Makes the current directory the root and drops the old root from the namespace.
    ///
    /// pivot_root(".", ".") stacks the old root onto the new one (pivot_root(2), "pivot_root(".", ".")"); detaching "."
    /// then takes it off, so no directory for the old root is needed and no path to it is left.
    public static func pivotToCurrentDirectory() throws(SystemError) {
        try check(hatchery_pivot_root(".", "."), "pivot_root")
        try check(hatchery_umount_detach("."), "umount2(MNT_DETACH)")
        try checkErrno(chdir("/"), "chdir", "/")
    }
}
