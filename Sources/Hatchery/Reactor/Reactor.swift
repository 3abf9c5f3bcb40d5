import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem
import Synchronization

/// The library's only loop: one thread that waits for descriptors and deadlines and calls handlers. Nothing polls.
///
/// All connections of a process share one reactor with a thread of its own. A program that has nothing else to do, such as
/// the command line, makes one without a thread and turns it itself: no hand-over between threads lies on its path.
///
/// Handlers run on the reactor's thread, one at a time, and must not block. Registering and cancelling may happen on any
/// thread; a handler may still run once after a cancellation from another thread.
package final class Reactor: @unchecked Sendable {
    package typealias Interest = EventPoll.Interest

    /// One registered descriptor. `cancel` it before the descriptor is closed.
    package final class Watch: @unchecked Sendable {
        fileprivate let token: UInt64
        fileprivate let raw: Int32
        fileprivate let handler: @Sendable (Interest) -> Void
        // Guarded by the reactor's lock.
        fileprivate var interest: Interest
        fileprivate var isInPoll = false

        fileprivate init(token: UInt64, raw: Int32, interest: Interest, handler: @escaping @Sendable (Interest) -> Void)
        {
            self.token = token
            self.raw = raw
            self.interest = interest
            self.handler = handler
        }
    }

    package struct Timer: Sendable {
        fileprivate let key: TimerQueue.Key
    }

    private struct State {
        var watches: [UInt64: Watch] = [:]
        var nextToken: UInt64 = 1
        var timers = TimerQueue()
        var jobs: [@Sendable () -> Void] = []
        /// Descriptors that epoll does not take (regular files): always ready while they are wanted.
        var alwaysReady: Set<UInt64> = []
    }

    private static let wakeToken: UInt64 = 0
    private static let sharedReactor = Mutex<Reactor?>(nil)

    private let poll: EventPoll
    private let wakeDescriptor: Descriptor
    private let state = Mutex(State())
    private let loopThread = Mutex<pthread_t?>(nil)

    /// The process-wide reactor; its thread starts with the first use and lives as long as the process.
    package static func shared() throws(HatcheryError) -> Reactor {
        let outcome: Result<Reactor, HatcheryError> = sharedReactor.withLock { existing in
            if let existing { return .success(existing) }
            do throws(SystemError) {
                let reactor = try Reactor()
                try reactor.startThread()
                existing = reactor
                return .success(reactor)
            } catch {
                return .failure(HatcheryError(client: error))
            }
        }
        return try outcome.get()
    }

    /// A reactor without a thread: whoever made it calls `turn`.
    package init() throws(SystemError) {
        poll = try EventPoll()
        wakeDescriptor = Descriptor(
            owning: try checkErrno(eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)), "eventfd"))
        try poll.add(wakeDescriptor.raw, token: Reactor.wakeToken, .read)
    }

    private func startThread() throws(SystemError) {
        // Signals of the host program must go to its own threads, and SIGPIPE of a write to a child's stdin to nobody:
        // the new thread inherits a full mask.
        var everything = sigset_t()
        var previous = sigset_t()
        sigfillset(&everything)
        pthread_sigmask(SIG_SETMASK, &everything, &previous)
        defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(
            &thread, nil,
            { context in
                let reactor = Unmanaged<Reactor>.fromOpaque(context!).takeRetainedValue()
                while true { reactor.turn() }
            }, context)
        guard result == 0 else {
            Unmanaged<Reactor>.fromOpaque(context).release()
            throw SystemError("pthread_create", errno: result)
        }
        pthread_detach(thread)
    }

    // MARK: Registering

    /// - Throws: EEXIST where somebody waits for the descriptor already; EBADF, ENOSPC.
    package func watch(
        _ raw: Int32, _ interest: Interest, _ handler: @escaping @Sendable (Interest) -> Void
    ) throws(SystemError) -> Watch {
        let watch = state.withLock { state in
            let watch = Watch(token: state.nextToken, raw: raw, interest: [], handler: handler)
            state.nextToken += 1
            state.watches[watch.token] = watch
            return watch
        }
        do throws(SystemError) {
            try setInterest(watch, interest)
        } catch {
            cancel(watch)
            throw error
        }
        return watch
    }

    /// Changes what a watch waits for. The empty set takes it out of the poll: an idle epoll entry would still report a
    /// hang-up, again and again.
    package func setInterest(_ watch: Watch, _ interest: Interest) throws(SystemError) {
        let outcome: Result<Bool, SystemError> = state.withLock { state in
            guard state.watches[watch.token] != nil, interest != watch.interest else { return .success(false) }
            do throws(SystemError) {
                return .success(try apply(interest, to: watch, &state))
            } catch {
                return .failure(error)
            }
        }
        if try outcome.get() { wake() }
    }

    /// - Returns: whether the loop must be woken to see the change.
    private func apply(_ interest: Interest, to watch: Watch, _ state: inout State) throws(SystemError) -> Bool {
        watch.interest = interest
        if interest.isEmpty {
            state.alwaysReady.remove(watch.token)
            if watch.isInPoll { poll.remove(watch.raw) }
            watch.isInPoll = false
            return false
        }
        if watch.isInPoll {
            try poll.modify(watch.raw, token: watch.token, interest)
            return false
        }
        do throws(SystemError) {
            try poll.add(watch.raw, token: watch.token, interest)
            watch.isInPoll = true
            return false
        } catch {
            guard error.errno == EPERM else { throw error }
            state.alwaysReady.insert(watch.token)
            return true
        }
    }

    package func cancel(_ watch: Watch) {
        state.withLock { state in
            guard state.watches.removeValue(forKey: watch.token) != nil else { return }
            state.alwaysReady.remove(watch.token)
            if watch.isInPoll { poll.remove(watch.raw) }
            watch.isInPoll = false
        }
    }

    /// Calls `action` once at `deadline` (`MonotonicClock` nanoseconds), unless it is cancelled before.
    @discardableResult
    package func at(_ deadline: UInt64, _ action: @escaping @Sendable () -> Void) -> Timer {
        let (timer, isFirst) = state.withLock { state in
            let key = state.timers.insert(deadline: deadline, action)
            return (Timer(key: key), state.timers.first == key)
        }
        if isFirst { wake() }
        return timer
    }

    package func after(_ duration: Duration, _ action: @escaping @Sendable () -> Void) -> Timer {
        at(MonotonicClock.now() &+ duration.clampedNanoseconds, action)
    }

    package func cancel(_ timer: Timer) { state.withLock { $0.timers.remove(timer.key) } }

    /// Runs a closure on the reactor's thread: at once where this is that thread.
    package func perform(_ job: @escaping @Sendable () -> Void) {
        if isOnLoopThread {
            job()
            return
        }
        state.withLock { $0.jobs.append(job) }
        wake()
    }

    private var isOnLoopThread: Bool {
        loopThread.withLock { $0.map { pthread_equal($0, pthread_self()) != 0 } ?? false }
    }

    private func wake() {
        if isOnLoopThread { return }
        var one: UInt64 = 1
        // EAGAIN means that the counter is full, so the loop wakes up anyway.
        _ = write(wakeDescriptor.raw, &one, 8)
    }

    // MARK: The loop

    /// Takes the calling thread as the reactor's own from here on, so that `perform` need not hand over.
    package func adoptCallingThread() { loopThread.withLock { $0 = pthread_self() } }

    /// Waits for something to happen and handles it.
    package func turn() {
        adoptCallingThread()
        var events: [EventPoll.Event] = []
        do throws(SystemError) {
            try poll.wait(milliseconds: waitingTime(), into: &events)
        } catch {
            // Only a bug of ours makes epoll_wait fail; going on would spin.
            preconditionFailure("\(error)")
        }
        for event in events {
            if event.token == Reactor.wakeToken {
                var count: UInt64 = 0
                _ = read(wakeDescriptor.raw, &count, 8)
                continue
            }
            // An earlier handler of this round may have cancelled the watch.
            let handler = state.withLock { $0.watches[event.token]?.handler }
            handler?(event.ready)
        }
        runAlwaysReady()
        for job in state.withLock({ state in exchange(&state.jobs, with: []) }) { job() }
        while let action = state.withLock({ $0.timers.popDue(now: MonotonicClock.now()) }) { action() }
    }

    private func runAlwaysReady() {
        let ready = state.withLock { state in state.alwaysReady.compactMap { state.watches[$0] } }
        for watch in ready { watch.handler(watch.interest) }
    }

    private func waitingTime() -> Int32? {
        state.withLock { state in
            if !state.jobs.isEmpty || !state.alwaysReady.isEmpty { return 0 }
            guard let deadline = state.timers.first?.deadline else { return nil }
            let now = MonotonicClock.now()
            if deadline <= now { return 0 }
            // Rounded up: waking early would only go round once more.
            return Int32(clamping: (deadline - now) / 1_000_000 + 1)
        }
    }
}

private func exchange<Value>(_ place: inout Value, with value: Value) -> Value {
    let old = place
    place = value
    return old
}
