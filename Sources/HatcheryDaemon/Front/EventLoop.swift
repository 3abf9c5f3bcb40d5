import CHatchery
import Glibc
import HatcherySystem

/// The front's only loop: one thread, epoll, deadlines. Nothing in it blocks.
final class EventLoop {
    /// One registered descriptor. The registration ends with `cancel()`, before the descriptor is closed.
    final class Registration {
        fileprivate let token: UInt64
        fileprivate let raw: Int32
        fileprivate weak var loop: EventLoop?
        fileprivate var handler: (EventPoll.Interest) -> Void
        fileprivate var interest: EventPoll.Interest

        fileprivate init(
            token: UInt64, raw: Int32, loop: EventLoop, interest: EventPoll.Interest,
            handler: @escaping (EventPoll.Interest) -> Void
        ) {
            self.token = token
            self.raw = raw
            self.loop = loop
            self.interest = interest
            self.handler = handler
        }

        /// The descriptor that is watched.
        var descriptor: Int32 { raw }

        func cancel() { loop?.remove(self) }

        func setInterest(_ interest: EventPoll.Interest) {
            guard interest != self.interest, let loop else { return }
            self.interest = interest
            try? loop.poll.modify(raw, token: token, interest)
        }
    }

    /// One deadline. It fires once, unless it is cancelled.
    final class Timer {
        fileprivate let deadline: UInt64
        fileprivate var action: (() -> Void)?

        fileprivate init(deadline: UInt64, action: @escaping () -> Void) {
            self.deadline = deadline
            self.action = action
        }

        func cancel() { action = nil }
    }

    fileprivate let poll: EventPoll
    private var registrations: [UInt64: Registration] = [:]
    private var nextToken: UInt64 = 1
    private var timers = TimerHeap()
    private var isStopped = false
    /// Counts the rounds.
    private(set) var turn: UInt64 = 0

    init() throws(SystemError) { poll = try EventPoll() }

    @discardableResult
    func watch(
        _ raw: Int32, _ interest: EventPoll.Interest = .read, _ handler: @escaping (EventPoll.Interest) -> Void
    ) throws(SystemError) -> Registration {
        let registration = Registration(
            token: nextToken, raw: raw, loop: self, interest: interest, handler: handler)
        try poll.add(raw, token: registration.token, interest)
        registrations[registration.token] = registration
        nextToken += 1
        return registration
    }

    private func remove(_ registration: Registration) {
        if registrations.removeValue(forKey: registration.token) != nil { poll.remove(registration.raw) }
        registration.handler = { _ in }
    }

    @discardableResult
    func after(nanoseconds: UInt64, _ action: @escaping () -> Void) -> Timer {
        let timer = Timer(deadline: MonotonicClock.now() &+ nanoseconds, action: action)
        timers.insert(timer)
        return timer
    }

    func stop() { isStopped = true }

    /// What it has in hand; timers that were cancelled and not swept yet are among them.
    var counts: (registrations: Int, timers: Int) { (registrations.count, timers.count) }

    func run() throws(SystemError) {
        var events: [EventPoll.Event] = []
        while !isStopped {
            try poll.wait(milliseconds: millisecondsToNextTimer(), into: &events)
            turn += 1
            for event in events {
                // An earlier event of this round may have cancelled the registration.
                registrations[event.token]?.handler(event.ready)
                if isStopped { return }
            }
            fireTimers()
        }
    }

    private func millisecondsToNextTimer() -> Int32? {
        guard let next = timers.first else { return nil }
        let now = MonotonicClock.now()
        if next.deadline <= now { return 0 }
        // Rounded up: waking early would only go round once more.
        return Int32(clamping: (next.deadline - now + 999_999) / 1_000_000)
    }

    private func fireTimers() {
        let now = MonotonicClock.now()
        while let timer = timers.first, timer.deadline <= now || timer.action == nil {
            timers.removeFirst()
            timer.action?()
            timer.action = nil
        }
    }
}

/// A binary heap of timers, the earliest first. Cancelled ones leave when their time comes, or in a sweep where they are
/// more than half: a million runs that end early must not pile up.
private struct TimerHeap {
    private var items: [EventLoop.Timer] = []

    var first: EventLoop.Timer? { items.first }
    var count: Int { items.count }

    mutating func insert(_ timer: EventLoop.Timer) {
        if items.count >= 64 && items.count == items.capacity { sweep() }
        items.append(timer)
        var index = items.count - 1
        while index > 0, items[index].deadline < items[(index - 1) / 2].deadline {
            items.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    mutating func removeFirst() {
        items.swapAt(0, items.count - 1)
        items.removeLast()
        siftDown(from: 0)
    }

    private mutating func siftDown(from start: Int) {
        var index = start
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2] where child < items.count {
                if items[child].deadline < items[smallest].deadline { smallest = child }
            }
            if smallest == index { return }
            items.swapAt(index, smallest)
            index = smallest
        }
    }

    private mutating func sweep() {
        items.removeAll { $0.action == nil }
        for index in stride(from: items.count / 2 - 1, through: 0, by: -1) { siftDown(from: index) }
    }
}
