import Synchronization

/// Descriptors that make the daemon faster and that it can do without. They have a share of what the host allows, so that the number of
/// sandboxes that may live is bounded by what each of them needs.
final class SpareDescriptors: Sendable {
    /// One part in so many of RLIMIT_NOFILE.
    static let share = 8

    private let most: Int
    private let taken = Atomic<Int>(0)

    init(most: Int) { self.most = most }

    /// A share of what this process may open at this moment.
    convenience init() { self.init(most: Int(clamping: ProcessCounts.mostDescriptors) / SpareDescriptors.share) }

    /// Whether so many may be opened now. Who got a yes gives them back when they are closed.
    func take(_ count: Int) -> Bool {
        if taken.wrappingAdd(count, ordering: .relaxed).newValue <= most { return true }
        give(back: count)
        return false
    }

    func give(back count: Int) { taken.wrappingSubtract(count, ordering: .relaxed) }
}
