/// What the audit of a preload may find. The names are those of the configuration and of zygote.py.
public enum AuditKind: String, Sendable, Hashable, CaseIterable {
    /// Closed in every child before its program starts: told, and no reason to refuse.
    case descriptor, socket
    /// One child would see what another one writes: refused unless allowed.
    case sharedMemory = "shared_memory"
    /// A child can read the memory of the preload: refused unless allowed.
    case secret = "secrets"

    public var isRefused: Bool { self == .sharedMemory || self == .secret }

    /// Why, and how to mend it.
    public var advice: String {
        switch self {
        case .descriptor, .socket: "children find it closed"
        case .sharedMemory:
            "what one child writes there every other one would read; make it in the child, or accept it by `allow: [shared_memory]`"
        case .secret:
            "every child can read the memory of its zygote; leave it out, or accept it by `allow: [secrets]`"
        }
    }
}
