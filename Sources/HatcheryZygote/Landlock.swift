import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Landlock as a second line behind mounts and namespaces (landlock(7)): should a mount be writable that must not be, or a
/// network namespace be shared, the payload still writes only where it may and talks only to itself.
enum Landlock {
    /// Rights on files and directories, in the order of their bits (LANDLOCK_ACCESS_FS_*).
    private enum Right {
        static let execute: UInt64 = 1 << 0
        static let writeFile: UInt64 = 1 << 1
        static let readFile: UInt64 = 1 << 2
        static let readDirectory: UInt64 = 1 << 3
        static let makeCharacterDevice: UInt64 = 1 << 6
        static let makeBlockDevice: UInt64 = 1 << 11
        static let refer: UInt64 = 1 << 13
        static let truncate: UInt64 = 1 << 14
        static let deviceControl: UInt64 = 1 << 15

        static let read = execute | readFile | readDirectory
        /// What a rule on a file that is no directory may name.
        static let ofFiles = execute | writeFile | readFile | truncate | deviceControl
    }

    /// Abstract sockets and signals end at the sandbox (LANDLOCK_SCOPE_*, ABI 6).
    private static let scopes: UInt64 = 1 << 0 | 1 << 1

    // step 25 (child)
    /// - Returns: false where the kernel has no Landlock or a filter around us hides it; the receipt says so.
    static func restrict(_ setup: SetupOrder) throws(SystemError) -> Bool {
        let abi = hatchery_landlock_abi()
        // The question wants no right: EPERM comes from a seccomp filter around the daemon, such as systemd-nspawn's.
        if abi == -ENOSYS || abi == -EOPNOTSUPP || abi == -EPERM { return false }
        try check(abi, "landlock_create_ruleset")
        // The first version refuses every rename and link from one directory to another, which programs do not survive.
        if abi < 2 { return false }
        let handled = rights(abi: abi)
        var description = hatchery_landlock_ruleset(
            handled_access_fs: handled, handled_access_net: 0, scoped: abi >= 6 ? scopes : 0)
        // Older kernels know a shorter structure.
        let size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8
        let ruleset = Descriptor(
            owning: try check(hatchery_landlock_create(&description, size), "landlock_create_ruleset"))
        for (path, access) in rules(setup, handled) { try allow(ruleset.raw, path, access) }
        try check(hatchery_landlock_restrict(ruleset.raw), "landlock_restrict_self")
        return true
    }

    private static func rights(abi: Int32) -> UInt64 {
        var rights: UInt64 = (1 << 13) - 1
        if abi >= 2 { rights |= Right.refer }
        if abi >= 3 { rights |= Right.truncate }
        if abi >= 5 { rights |= Right.deviceControl }
        return rights
    }

    private static func rules(_ setup: SetupOrder, _ handled: UInt64) -> [(String, UInt64)] {
        let writable = handled & ~(Right.makeCharacterDevice | Right.makeBlockDevice)
        var rules = [
            ("/", Right.read),
            // /dev/null and its like, and one's own /proc files.
            ("/dev", handled & (Right.read | Right.writeFile | Right.truncate | Right.deviceControl)),
            ("/proc", handled & (Right.read | Right.writeFile | Right.truncate)),
            ("/tmp", writable), ("/dev/shm", writable), (setup.home, writable),
        ]
        rules += setup.temporaryFileSystems.map { ($0.destination, writable) }
        rules += setup.mounts.filter(\.writable).map { ($0.destination, writable) }
        return rules
    }

    private static func allow(_ ruleset: Int32, _ path: String, _ access: UInt64) throws(SystemError) {
        let raw = hatchery_open(path, hatchery_o_path | O_CLOEXEC, 0)
        // What the payload cannot reach needs no right: no rule is the stricter answer.
        if raw == -ENOENT || raw == -EACCES { return }
        let place = Descriptor(owning: try check(raw, "open", path))
        let granted = Files.isDirectory(place.raw) ? access : access & Right.ofFiles
        try check(hatchery_landlock_allow(ruleset, granted, place.raw), "landlock_add_rule", path)
    }
}
