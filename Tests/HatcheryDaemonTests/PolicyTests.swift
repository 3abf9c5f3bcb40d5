import Glibc
import HatcheryProtocol
import Testing

@testable import HatcheryDaemon

@Suite struct WaitingLineTests {
    private func drained(_ line: inout WaitingLine<String>, where passes: (String) -> Bool = { _ in true }) -> [String] {
        var items: [String] = []
        while let next = line.next(where: passes) { items.append(next) }
        return items
    }

    @Test func usersTakeTurnsHoweverManyRequestsOneHas() {
        var line = WaitingLine<String>()
        for number in 1...4 { line.append("a\(number)", for: 1) }
        line.append("b1", for: 2)
        line.append("c1", for: 3)
        line.append("c2", for: 3)
        #expect(drained(&line) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"])
        #expect(line.isEmpty)
    }

    @Test func oneWhoCannotGoHoldsNobodyUpAndKeepsHisTurn() {
        var line = WaitingLine<String>()
        line.append("a1", for: 1)
        line.append("a2", for: 1)
        line.append("b1", for: 2)
        #expect(drained(&line) { !$0.hasPrefix("a") } == ["b1"])
        #expect(line.count == 2)
        line.append("b2", for: 2)
        #expect(line.next { _ in true } == "a1")
    }

    @Test func orderHoldsWithinALaneAlsoWhereALaterOneWouldPass() {
        var line = WaitingLine<String>()
        line.append("large", for: 1)
        line.append("small", for: 1)
        #expect(line.next { $0 == "small" } == nil)
    }

    @Test func whatIsGivenUpLeavesNoTrace() {
        var line = WaitingLine<String>()
        line.append("a1", for: 1)
        line.append("b1", for: 2)
        line.remove(for: 1) { $0 == "a1" }
        line.remove(for: 9) { _ in true }
        #expect(line.count == 1)
        #expect(line.count(of: 1) == 0)
        #expect(line.items == ["b1"])
        #expect(drained(&line) == ["b1"])
    }
}

@Suite struct QuotasTests {
    private func rule(_ change: (inout RuleConfiguration) -> Void) -> RuleConfiguration {
        var rule = RuleConfiguration(name: "test")
        change(&rule)
        return rule
    }

    @Test func aUsersRunningSandboxesAreCounted() {
        let rule = rule { $0.running = 2 }
        var quotas = Quotas()
        for _ in 0..<2 {
            #expect(quotas.hold(7, rule, memoryBytes: 1, now: 0) == nil)
            quotas.take(7, rule, memoryBytes: 1, now: 0)
        }
        #expect(quotas.hold(7, rule, memoryBytes: 1, now: 0) == .userRunning)
        #expect(quotas.hold(8, rule, memoryBytes: 1, now: 0) == nil)
        quotas.giveBack(7, memoryBytes: 1)
        #expect(quotas.hold(7, rule, memoryBytes: 1, now: 0) == nil)
    }

    @Test func aUsersMemoryIsSummedUp() {
        let rule = rule { $0.memory = 100 }
        var quotas = Quotas()
        quotas.take(7, rule, memoryBytes: 60, now: 0)
        #expect(quotas.hold(7, rule, memoryBytes: 41, now: 0) == .userMemory)
        #expect(quotas.hold(7, rule, memoryBytes: 40, now: 0) == nil)
        quotas.giveBack(7, memoryBytes: 60)
        #expect(quotas.hold(7, rule, memoryBytes: 100, now: 0) == nil)
    }

    @Test func theRateCountsAfterTheBurstAndTokensComeBackWithTime() {
        let rule = rule {
            $0.rate = 2
            $0.burst = 3
        }
        var quotas = Quotas()
        for _ in 0..<3 {
            #expect(quotas.hold(7, rule, memoryBytes: 0, now: 1_000) == nil)
            quotas.take(7, rule, memoryBytes: 0, now: 1_000)
            quotas.giveBack(7, memoryBytes: 0)
        }
        #expect(quotas.hold(7, rule, memoryBytes: 0, now: 1_000) == .userRate)
        #expect(quotas.nanosecondsToToken(7, rule, now: 1_000) == 500_000_000)
        #expect(quotas.hold(7, rule, memoryBytes: 0, now: 499_000_000) == .userRate)
        #expect(quotas.hold(7, rule, memoryBytes: 0, now: 500_001_000) == nil)
        // However long he was away, no more than the burst is saved up.
        for _ in 0..<3 {
            quotas.take(7, rule, memoryBytes: 0, now: 3_600_000_000_000)
            quotas.giveBack(7, memoryBytes: 0)
        }
        #expect(quotas.hold(7, rule, memoryBytes: 0, now: 3_600_000_000_000) == .userRate)
    }

    @Test func whoIsDoneIsForgottenWhereManyCome() {
        let rule = RuleConfiguration(name: "test")
        var quotas = Quotas()
        for uid in 0..<5000 {
            quotas.take(uid_t(uid), rule, memoryBytes: 1, now: UInt64(uid) * 1_000_000_000)
            if uid > 0 { quotas.giveBack(uid_t(uid), memoryBytes: 1) }
        }
        #expect(quotas.holders.map(\.uid) == [0])
        #expect(Mirror(reflecting: quotas).children.compactMap { ($0.value as? any Collection)?.count }.max() ?? 0 <= 1100)
    }
}

@Suite struct PeerRulesTests {
    private let rules = try! PeerRules([
        {
            var rule = RuleConfiguration(name: "named")
            rule.users = ["1001", "nobody"]
            return rule
        }(),
        {
            var rule = RuleConfiguration(name: "grouped")
            rule.groups = ["5000"]
            return rule
        }(),
    ])

    @Test func theFirstRuleThatFitsHolds() {
        #expect(rules.rule(for: Peer(uid: 1001, gid: 5000, pid: 1))?.name == "named")
        #expect(rules.rule(for: Peer(uid: 65534, gid: 1, pid: 1))?.name == "named")
        #expect(rules.rule(for: Peer(uid: 1002, gid: 5000, pid: 1))?.name == "grouped")
        #expect(rules.rule(for: Peer(uid: 1002, gid: 1, pid: 1, groups: [3, 5000]))?.name == "grouped")
    }

    @Test func whoFitsNoRuleIsRefused() {
        #expect(rules.rule(for: Peer(uid: 1002, gid: 1, pid: 1, groups: [3])) == nil)
        // Root could write himself a rule.
        #expect(rules.rule(for: Peer(uid: 0, gid: 0, pid: 1))?.name == "root")
    }

    @Test func aRuleWithoutUsersAndGroupsFitsEverybody() throws {
        let rules = try PeerRules([RuleConfiguration(name: "everyone")])
        #expect(rules.rule(for: Peer(uid: 4711, gid: 4711, pid: 1))?.name == "everyone")
    }

    @Test func aUserThatDoesNotExistIsAnError() {
        var rule = RuleConfiguration(name: "r")
        rule.users = ["no-such-user-here"]
        #expect(throws: ConfigurationError(origin: nil, path: "rules.r.users", message: "there is no user 'no-such-user-here'")) {
            try PeerRules([rule])
        }
        rule.users = []
        rule.groups = ["no-such-group-here"]
        #expect(throws: ConfigurationError.self) { try PeerRules([rule]) }
    }

    @Test func whatARuleDoesNotAllowIsNotPermitted() {
        var rule = RuleConfiguration(name: "r")
        rule.zygotes = ["exec"]
        rule.profiles = ["default"]
        rule.memory = 1 << 30
        #expect(throws: Never.self) { try rule.check(zygote: "exec", profile: "default", memoryBytes: 1 << 30) }
        for (zygote, profile, bytes, kind) in [
            ("python", "default", UInt64(1), HatcheryError.Kind.notPermitted), ("exec", "open", 1, .notPermitted),
            ("exec", "default", 1 << 30 + 1, .invalidRequest),
        ] {
            let error = #expect(throws: HatcheryError.self) {
                try rule.check(zygote: zygote, profile: profile, memoryBytes: bytes)
            }
            #expect(error?.kind == kind)
        }
    }

    @Test func aRuleThatNamesWhatDoesNotExistIsAnError() {
        let yaml = "rules:\n- {name: r, zygotes: [exce]}"
        let error = ConfigurationErrorTests.refusal(of: yaml)
        #expect(error?.description == "h.yaml:2:22: rules.r.zygotes: there is no zygote 'exce'; did you mean 'exec'?")
        #expect(ConfigurationErrorTests.refusal(of: "rules:\n- {name: r, profiles: [x]}")?.path == "rules.r.profiles")
    }
}

@Suite struct MachineMemoryTests {
    @Test func availableMemoryIsReadFromMeminfo() {
        #expect(MachineMemory.parse("MemTotal:  100 kB\nMemFree: 5 kB\nMemAvailable:   12345678 kB\n") == 12_345_678 * 1024)
        #expect(MachineMemory.parse("MemTotal:  100 kB\n") == nil)
        var memory = MachineMemory()
        #expect(memory.available(now: 0) ?? 0 > 0)
    }
}
