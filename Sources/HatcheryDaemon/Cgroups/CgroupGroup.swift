import HatcherySystem

/// Sandboxes that are watched together: one look at what all of them used says whether any of them ran.
///
/// Where no controller is to be had, the daemon looks at sandboxes by itself, many times a second. Thousands that wait for something
/// would take a good part of a processor; by groups they take one file for some dozens of them.
final class CgroupGroup {
    /// Few enough that one busy sandbox does not have many looked at, and many enough to make thousands cheap.
    static let size: UInt64 = 64

    private let nest: CgroupDirectory
    private let name: Substring
    private let loop: EventLoop
    /// What was used when the waiting ones were looked at last, or earlier.
    private var seen: UInt64?
    private var waiting: [() -> Void] = []
    private var isTicking = false

    /// - Parameter name: of the cgroup in the nest that the group's are in.
    init(_ name: Substring, in nest: CgroupDirectory, loop: EventLoop) {
        self.name = name
        self.nest = nest
        self.loop = loop
    }

    /// Calls once, and not before an interval has passed, when something in the group may have run since the caller looked.
    func whenSomethingRan(_ call: @escaping () -> Void) {
        waiting.append(call)
        if !isTicking { schedule() }
    }

    private func schedule() {
        isTicking = true
        loop.after(nanoseconds: ResourceWatch.longestIntervalNanoseconds) { [weak self] in self?.tick() }
    }

    private func tick() {
        isTicking = false
        // Read before those that wait look for themselves: what runs from here on is seen by the next one.
        // Not held open: how many groups there are at rest is chance, and descriptors that come and go look like a leak.
        let now = (try? CPUStatistics(of: name, in: nest))?.usedMicroseconds
        if let now, now == seen { return schedule() }
        seen = now
        let calls = waiting
        waiting = []
        for call in calls { call() }
    }
}
