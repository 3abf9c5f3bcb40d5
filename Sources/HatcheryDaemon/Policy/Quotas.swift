import Glibc
import HatcheryProtocol

/// Why a request has to wait. The words are labels of the metrics.
enum Hold: String, CaseIterable, Sendable {
    /// The user's own quota.
    case userRunning = "user_running"
    case userRate = "user_rate"
    case userMemory = "user_memory"
    /// What the daemon takes on.
    case running
    case starting
    case ids
    case memory

    /// Of whom or what there is too much, and the key that says so.
    func words(_ rule: RuleConfiguration) -> String {
        switch self {
        case .userRunning: "this user has \(rule.running) sandboxes alive (rules.\(rule.name).running)"
        case .userRate: "this user spawns faster than allowed (rules.\(rule.name).rate)"
        case .userMemory: "this user's sandboxes have the memory that is allowed in sum (rules.\(rule.name).memory)"
        case .running: "as many sandboxes are alive as the daemon takes on (policy.running)"
        case .starting: "as many sandboxes are being set up as the daemon takes on (policy.starting)"
        case .ids: "every id of the configured range is in use (ids.count)"
        case .memory: "the machine has too little memory left (policy.memory)"
        }
    }
}

/// What each user has of what is counted. Pure: the time comes from outside.
struct Quotas {
    private struct Account {
        var running: UInt32 = 0
        var memoryBytes: UInt64 = 0
        /// Spawns that may begin now, as of `refilledAt`.
        var tokens: Double
        var refilledAt: UInt64
    }

    private var accounts: [uid_t: Account] = [:]
    /// Accounts that are as good as new are dropped when there are so many.
    private static let sweepAbove = 1024

    /// Why this user has to wait, or nil.
    mutating func hold(_ uid: uid_t, _ rule: RuleConfiguration, memoryBytes: UInt64, now: UInt64) -> Hold? {
        guard let account = refilled(uid, rule, now) else { return nil }
        if account.running >= rule.running { return .userRunning }
        if let most = rule.memory, account.memoryBytes + memoryBytes > most { return .userMemory }
        return rule.rate != nil && account.tokens < 1 ? .userRate : nil
    }

    /// When the next spawn is allowed, as far as the rate goes.
    mutating func nanosecondsToToken(_ uid: uid_t, _ rule: RuleConfiguration, now: UInt64) -> UInt64 {
        guard let rate = rule.rate, let account = refilled(uid, rule, now), account.tokens < 1 else { return 0 }
        return UInt64(((1 - account.tokens) / rate * 1e9).rounded(.up))
    }

    mutating func take(_ uid: uid_t, _ rule: RuleConfiguration, memoryBytes: UInt64, now: UInt64) {
        if accounts.count > Quotas.sweepAbove { sweep() }
        var account = refilled(uid, rule, now) ?? Account(tokens: Double(rule.burst), refilledAt: now)
        account.running += 1
        account.memoryBytes += memoryBytes
        if rule.rate != nil { account.tokens -= 1 }
        accounts[uid] = account
    }

    mutating func giveBack(_ uid: uid_t, memoryBytes: UInt64) {
        guard var account = accounts[uid] else { return }
        account.running -= 1
        account.memoryBytes -= memoryBytes
        accounts[uid] = account
    }

    /// The uids that have something alive, for the operator.
    var holders: [(uid: uid_t, running: UInt32, memoryBytes: UInt64)] {
        accounts.filter { $0.value.running > 0 }.sorted { $0.key < $1.key }.map { ($0.key, $0.value.running, $0.value.memoryBytes) }
    }

    private mutating func refilled(_ uid: uid_t, _ rule: RuleConfiguration, _ now: UInt64) -> Account? {
        guard var account = accounts[uid] else { return nil }
        if let rate = rule.rate {
            let grown = account.tokens + Double(now - account.refilledAt) / 1e9 * rate
            account.tokens = min(grown, Double(rule.burst))
        }
        account.refilledAt = now
        accounts[uid] = account
        return account
    }

    /// An account without sandboxes whose tokens are a minute old is full enough to be forgotten; a rate so small that a
    /// minute does not fill it loses a part of its memory only where more than a thousand users come.
    private mutating func sweep() {
        guard let latest = accounts.values.map(\.refilledAt).max() else { return }
        accounts = accounts.filter { $0.value.running > 0 || latest - $0.value.refilledAt < 60_000_000_000 }
    }
}
