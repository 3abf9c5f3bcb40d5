import ArgumentParser
import Hatchery
import HatcheryProtocol

/// The options that run, python, call and script share: DESIGN section 6.
struct SandboxFlags: ParsableArguments {
    @OptionGroup(title: "Daemon") var daemon: DaemonFlags

    @Option(help: ArgumentHelp("The profile: a named configuration of the daemon (default: the zygote's own).", valueName: "name"))
    var profile: String?
    @Option(
        help: ArgumentHelp("The zygote to hatch from (default: exec for run, python for python).", valueName: "name"))
    var zygote: String?
    @Option(help: ArgumentHelp("The name in `hatchery ps`.", valueName: "text"))
    var title: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Wall clock limit (default: the profile's); 124 is the exit status when it is reached.", valueName: "sec"),
        transform: DurationText.parse)
    var time: Duration?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("CPU time limit, of all processes together.", valueName: "sec"),
        transform: DurationText.parse)
    var cpuTime: Duration?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Memory limit, of all processes together.", valueName: "size"), transform: ByteSize.parse)
    var memory: UInt64?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Processes and threads alive at once.", valueName: "n"), transform: FlagValues.count)
    var pids: UInt64?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Processors' worth of CPU time; 0.5 is half of one.", valueName: "n"),
        transform: FlagValues.cpus)
    var cpus: Double?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Bytes in the sandbox's own writable file systems.", valueName: "size"),
        transform: ByteSize.parse)
    var disk: UInt64?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Open descriptors of each process.", valueName: "n"), transform: FlagValues.count)
    var files: UInt64?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Bytes kept of each stream; the rest is read and dropped. Default: the profile's with --json, else everything is passed on.",
            valueName: "size"), transform: ByteSize.parse)
    var output: UInt64?
    @Flag(help: "Keep the last bytes of each stream instead of the first ones.") var tail = false
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Data for stdin; - passes ours through (default: /dev/null).", valueName: "file"))
    var stdin: String?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How long writing stdin may take.", valueName: "sec"), transform: DurationText.parse)
    var stdinTime: Duration?
    @Flag(name: [.customShort("i"), .long], help: "Pass our stdin through.") var interactive = false
    @Flag(
        name: [.customShort("t"), .long],
        help: "A terminal of its own for the program, instead of pipes; with -i you sit at it.")
    var tty = false

    @Option(
        name: .customShort("v"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Mount SRC at DST, read-only unless :rw is said (SRC:DST[:ro or :rw]). The sandbox's own user id writes there, with the rights of others.", valueName: "mount"),
        transform: FlagValues.mount)
    var volumes: [SandboxOptions.Mount] = []
    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("An empty writable directory in memory.", valueName: "dst[:size]"),
        transform: FlagValues.temporaryFileSystem)
    var tmpfs: [SpawnRequest.TemporaryFileSystem] = []
    @Option(
        name: .customShort("w"),
        help: ArgumentHelp("The working directory, an absolute path inside (default: the home directory).", valueName: "dir"),
        transform: FlagValues.insidePath)
    var workingDirectory: String?
    @Option(
        name: .customShort("e"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A variable; NAME alone passes our own on.", valueName: "name=value"))
    var environment: [String] = []
    @Option(help: ArgumentHelp("Variables, one NAME=VALUE a line.", valueName: "file")) var envFile: [String] = []
    @Option(help: ArgumentHelp("A root file system instead of the read-only view of /usr.", valueName: "dir"))
    var rootfs: String?
    @Option(
        name: .customLong("in"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A file that is copied in.", valueName: "file[:dst]"), transform: FlagValues.fileIn)
    var filesIn: [SandboxOptions.FileIn] = []
    @Option(
        name: .customLong("out"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A file or directory that is copied out after the run.", valueName: "path[:dest]"),
        transform: FlagValues.fileOut)
    var filesOut: [RunOptions.FileOut] = []
    @Option(
        help: ArgumentHelp("none, loopback or nat (default: the profile's).", valueName: "network"),
        transform: FlagValues.network)
    var net: SpawnRequest.Network?

    @Flag(help: "Show time, memory and output on stderr while it runs, where that is a terminal.") var progress = false
    @Flag(help: "One JSON object on stdout instead of the streams.") var json = false
    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Fail instead of running with one of these layers missing.", valueName: "layer,..."),
        transform: FlagValues.layers)
    var require: [LayerSet] = []
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Seed every known random generator.", valueName: "n"), transform: FlagValues.count)
    var seed: UInt64?
    @Flag(help: "Let the sandbox outlive this command; its id is printed, its streams are closed.") var detach = false

    func validate() throws {
        if interactive && stdin != nil && stdin != "-" { throw ValidationError("-i and --stdin exclude each other") }
        if detach && (json || interactive || tty || stdin != nil || !filesOut.isEmpty) {
            throw ValidationError("--detach leaves nobody to read and write: not with --json, -i, -t, --stdin or --out")
        }
        if progress && tty { throw ValidationError("--progress and -t exclude each other: the terminal is the program's") }
        if let output, output > UInt64(Int.max) { throw ValidationError("--output is too large") }
    }

    func sandbox() throws -> SandboxOptions {
        var options = SandboxOptions()
        options.zygote = zygote
        options.profile = profile
        options.title = title ?? ""
        // One that is none is passed over, as W3C Trace Context has it.
        options.traceparent = DaemonLocator.environment("TRACEPARENT").flatMap { TraceParent($0)?.description }
        options.time = time
        options.cpuTime = cpuTime
        options.memory = memory
        options.pids = pids
        options.cpus = cpus
        options.disk = disk
        options.openFiles = files
        options.network = net
        options.mounts = volumes
        options.temporaryFileSystems = tmpfs
        options.rootFileSystem = rootfs
        options.filesIn = filesIn
        options.workingDirectory = workingDirectory
        // Single variables win over those of files, as everywhere.
        options.terminal = tty ? CallersTerminal.size ?? TerminalSize() : nil
        options.environment =
            (tty ? [(name: "TERM", value: CallersTerminal.kind)] : []) + (try envFile.flatMap(FlagValues.variables(inFile:)) + environment.compactMap(FlagValues.variable))
        options.required = require.reduce([]) { $0.union($1) }
        options.seed = seed
        options.detached = detach
        return options
    }
}

/// Which daemon: every verb has these.
struct DaemonFlags: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The daemon's socket (default: $HATCHERY_SOCKET, /run/hatchery/hatchery.sock, or a private daemon).",
            valueName: "path"))
    var socket: String?
}
