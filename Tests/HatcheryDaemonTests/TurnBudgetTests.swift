import Testing

@testable import HatcheryDaemon

@Suite struct TurnBudgetTests {
    @Test func oneUsersMessagesEndWithTheirShareOfATurn() {
        var budget = TurnBudget()
        func isLeft(for user: UInt32, in turn: UInt64) -> Bool { budget.isLeft(for: user, in: turn) }
        for _ in 0..<5 {
            #expect(isLeft(for: 1, in: 7))
            budget.spend(TurnBudget.nanoseconds / 5, of: 1)
        }
        #expect(!isLeft(for: 1, in: 7))
        // Another user has a share of his own, and the next turn is everybody's.
        #expect(isLeft(for: 2, in: 7))
        #expect(isLeft(for: 1, in: 8))
    }
}
