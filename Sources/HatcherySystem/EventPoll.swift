import CHatchery
import Glibc

/// epoll(7), level-triggered. A token of the caller's choice comes back with each event.
public struct EventPoll: ~Copyable, Sendable {
    public struct Interest: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        public static let read = Interest(rawValue: EPOLLIN.rawValue)
        public static let write = Interest(rawValue: EPOLLOUT.rawValue)
        public static let oneShot = Interest(rawValue: EPOLLONESHOT.rawValue)
        /// Always reported; never asked for.
        public static let hangUp = Interest(rawValue: EPOLLHUP.rawValue)
        public static let failure = Interest(rawValue: EPOLLERR.rawValue)
    }

    public struct Event: Sendable {
        public var token: UInt64
        public var ready: Interest
    }

    private let descriptor: Descriptor

    public init() throws(SystemError) {
        descriptor = Descriptor(owning: try checkErrno(epoll_create1(Int32(EPOLL_CLOEXEC)), "epoll_create1"))
    }

    public borrowing func add(_ raw: Int32, token: UInt64, _ interest: Interest) throws(SystemError) {
        try control(EPOLL_CTL_ADD, raw, token, interest)
    }

    public borrowing func modify(_ raw: Int32, token: UInt64, _ interest: Interest) throws(SystemError) {
        try control(EPOLL_CTL_MOD, raw, token, interest)
    }

    /// Must come before the descriptor is closed: an open file that was duplicated elsewhere would go on reporting.
    public borrowing func remove(_ raw: Int32) {
        _ = epoll_ctl(descriptor.raw, EPOLL_CTL_DEL, raw, nil)
    }

    private borrowing func control(
        _ operation: Int32, _ raw: Int32, _ token: UInt64, _ interest: Interest
    ) throws(SystemError) {
        var event = epoll_event()
        event.events = interest.rawValue
        event.data.u64 = token
        try checkErrno(epoll_ctl(descriptor.raw, operation, raw, &event), "epoll_ctl", "\(raw)")
    }

    /// Waits for events.
    /// - Parameter milliseconds: nil waits without end.
    public borrowing func wait(milliseconds: Int32?, into events: inout [Event], limit: Int = 128) throws(SystemError) {
        events.removeAll(keepingCapacity: true)
        try withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: limit) { buffer throws(SystemError) in
            let count = epoll_wait(descriptor.raw, buffer.baseAddress!, Int32(limit), milliseconds ?? -1)
            if count < 0 {
                let saved = hatchery_errno()
                if saved == EINTR { return }
                throw SystemError("epoll_wait", errno: saved)
            }
            for index in 0..<Int(count) {
                let event = buffer[index]
                events.append(Event(token: event.data.u64, ready: Interest(rawValue: event.events)))
            }
        }
    }
}

/// The monotonic clock in nanoseconds: the only clock that limits are measured with.
public enum MonotonicClock {
    public static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
