/// Numbers from 0 that are given out and come back. None is given out again before all others were: what a sandbox left under its
/// number should not be met by the next one as its own.
struct SlotQueue {
    /// The first that was never given out, and how many there are.
    private var fresh: UInt32 = 0
    private let count: UInt32
    /// Those that came back, the oldest first.
    private var returned: [UInt32] = []
    private var head = 0

    init(count: UInt32) { self.count = count }

    /// nil where all are in use.
    mutating func take() -> UInt32? {
        if fresh < count {
            defer { fresh += 1 }
            return fresh
        }
        guard head < returned.count else { return nil }
        defer { head += 1 }
        if head > 1024 && head > returned.count / 2 {
            returned.removeFirst(head)
            head = 0
        }
        return returned[head]
    }

    mutating func give(back slot: UInt32) { returned.append(slot) }

    var available: Int { Int(count - fresh) + returned.count - head }
}
