import CHatchery
import Foundation
import Glibc
import HatcherySystem

/// Looks at processes of sandboxes, away from the loop.
///
/// What the kernel tells of a process can take long, and the program has a say in it: a thousand processes, mappings without end,
/// an address space that another of its threads has locked. So the loop asks nothing itself, and each user's sandboxes are
/// looked at by a thread of that user's own.
final class Lookout {
    private let threads = UserThreads()
    private let answers: Answers
    private var registration: EventLoop.Registration?

    init(loop: EventLoop) throws(SystemError) {
        let event = Descriptor(owning: try checkErrno(eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK)), "eventfd"))
        let raw = event.raw
        answers = Answers(event)
        registration = try loop.watch(raw) { [answers] _ in
            for answer in answers.take() { answer() }
        }
    }

    /// - Parameters:
    ///   - look: on the thread; it must use nothing that the loop changes.
    ///   - answer: on the loop.
    func look<Seen>(for user: uid_t, _ look: @escaping () -> Seen, _ answer: @escaping (Seen) -> Void) {
        threads.perform(for: user) { [answers] in
            let seen = look()
            answers.add { answer(seen) }
        }
    }

    /// What the threads found, on its way to the loop. They hold it for as long as they look.
    private final class Answers: @unchecked Sendable {
        private let lock = NSLock()
        private var waiting: [() -> Void] = []
        private let event: Descriptor

        init(_ event: consuming Descriptor) { self.event = event }

        func add(_ answer: @escaping () -> Void) {
            lock.withLock { waiting.append(answer) }
            eventfd_write(event.raw, 1)
        }

        func take() -> [() -> Void] {
            var count: eventfd_t = 0
            eventfd_read(event.raw, &count)
            return lock.withLock {
                defer { waiting = [] }
                return waiting
            }
        }
    }
}
