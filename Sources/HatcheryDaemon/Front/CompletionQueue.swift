import CHatchery
import Foundation
import Glibc
import HatcherySystem

/// The way back from other threads to the loop: what has to be said there, in the order in which it was added.
///
/// The loop holds it until `end()`; the threads that add to it may hold it longer, and what they add then is not said any more.
final class CompletionQueue: @unchecked Sendable {
    private let lock = NSLock()
    private var waiting: [() -> Void] = []
    private let event: Descriptor
    /// The loop's alone.
    private var registration: EventLoop.Registration?

    init(loop: EventLoop) throws(SystemError) {
        event = Descriptor(owning: try checkErrno(eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK)), "eventfd"))
        registration = try loop.watch(event.raw) { [self] _ in deliver() }
    }

    /// From any thread.
    func add(_ completion: @escaping () -> Void) {
        lock.withLock { waiting.append(completion) }
        eventfd_write(event.raw, 1)
    }

    /// On the loop: nothing is said from here on.
    func end() {
        registration?.cancel()
        registration = nil
    }

    private func deliver() {
        var count: eventfd_t = 0
        eventfd_read(event.raw, &count)
        let ready = lock.withLock {
            defer { waiting = [] }
            return waiting
        }
        for completion in ready { completion() }
    }
}
