import Glibc

/// What a child's Python would ask with os.stat() and os.fstat(), in one number: 1, 2 and 4 for standard streams that are pipes, 8 for
/// a stdin that is /dev/null, 16 where /etc/localtime is another file than at the call with `remember`. From Python these four calls cost a child
/// 60 pages.
@_cdecl("hatchery_zygote_surroundings")
public func surroundings(_ remember: Int32) -> Int32 {
    var bits: Int32 = 0
    var status = stat()
    for stream in Int32(0)..<3 where fstat(stream, &status) == 0 {
        if status.st_mode & S_IFMT == S_IFIFO { bits |= 1 << stream }
        // major 1, minor 3: linux/Documentation/admin-guide/devices.txt
        if stream == 0 && status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0x103 { bits |= 8 }
    }
    let zone = TimeZoneFile.now()
    if remember != 0 { TimeZoneFile.remembered = zone }
    if zone != TimeZoneFile.remembered { bits |= 16 }
    return bits
}

/// What tells one time zone file from another: in a root of the request's own it may be another.
private struct TimeZoneFile: Equatable {
    var device: dev_t = 0
    var inode: ino_t = 0
    var changed: Int = 0
    var changedNanoseconds: Int = 0

    /// The zygote has one thread, and its children have copies.
    nonisolated(unsafe) static var remembered = TimeZoneFile()

    static func now() -> TimeZoneFile {
        var status = stat()
        guard stat("/etc/localtime", &status) == 0 else { return TimeZoneFile() }
        return TimeZoneFile(
            device: status.st_dev, inode: status.st_ino, changed: status.st_mtim.tv_sec, changedNanoseconds: status.st_mtim.tv_nsec)
    }
}
