import CHatchery
import Foundation
import Glibc
import HatcherySystem

/// Makes an ordinary user's daemon root of a user namespace of its own, so that the rest of the front is the same for both.
public enum Rootless {
    /// Ids fewer than this are not worth a range: sandboxes take two each, beside the zygotes' own.
    static let smallestRange: UInt32 = 4096

    /// Whether this process may mount: real root, or a container's root with the right.
    public static var isNeeded: Bool { !Capabilities.isEffective(CAP_SYS_ADMIN) }

    /// Enters a user and a mount namespace. Must be called while the process has one thread.
    /// - Parameters:
    ///   - base: the first of the ids that root would give its sandboxes, where this is a container's root without the right to
    ///     mount but with those over ids.
    ///   - count: how many they are.
    /// - Throws: EPERM or ENOSPC where the host forbids user namespaces.
    public static func enter(base: UInt32, count: UInt32) throws(SystemError) -> Identity {
        let uid = getuid()
        let gid = getgid()
        if let ranges = lentRanges(uid: uid) ?? ownRange(Range(start: base, count: count)) {
            let result = hatchery_enter_user_namespace(
                "0 \(uid) 1 1 \(ranges.uid.start) \(ranges.count)", "0 \(gid) 1 1 \(ranges.gid.start) \(ranges.count)")
            if result == 0 { return .lentRange(count: ranges.count) }
            // newuidmap refused or is missing: one id is still a sandbox. The namespace exists already by now.
            if result != -EHOSTUNREACH { throw SystemError("unshare(CLONE_NEWUSER)", errno: -result) }
            try refuseRootAsSingleID(uid)
        } else {
            try refuseRootAsSingleID(uid)
            try check(hatchery_unshare(Int32(hatchery_clone_newuser | hatchery_clone_newns)), "unshare(CLONE_NEWUSER)")
        }
        try Files.write("/proc/self/setgroups", "deny")
        try Files.write("/proc/self/uid_map", "0 \(uid) 1\n")
        try Files.write("/proc/self/gid_map", "0 \(gid) 1\n")
        return .singleID
    }

    /// SECURITY: a sandbox whose outer id is root's owns the host's files in /proc/sys, and no limit of processes holds for it.
    /// Better none at all. Test: the Docker bed as the container's root, where core_pattern could be opened for writing.
    private static func refuseRootAsSingleID(_ uid: uid_t) throws(SystemError) {
        guard uid == 0 else { return }
        throw SystemError(
            "uid_map", errno: EPERM,
            subject: "this root has neither CAP_SYS_ADMIN nor CAP_SETUID and CAP_SETGID over a range of ids, and sandboxes do "
                + "not run as root: run as another user, or leave those two capabilities")
    }

    struct Range: Equatable {
        var start: UInt32
        var count: UInt32
    }

    /// The first ranges of the user in both files, cut to the smaller one.
    static func lentRanges(uid: uid_t) -> (uid: Range, gid: Range, count: UInt32)? {
        var names = ["\(uid)"]
        if let entry = getpwuid(uid) { names.append(String(cString: entry.pointee.pw_name)) }
        guard let users = range(in: "/etc/subuid", names: names), let groups = range(in: "/etc/subgid", names: names)
        else { return nil }
        let count = min(users.count, groups.count, 65_536)
        return count >= smallestRange ? (users, groups, count) : nil
    }

    /// The range of a container's root: with CAP_SETUID and CAP_SETGID it needs nobody to lend it any.
    private static func ownRange(_ wanted: Range) -> (uid: Range, gid: Range, count: UInt32)? {
        guard getuid() == 0, Capabilities.isEffective(CAP_SETUID), Capabilities.isEffective(CAP_SETGID),
            let users = try? Files.readText("/proc/self/uid_map"), let groups = try? Files.readText("/proc/self/gid_map"),
            let range = range(of: wanted, inside: [users, groups])
        else { return nil }
        return (range, range, range.count)
    }

    /// The wanted ids where every map has them, else the last ones that every map has: those are least likely somebody's.
    static func range(of wanted: Range, inside maps: [String]) -> Range? {
        var lastCommon = UInt64.max
        var hasWanted = true
        for map in maps {
            let lines = map.split(separator: "\n").map { $0.split(separator: " ").compactMap { UInt64($0) } }
            let spans = lines.filter { $0.count == 3 }.map { $0[0]..<$0[0] + $0[2] }
            let asked = UInt64(wanted.start)..<UInt64(wanted.start) + UInt64(wanted.count)
            if !spans.contains(where: { $0.clamped(to: asked) == asked }) { hasWanted = false }
            // The part around 0, where a container's own users are, has to be long enough for them and for ours.
            guard let first = spans.first(where: { $0.contains(0) }) else { return nil }
            lastCommon = min(lastCommon, first.upperBound)
        }
        if hasWanted { return wanted }
        let room = lastCommon / 2
        guard room >= UInt64(smallestRange) else { return nil }
        let count = min(room, UInt64(wanted.count))
        return Range(start: UInt32(lastCommon - count), count: UInt32(count))
    }

    private static func range(in path: String, names: [String]) -> Range? {
        guard let text = try? Files.readText(path) else { return nil }
        return parse(text, names: names)
    }

    /// Lines are `name-or-uid:start:count`, subuid(5).
    static func parse(_ text: String, names: [String]) -> Range? {
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 3, names.contains(String(parts[0])), let start = UInt32(parts[1]),
                let count = UInt32(parts[2].trimmingCharacters(in: .whitespaces)), count >= smallestRange
            else { continue }
            return Range(start: start, count: count)
        }
        return nil
    }
}
