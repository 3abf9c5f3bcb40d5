import Glibc

/// How much of one turn of the loop each user's messages may take. A message costs some microseconds, or milliseconds where a launch
/// plan of 32 MiB comes with it; who has a thousand connections could have each of them bring sixteen.
struct TurnBudget {
    /// Whoever has used up so much is read from again in the next turn.
    static let nanoseconds: UInt64 = 5_000_000

    private var turn: UInt64 = 0
    private var spent: [uid_t: UInt64] = [:]

    mutating func isLeft(for user: uid_t, in turn: UInt64) -> Bool {
        if turn != self.turn {
            self.turn = turn
            spent.removeAll(keepingCapacity: true)
        }
        return spent[user, default: 0] < TurnBudget.nanoseconds
    }

    mutating func spend(_ nanoseconds: UInt64, of user: uid_t) { spent[user, default: 0] += nanoseconds }
}
