import CHatchery
import Glibc
import HatcherySystem

/// Detached mounts of what a client opened.
enum HostMounts {
    /// A detached copy of the tree behind a client's descriptor, without setuid and devices.
    ///
    /// The client's descriptor is its proof: it could walk there with its own rights (bind by descriptor, not by name;
    /// CVE-2024-42472). A daemon in a user namespace has mounts of its own and finds the same place by name; it must be the
    /// same inode of the same file system.
    /// - Parameter keepsSetuid: only for the test that shows no_new_privs alone.
    static func tree(
        from descriptor: Int32, writable: Bool, keepsSetuid: Bool = false
    ) throws(SystemError) -> Descriptor {
        let tree = try clone(descriptor)
        var attributes: Mounts.Attributes = [.noDevices]
        if !writable { attributes.insert(.readOnly) }
        if !keepsSetuid { attributes.insert(.noSetuid) }
        try Mounts.setAttributes(tree.raw, attributes)
        return tree
    }

    private static func clone(_ descriptor: Int32) throws(SystemError) -> Descriptor {
        do throws(SystemError) {
            return try Mounts.cloneTree(at: descriptor, "")
        } catch {
            if error.errno != EINVAL { throw error }
            return try cloneByName(descriptor)
        }
    }

    private static func cloneByName(_ descriptor: Int32) throws(SystemError) -> Descriptor {
        let name = try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) {
            buffer throws(SystemError) in
            let length = try checkErrno(
                readlink("/proc/self/fd/\(descriptor)", buffer.baseAddress!, Int(PATH_MAX) - 1), "readlink")
            buffer[length] = 0
            return String(cString: buffer.baseAddress!)
        }
        // RESOLVE_CACHED: the client has just walked there; a walk that would have to ask a (remote, hanging) file system is
        // refused instead of waited for.
        let own = try Files.open(
            at: AT_FDCWD, name, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.noMagicLinks, .cachedOnly])
        let theirs = try Files.cachedStatus(descriptor)
        let ours = try Files.cachedStatus(own.raw)
        guard theirs.device == ours.device, theirs.inode == ours.inode else {
            throw SystemError("open_tree", errno: EXDEV, subject: name)
        }
        let tree = try Mounts.cloneTree(at: own.raw, "")
        // What is read-only for the client stays read-only, whatever this namespace's own mount says.
        var flags = statvfs()
        if fstatvfs(descriptor, &flags) == 0, flags.f_flag & UInt(ST_RDONLY) != 0 {
            try Mounts.setAttributes(tree.raw, [.readOnly])
        }
        return tree
    }
}
