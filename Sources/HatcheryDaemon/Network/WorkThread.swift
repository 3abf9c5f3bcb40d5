import Foundation
import HatcherySystem

/// A thread for calls that may wait, and the way back from it to the loop.
///
/// Work is done in the order in which it was given. What has to be said about its outcome is said on the loop's own thread.
final class WorkThread: @unchecked Sendable {
    private let condition = NSCondition()
    private var work: [() -> Void] = []
    private var isStarted = false
    private var isStopped = false
    private var isRunning = false
    private let completions: CompletionQueue

    init(loop: EventLoop) throws(SystemError) { completions = try CompletionQueue(loop: loop) }

    deinit { completions.end() }

    /// - Parameters:
    ///   - body: on the thread.
    ///   - answer: on the loop, with what the body gave.
    func perform<Outcome>(_ body: @escaping () -> Outcome, answer: @escaping (Outcome) -> Void) {
        condition.lock()
        work.append { [completions] in
            let outcome = body()
            completions.add { answer(outcome) }
        }
        if !isStarted {
            isStarted = true
            isRunning = true
            Thread.detachNewThread { [self] in run() }
        }
        condition.signal()
        condition.unlock()
    }

    /// Has the body done on the thread, and waits for it. Not for the loop, and not for the thread itself.
    func wait<Outcome>(_ body: @escaping () -> Outcome) -> Outcome {
        let done = NSCondition()
        var outcome: Outcome?
        perform {
            let own = body()
            done.withLock {
                outcome = own
                done.signal()
            }
        } answer: { _ in }
        done.lock()
        defer { done.unlock() }
        while true {
            if let outcome { return outcome }
            done.wait()
        }
    }

    /// Does what is left and returns when the thread has ended. Its answers are not given any more.
    func stop() {
        condition.lock()
        isStopped = true
        condition.broadcast()
        while isRunning { condition.wait() }
        condition.unlock()
    }

    private func run() {
        while true {
            condition.lock()
            while work.isEmpty && !isStopped { condition.wait() }
            if work.isEmpty {
                isRunning = false
                condition.broadcast()
                condition.unlock()
                return
            }
            let next = work.removeFirst()
            condition.unlock()
            next()
        }
    }
}
