import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Whose ids the sandboxes of this daemon get.
public enum Identity: Sendable, Hashable {
    /// Real root: ids from a configured range of the host.
    case root(base: UInt32, count: UInt32)
    /// An ordinary user inside a user namespace of its own, with a range lent by /etc/subuid and /etc/subgid.
    case lentRange(count: UInt32)
    /// An ordinary user inside a user namespace that maps one id.
    case singleID

    /// Lines of uid_map and gid_map of the zygotes' base namespace, as this process counts.
    var baseMap: String {
        switch self {
        case .root(let base, let count): "0 \(base) \(count)\n"
        // Id 0 here is the user's own; sandboxes get lent ids only.
        case .lentRange(let count): "0 1 \(count)\n"
        // Not as 0: a map of the parent's id 0 wants CAP_SETFCAP (verify_root_map in kernel/user_namespace.c), which a
        // zygote does not have when it maps its children.
        case .singleID: "\(Identity.zygoteID) 0 1\n"
        }
    }

    /// The number of ids in the base namespace.
    var baseCount: UInt32 {
        switch self {
        case .root(_, let count), .lentRange(let count): count
        case .singleID: 1
        }
    }

    /// An id of the base namespace as this process counts.
    func local(_ id: UInt32) -> UInt32 {
        switch self {
        case .root(let base, _): base + id
        case .lentRange: 1 + id
        case .singleID: 0
        }
    }

    /// Whether a client of that uid may read what sandboxes own without more ado: root on the host's own ids, or a user whose one
    /// id the sandboxes share. In a user namespace 0 is an ordinary user outside.
    func lets(clientUID: uid_t) -> Bool {
        switch self {
        case .root: clientUID == 0
        case .lentRange: false
        case .singleID: true
        }
    }

    /// Whether users beside the daemon's own may ask (`Front.mayUse`).
    var servesOthers: Bool { if case .root = self { true } else { false } }

    /// Whether every sandbox gets ids of its own.
    var isDistinct: Bool { self != .singleID }

    /// The id that zygotes run as in their base namespace; in a single-id map, that of the sandboxes too.
    static let zygoteID: UInt32 = 1
}

/// Hands out the two outer ids of each sandbox: one for its init, one for its payload. A file or key that a sandbox left
/// somewhere should not be met by the next one as its own, so ids come round late (`SlotQueue`).
final class IDPool {
    struct Pair: Hashable {
        var initID: UInt32
        var payloadID: UInt32
    }

    /// Ids below are the zygotes' own.
    static let firstID: UInt32 = 16

    private var slots: SlotQueue

    init(_ identity: Identity) {
        slots = SlotQueue(count: identity.baseCount > IDPool.firstID ? (identity.baseCount - IDPool.firstID) / 2 : 0)
    }

    /// nil where all are in use.
    func take() -> Pair? {
        slots.take().map { Pair(initID: IDPool.firstID + 2 * $0, payloadID: IDPool.firstID + 2 * $0 + 1) }
    }

    func give(back pair: Pair) { slots.give(back: (pair.initID - IDPool.firstID) / 2) }

    var available: Int { slots.available }
}
