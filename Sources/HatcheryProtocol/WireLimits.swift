/// The named limits of the wire. Out of range is an error before anything is allocated.
public enum WireLimits {
    /// One message with its header. A SEQPACKET message must fit a socket buffer (default 208 KiB); what is larger travels
    /// in a sealed memfd.
    public static let frameBytes = 64 * 1024
    /// The sealed memfd with a launch plan: 10 MB of arguments or code, with room for the environment.
    public static let launchPlanBytes = 32 * 1024 * 1024
    /// The kernel's own limit of one argument or variable (MAX_ARG_STRLEN, 128 KiB on 4 KiB pages) holds for execve; Python
    /// modes take longer ones.
    public static let pathBytes = 4096
    public static let nameBytes = 64
    public static let titleBytes = 128
    /// argv and environment entries together.
    public static let arguments = 65_536
    public static let mounts = 24
    public static let temporaryFileSystems = 16
    public static let filesIn = 24
    /// Their descriptors come back in one message.
    public static let filesOut = 48
    /// All paths of files out together: they are echoed in one answer.
    public static let filesOutBytes = 32 * 1024
    /// Fields of a launch plan that may come once each, arguments and variables apart.
    public static let singleFields = 7
    /// Descriptors in one message (the kernel's SCM_MAX_FD is 253).
    public static let descriptors = 60
}

/// What a directory that comes out of a sandbox may hold.
public enum OutputTree {
    public static let mostEntries = 10_000
    /// Directories in each other.
    public static let deepest = 32
}

/// The shortest and longest of every limit that a request can ask for, whatever a profile allows.
public enum RequestBounds {
    /// 100 days: beyond it, sums of nanoseconds stay far from overflow.
    public static let longestNanoseconds: UInt64 = 100 * 86_400 * 1_000_000_000
    public static let largestBytes: UInt64 = 1 << 50
    public static let mostProcesses: UInt64 = 4_194_304
    /// The usual fs.nr_open, above which setrlimit fails.
    public static let mostOpenFiles: UInt64 = 1_048_576
}
