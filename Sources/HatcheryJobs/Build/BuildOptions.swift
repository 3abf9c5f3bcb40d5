import HatcheryProtocol

/// One run of a build.
public struct BuildOptions: Sendable, Hashable {
    /// A file or directory of the work directory that is brought out at the end.
    public struct Output: Sendable, Hashable {
        public var path: String
        public var destination: String

        public init(_ path: String, to destination: String) {
            self.path = path
            self.destination = destination
        }
    }

    /// The directory whose copy is the work directory.
    public var repository: String
    /// `.staging` or `.production`; nil leaves both sections out.
    public var stage: BuildPhase?
    /// Only these phases; empty means all.
    public var only: Set<BuildPhase> = []
    public var pullRequest = PullRequest()
    /// Whether what the phases leave is written back to the repository. `.git` is never touched.
    public var isInPlace = false
    public var outputs: [Output] = []
    /// `hatchery-steps`, which runs inside.
    public var stepsProgram: String
    /// Bytes of each stream of each step that are passed on.
    public var outputLimit: UInt64 = 10 << 20
    /// Bytes of each stream of each step that the report keeps: the last ones.
    public var reportLimit = 64 << 10
    /// Variables of the caller, for secrets by name. Nothing else of it is used.
    public var callersEnvironment: [String: String] = [:]
    /// On whose behalf this is, for the audit; nil is this process's own user.
    public var user: String?
    /// Layers without which nothing runs.
    public var required: LayerSet = []

    public init(repository: String, stepsProgram: String) {
        self.repository = repository
        self.stepsProgram = stepsProgram
    }
}

/// The pull request that a build is for: variables of every command.
public struct PullRequest: Sendable, Hashable {
    public var owner: String?
    public var repository: String?
    public var commit: String?
    public var commitCount: UInt64?

    public init() {}

    package func variables(stage: BuildPhase?) -> [(name: String, value: String)] {
        [
            ("FORGE_OWNER", owner), ("FORGE_REPOSITORY", repository), ("FORGE_COMMIT", commit),
            ("FORGE_COMMIT_COUNT", commitCount.map { "\($0)" }), ("FORGE_STAGE", stage?.rawValue),
        ].compactMap { name, value in value.map { (name, $0) } }
    }
}

/// What happens during a build, as it happens.
public enum BuildEvent: Sendable, Hashable {
    case phaseStarted(BuildPhase)
    case stepStarted(BuildReport.Step, of: Int)
    case serviceReady(BuildReport.Step)
    /// Secrets are masked.
    case output(BuildReport.Step, isStderr: Bool, [UInt8])
    case stepEnded(BuildReport.Step)
    case phaseEnded(BuildReport.Phase)
}
