/// One defence of a sandbox. The names are the contract of `receipt` and of `--require`.
///
/// The raw value is the layer's bit in a `LayerSet`; bits are never reused.
public enum Layer: UInt8, CaseIterable, Sendable, Hashable {
    case userns = 0
    case pidns = 1
    case mountns = 2
    case netns = 3
    case ipcns = 4
    case utsns = 5
    case cgroupns = 6
    case root = 7
    case idmap = 8
    case distinctUID = 9
    case caps = 10
    case securebits = 11
    case noNewPrivs = 12
    case seccomp = 13
    case landlock = 14
    case cgroup = 15
    case rlimits = 16
    case fds = 17
    case proc = 18

    /// The name that users write and read.
    public var name: String {
        switch self {
        case .userns: "userns"
        case .pidns: "pidns"
        case .mountns: "mountns"
        case .netns: "netns"
        case .ipcns: "ipcns"
        case .utsns: "utsns"
        case .cgroupns: "cgroupns"
        case .root: "root"
        case .idmap: "idmap"
        case .distinctUID: "distinct_uid"
        case .caps: "caps"
        case .securebits: "securebits"
        case .noNewPrivs: "no_new_privs"
        case .seccomp: "seccomp"
        case .landlock: "landlock"
        case .cgroup: "cgroup"
        case .rlimits: "rlimits"
        case .fds: "fds"
        case .proc: "proc"
        }
    }

    public init?(name: String) {
        guard let match = Layer.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}

/// A set of layers in one machine word: it crosses every process boundary of a spawn unchanged.
public struct LayerSet: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(_ layer: Layer) { self.rawValue = 1 << UInt32(layer.rawValue) }

    public static let all = LayerSet(rawValue: (1 << UInt32(Layer.allCases.count)) - 1)

    public func contains(_ layer: Layer) -> Bool { contains(LayerSet(layer)) }

    public mutating func insert(_ layer: Layer) { formUnion(LayerSet(layer)) }

    public mutating func remove(_ layer: Layer) { subtract(LayerSet(layer)) }

    /// The layers of this set in the order of the contract.
    public var layers: [Layer] { Layer.allCases.filter { contains($0) } }
}

/// What protected one child: in every result.
public struct Receipt: Sendable, Hashable {
    /// A layer that was not active, and why.
    public struct Missing: Sendable, Hashable {
        public var layer: Layer
        public var why: String

        public init(layer: Layer, why: String) {
            self.layer = layer
            self.why = why
        }
    }

    public var active: LayerSet
    public var missing: [Missing]

    public init(active: LayerSet = [], missing: [Missing] = []) {
        self.active = active
        self.missing = missing
    }
}
