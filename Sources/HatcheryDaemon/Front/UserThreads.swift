import Foundation
import Glibc

/// Threads for what may wait because of something that a user did: one for each user, so that nobody waits for another's.
///
/// Work of one user is done in the order in which it was given. A thread that has had nothing to do for a while ends.
final class UserThreads: @unchecked Sendable {
    /// Requests of one user mostly come closer together than this, and starting a thread costs more than keeping one.
    private static let idleSeconds: TimeInterval = 10

    /// As many as users came. Under the lock: what is given up may be let go of by any thread last.
    private var lanes: [uid_t: Lane] = [:]
    private let lock = NSLock()

    func perform(for user: uid_t, _ body: @escaping () -> Void) {
        let lane = lock.withLock {
            if let lane = lanes[user] { return lane }
            let lane = Lane()
            lanes[user] = lane
            return lane
        }
        lane.add(body)
    }

    /// How many pieces of a user's work are not done, the one that is being done included.
    func waiting(for user: uid_t) -> Int { lock.withLock { lanes[user] }?.waiting ?? 0 }

    private final class Lane: @unchecked Sendable {
        private let condition = NSCondition()
        private var work: [() -> Void] = []
        /// Of what the thread has taken.
        private var taken = 0
        private var isRunning = false

        var waiting: Int { condition.withLock { work.count + taken } }

        func add(_ body: @escaping () -> Void) {
            condition.lock()
            work.append(body)
            if !isRunning {
                isRunning = true
                Thread.detachNewThread { [self] in run() }
            }
            condition.signal()
            condition.unlock()
        }

        private func run() {
            while let pieces = next() {
                for piece in pieces {
                    piece()
                    condition.withLock { taken -= 1 }
                }
            }
        }

        /// What there is to do; nil where the thread ends.
        private func next() -> [() -> Void]? {
            condition.lock()
            defer { condition.unlock() }
            let deadline = Date(timeIntervalSinceNow: UserThreads.idleSeconds)
            while work.isEmpty {
                if !condition.wait(until: deadline) && work.isEmpty {
                    isRunning = false
                    return nil
                }
            }
            taken = work.count
            defer { work = [] }
            return work
        }
    }
}
