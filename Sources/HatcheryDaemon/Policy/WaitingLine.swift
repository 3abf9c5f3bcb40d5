import Glibc

/// What waits, in one lane for each user. Lanes take turns, so that who asks a thousand times waits behind himself.
struct WaitingLine<Item> {
    private var lanes: [uid_t: [Item]] = [:]
    /// The lanes that have something, in the order of their turns.
    private var turns: [uid_t] = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    func count(of uid: uid_t) -> Int { lanes[uid]?.count ?? 0 }

    mutating func append(_ item: Item, for uid: uid_t) {
        if lanes[uid, default: []].isEmpty { turns.append(uid) }
        lanes[uid, default: []].append(item)
        count += 1
    }

    /// The next item that may go: the first of a lane, of the lane whose turn comes first among those whose first item
    /// passes. Its lane goes to the end of the turns. A lane whose first item cannot go is passed over and keeps its turn.
    mutating func next(where passes: (Item) -> Bool) -> Item? {
        guard let index = turns.firstIndex(where: { passes(lanes[$0]![0]) }) else { return nil }
        let uid = turns.remove(at: index)
        let item = lanes[uid]!.removeFirst()
        count -= 1
        if lanes[uid]!.isEmpty { lanes[uid] = nil } else { turns.append(uid) }
        return item
    }

    /// Takes out what will not be wanted any more.
    mutating func remove(for uid: uid_t, where isGone: (Item) -> Bool) {
        guard var lane = lanes[uid] else { return }
        lane.removeAll(where: isGone)
        count -= lanes[uid]!.count - lane.count
        if lane.isEmpty {
            lanes[uid] = nil
            turns.removeAll { $0 == uid }
        } else {
            lanes[uid] = lane
        }
    }

    /// Everything, in the order of arrival within each lane.
    var items: [Item] { turns.flatMap { lanes[$0] ?? [] } }
}
