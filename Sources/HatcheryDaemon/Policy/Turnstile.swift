import Glibc
import HatcheryProtocol
import HatcherySystem

/// Decides when a request that was admitted begins: at once where there is room, in its turn where there is not, never where
/// too many wait already.
///
/// A request that can never begin is refused before it comes here. What each user has, and whose turn it is, are values
/// without input or output: `Quotas`, `WaitingLine`.
final class Turnstile {
    /// While something waits: tokens, memory and ids come back without telling anybody.
    static let lookNanoseconds: UInt64 = 25_000_000
    /// The shortest and the longest advice to come back.
    static let shortestAdvice: UInt64 = 50_000_000
    static let longestAdvice: UInt64 = 60_000_000_000

    private struct Ticket {
        var uid: uid_t
        var memoryBytes: UInt64
        var isStarting: Bool
    }

    private struct Waiting {
        let sandbox: Sandbox
        let rule: RuleConfiguration
        let since: UInt64
    }

    private unowned let front: Front
    private var quotas = Quotas()
    private var line = WaitingLine<Waiting>()
    private var tickets: [String: Ticket] = [:]
    private(set) var starting = 0
    private var startingOf: [uid_t: Int] = [:]
    private var promisedBytes: UInt64 = 0
    private var memory = MachineMemory()
    private var timer: EventLoop.Timer?
    /// A moving average of the time between two that left the line, for the advice to who is refused.
    private var pace: UInt64 = 0
    private var lastLeft: UInt64 = 0

    init(front: Front) { self.front = front }

    private var policy: PolicyConfiguration { front.configuration.policy }

    var depth: Int { line.count }
    var holders: [(uid: uid_t, running: UInt32, memoryBytes: UInt64)] { quotas.holders }

    // MARK: Coming

    /// - Throws: `overloaded`, with the time after which asking again makes sense.
    func arrive(_ sandbox: Sandbox, _ rule: RuleConfiguration) throws(HatcheryError) {
        let now = MonotonicClock.now()
        let uid = sandbox.client.uid
        // Who waits already has the earlier turn, also where this one would pass.
        guard let hold = hold(sandbox, rule, now) ?? (line.count(of: uid) > 0 ? .starting : nil) else {
            enter(sandbox, rule, now)
            return
        }
        front.metrics.holds[hold, default: 0] += 1
        guard policy.queue.wait > .zero, line.count < policy.queue.total, line.count(of: uid) < policy.queue.perUser else {
            throw refusal(sandbox, rule, hold, now, "\(line.count) requests wait already")
        }
        line.append(Waiting(sandbox: sandbox, rule: rule, since: now), for: uid)
        schedule()
    }

    private func enter(_ sandbox: Sandbox, _ rule: RuleConfiguration, _ now: UInt64) {
        let bytes = sandbox.granted.limits.memoryBytes
        quotas.take(sandbox.client.uid, rule, memoryBytes: bytes, now: now)
        promisedBytes += bytes
        // One whose zygote is still starting waits there, and holds no place of those that are being set up.
        let isStarting = sandbox.zygote.state == .ready
        if isStarting {
            starting += 1
            startingOf[sandbox.client.uid, default: 0] += 1
        }
        tickets[sandbox.id] = Ticket(uid: sandbox.client.uid, memoryBytes: bytes, isStarting: isStarting)
        front.proceed(sandbox)
    }

    /// Why it cannot begin now.
    private func hold(_ sandbox: Sandbox, _ rule: RuleConfiguration, _ now: UInt64) -> Hold? {
        let bytes = sandbox.granted.limits.memoryBytes
        if let hold = quotas.hold(sandbox.client.uid, rule, memoryBytes: bytes, now: now) { return hold }
        if tickets.count >= policy.running { return .running }
        if sandbox.zygote.state == .ready && (starting >= policy.starting || startingOf[sandbox.client.uid, default: 0] >= share) {
            return .starting
        }
        if front.identity.isDistinct && front.ids.available == 0 && (sandbox.zygote.nursery?.depth ?? 0) == 0 { return .ids }
        return hasMemory(for: bytes, now) ? nil : .memory
    }

    /// SECURITY: how many of one user are set up at once. Setting up may wait for what the user sends, such as a file of a file system
    /// that nobody answers for; whoever could take all places that way would keep everybody else out. Test:
    /// test_a_hanging_file_system_holds_up_nobody_else.
    private var share: Int { front.identity.servesOthers ? (Int(policy.starting) + 1) / 2 : Int(policy.starting) }

    private func hasMemory(for bytes: UInt64, _ now: UInt64) -> Bool {
        let reserve = policy.memory.reserve
        guard reserve > 0 || !policy.memory.overcommit, let available = memory.available(now: now) else { return true }
        let (taken, overflow) = policy.memory.overcommit ? (0, false) : promisedBytes.addingReportingOverflow(bytes)
        return !overflow && available >= taken && available - taken >= reserve
    }

    // MARK: Going

    /// The program runs, or never will.
    func settled(_ sandbox: Sandbox) {
        guard let ticket = tickets[sandbox.id], ticket.isStarting else { return }
        tickets[sandbox.id]?.isStarting = false
        noLongerStarting(ticket.uid)
        if !line.isEmpty { advance() }
    }

    /// Nothing is left of it, or it was given up while it waited.
    func left(_ sandbox: Sandbox) {
        guard let ticket = tickets.removeValue(forKey: sandbox.id) else {
            line.remove(for: sandbox.client.uid) { $0.sandbox === sandbox }
            return
        }
        if ticket.isStarting { noLongerStarting(ticket.uid) }
        promisedBytes -= ticket.memoryBytes
        quotas.giveBack(ticket.uid, memoryBytes: ticket.memoryBytes)
        if !line.isEmpty { advance() }
    }

    private func noLongerStarting(_ uid: uid_t) {
        starting -= 1
        let left = startingOf[uid, default: 1] - 1
        startingOf[uid] = left > 0 ? left : nil
    }

    // MARK: Waiting

    private func schedule() {
        guard timer == nil, !line.isEmpty else { return }
        timer = front.loop.after(nanoseconds: Turnstile.lookNanoseconds) { [weak self] in
            self?.timer = nil
            self?.advance()
            self?.refuseOverdue()
            self?.schedule()
        }
    }

    private func advance() {
        let now = MonotonicClock.now()
        while let next = line.next(where: { hold($0.sandbox, $0.rule, now) == nil }) {
            let gap = lastLeft == 0 ? 0 : now - lastLeft
            pace = (pace * 7 + gap) / 8
            lastLeft = now
            front.metrics.queueSeconds.observe(Double(now - next.since) / 1e9)
            enter(next.sandbox, next.rule, now)
        }
    }

    private func refuseOverdue() {
        let now = MonotonicClock.now()
        let limit = policy.queue.wait.nanoseconds
        for waiting in line.items where now - waiting.since >= limit {
            let hold = hold(waiting.sandbox, waiting.rule, now) ?? .starting
            // It leaves the line by being forgotten.
            waiting.sandbox.abort(refusal(waiting.sandbox, waiting.rule, hold, now, "it waited \(policy.queue.wait)"))
        }
    }

    private func refusal(
        _ sandbox: Sandbox, _ rule: RuleConfiguration, _ hold: Hold, _ now: UInt64, _ remark: String
    ) -> HatcheryError {
        let uid = sandbox.client.uid
        let turn = max(pace, 1_000_000) * UInt64(line.count + 1)
        let token = quotas.nanosecondsToToken(uid, rule, now: now)
        let advice = min(max(turn, token, Turnstile.shortestAdvice), Turnstile.longestAdvice)
        return HatcheryError(
            .overloaded, side: .front, step: .admit, detail: "\(hold.words(rule)); \(remark)",
            retryAfterNanoseconds: advice)
    }
}
