import Glibc
import HatcheryProtocol

/// The rules of the configuration with their names resolved to ids, and which of them holds for whom.
struct PeerRules: Sendable {
    private struct Resolved: Sendable {
        var rule: RuleConfiguration
        var users: Set<uid_t>
        var groups: Set<gid_t>

        func fits(_ peer: Peer) -> Bool {
            if rule.users.isEmpty && rule.groups.isEmpty { return true }
            return users.contains(peer.uid) || groups.contains(peer.gid) || peer.groups.contains(where: groups.contains)
        }
    }

    private let rules: [Resolved]
    /// Root needs no rule: who can change the daemon's configuration can give himself one.
    private static let root = RuleConfiguration(name: "root")

    /// - Throws: where a user or a group does not exist: a rule that fits nobody by mistake must not go unnoticed.
    init(_ configuration: [RuleConfiguration]) throws(ConfigurationError) {
        var rules: [Resolved] = []
        for rule in configuration {
            var users: Set<uid_t> = []
            for name in rule.users {
                guard let id = uid_t(name) ?? getpwnam(name)?.pointee.pw_uid else {
                    throw ConfigurationError(origin: nil, path: "rules.\(rule.name).users", message: "there is no user '\(name)'")
                }
                users.insert(id)
            }
            var groups: Set<gid_t> = []
            for name in rule.groups {
                guard let id = gid_t(name) ?? getgrnam(name)?.pointee.gr_gid else {
                    throw ConfigurationError(
                        origin: nil, path: "rules.\(rule.name).groups", message: "there is no group '\(name)'")
                }
                groups.insert(id)
            }
            rules.append(Resolved(rule: rule, users: users, groups: groups))
        }
        self.rules = rules
    }

    /// SECURITY: the first rule that fits decides, and who fits none is refused. Test: whoFitsNoRuleIsRefused.
    func rule(for peer: Peer) -> RuleConfiguration? {
        rules.first { $0.fits(peer) }?.rule ?? (peer.uid == 0 ? PeerRules.root : nil)
    }
}

extension RuleConfiguration {
    /// Whether a request may have its profile and zygote at all, and fits the quota where it is alone.
    func check(zygote: String, profile: String, memoryBytes: UInt64) throws(HatcheryError) {
        try check("zygote", zygote, in: zygotes)
        try check("profile", profile, in: profiles)
        if let memory, memoryBytes > memory {
            throw HatcheryError(
                .invalidRequest, side: .front, step: .admit,
                detail: "memory is above what one user may have in sum (rules.\(name).memory)",
                hint: "ask for at most \(ByteSize.format(memory)) by --memory")
        }
    }

    private func check(_ kind: String, _ asked: String, in allowed: [String]) throws(HatcheryError) {
        guard !allowed.isEmpty, !allowed.contains(asked) else { return }
        throw HatcheryError(
            .notPermitted, side: .front, step: .admit, detail: "rule \"\(name)\" does not allow \(kind) \"\(asked)\"",
            hint: "allowed: \(allowed.joined(separator: ", "))")
    }
}
