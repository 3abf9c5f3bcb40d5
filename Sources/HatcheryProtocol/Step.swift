/// The numbered steps of a spawn. Docs/LifeOfASpawn.md tells what each does and why it stands where it stands; the same
/// numbers stand in the code. A number is never reused for another step.
public enum Step: UInt16, CaseIterable, Sendable, Hashable {
    // The front, before anything is cloned.
    case admit = 1
    case descriptors = 2
    // The zygote, while the child waits.
    case clone = 3
    case idMaps = 4
    // The front again, while the child waits, where a network is wanted.
    case attachNetwork = 41
    // The child's init (process 1 of the sandbox).
    case awaitSetup = 5
    case resetSignals = 6
    case becomeSandboxRoot = 7
    case hostname = 8
    case privateMounts = 9
    case rootFileSystem = 10
    case proc = 11
    case scratch = 12
    case extraMounts = 13
    case pivotRoot = 14
    case loopback = 15
    case configureNetwork = 42
    case forkPayload = 16
    // The payload (process 2), while it is still our code. Up to 27 nothing of a request is known.
    case session = 17
    case groups = 18
    case gid = 19
    case uid = 20
    case securebits = 21
    case boundingSet = 22
    case capabilities = 23
    case noNewPrivileges = 24
    case landlock = 25
    case seccomp = 26
    case preparePayload = 27
    case awaitLaunch = 28
    case readLaunch = 29
    case standardStreams = 30
    case copyIn = 31
    case workingDirectory = 32
    case resourceLimits = 33
    case closeDescriptors = 34
    case processTitle = 35
    case main = 36
    // The init again, beside step 8.
    case cgroupNamespace = 40
    // The init's own seal, after the payload exists.
    case sealInit = 37
    // The payload again, right before its program starts.
    case requiredLayers = 38
    // The init again, after the extra mounts, where a terminal is wanted.
    case terminal = 39
    // Not a step of set-up: the payload is ready, and its own code runs next.
    case ready = 100

    /// What the step does, as the message of an error says it.
    public var name: String {
        switch self {
        case .admit: "admit the request"
        case .descriptors: "make descriptors"
        case .clone: "clone"
        case .idMaps: "write id maps"
        case .awaitSetup: "wait for the set-up order"
        case .resetSignals: "reset signals and process state"
        case .becomeSandboxRoot: "take the ids of the sandbox's root"
        case .hostname: "set the host name"
        case .cgroupNamespace: "enter a cgroup namespace"
        case .privateMounts: "make mounts private"
        case .rootFileSystem: "build the root file system"
        case .proc: "mount /proc"
        case .scratch: "mount the scratch space"
        case .extraMounts: "attach mounts"
        case .pivotRoot: "change the root"
        case .loopback: "bring up loopback"
        case .attachNetwork: "attach the network"
        case .configureNetwork: "configure the network"
        case .forkPayload: "fork the payload"
        case .session: "start a session"
        case .preparePayload: "prepare the payload"
        case .awaitLaunch: "wait for the launch order"
        case .readLaunch: "read the launch plan"
        case .standardStreams: "connect the standard streams"
        case .copyIn: "copy files in"
        case .groups: "empty the groups"
        case .gid: "set the group id"
        case .uid: "set the user id"
        case .workingDirectory: "enter the working directory"
        case .resourceLimits: "set resource limits"
        case .securebits: "lock the securebits"
        case .boundingSet: "drop the bounding set"
        case .capabilities: "drop capabilities"
        case .landlock: "apply Landlock"
        case .closeDescriptors: "close descriptors"
        case .noNewPrivileges: "set no_new_privs"
        case .seccomp: "load the seccomp filter"
        case .processTitle: "set the process title"
        case .main: "start the program"
        case .sealInit: "seal the init"
        case .requiredLayers: "check the required layers"
        case .terminal: "open the terminal"
        case .ready: "ready"
        }
    }

    /// Which process takes the step.
    public var side: Side {
        switch self {
        case .admit, .descriptors, .attachNetwork: .front
        case .clone, .idMaps: .zygote
        default: .child
        }
    }
}

/// Where something happened.
public enum Side: UInt8, Sendable, Hashable {
    case client = 0
    case front = 1
    case zygote = 2
    case child = 3

    public var name: String {
        switch self {
        case .client: "client"
        case .front: "front"
        case .zygote: "zygote"
        case .child: "child"
        }
    }
}
