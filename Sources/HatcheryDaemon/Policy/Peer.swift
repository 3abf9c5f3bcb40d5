import CHatchery
import Glibc
import HatcherySystem

/// Who is at the other end of a connection, as the kernel tells it: the ids at the moment of connect(2).
struct Peer: Sendable, Hashable {
    var uid: uid_t
    var gid: gid_t
    var pid: pid_t
    /// The supplementary groups.
    var groups: [gid_t] = []

    init(uid: uid_t, gid: gid_t, pid: pid_t, groups: [gid_t] = []) {
        self.uid = uid
        self.gid = gid
        self.pid = pid
        self.groups = groups
    }

    init(_ socket: Int32) throws(SystemError) {
        let peer = try MessageSocket.peer(socket)
        self.init(uid: peer.uid, gid: peer.gid, pid: peer.pid, groups: Peer.groups(socket))
    }

    /// SO_PEERGROUPS, unix(7) since Linux 4.13. Where they cannot be read there are none, and a rule for a group does not fit.
    private static func groups(_ socket: Int32) -> [gid_t] {
        var groups = [gid_t](repeating: 0, count: 64)
        var length = socklen_t(groups.count * MemoryLayout<gid_t>.stride)
        var result = hatchery_peer_groups(socket, &groups, &length)
        if result == -ERANGE {
            // The kernel told how much room it takes (at most 65,536 groups, NGROUPS_MAX).
            groups = [gid_t](repeating: 0, count: Int(length) / MemoryLayout<gid_t>.stride)
            result = hatchery_peer_groups(socket, &groups, &length)
        }
        return result == 0 ? Array(groups.prefix(Int(length) / MemoryLayout<gid_t>.stride)) : []
    }
}
