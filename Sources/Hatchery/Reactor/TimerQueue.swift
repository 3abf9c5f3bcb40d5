/// Deadlines in order. A sorted array, the latest first: taking the earliest is cheap, and a cancelled one is gone at once, so
/// a million runs that end early leave nothing behind.
struct TimerQueue {
    struct Key: Hashable, Comparable, Sendable {
        let deadline: UInt64
        let number: UInt64

        static func < (left: Key, right: Key) -> Bool {
            left.deadline == right.deadline ? left.number < right.number : left.deadline < right.deadline
        }
    }

    private var entries: [(key: Key, action: @Sendable () -> Void)] = []
    private var nextNumber: UInt64 = 0

    var first: Key? { entries.last?.key }

    mutating func insert(deadline: UInt64, _ action: @escaping @Sendable () -> Void) -> Key {
        let key = Key(deadline: deadline, number: nextNumber)
        nextNumber += 1
        entries.insert((key, action), at: index(of: key))
        return key
    }

    mutating func remove(_ key: Key) {
        let index = index(of: key)
        if index < entries.count, entries[index].key == key { entries.remove(at: index) }
    }

    mutating func popDue(now: UInt64) -> (@Sendable () -> Void)? {
        guard let last = entries.last, last.key.deadline <= now else { return nil }
        return entries.removeLast().action
    }

    /// Where a key is or would be, by bisection.
    private func index(of key: Key) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].key > key { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
