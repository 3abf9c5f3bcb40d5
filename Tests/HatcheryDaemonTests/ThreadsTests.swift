import Foundation
import Synchronization
import Testing

@testable import HatcheryDaemon

/// Work that is done away from the loop, and the way back to it.
@Suite struct ThreadsTests {
    @Test func whatWaitsIsCountedForEachUser() {
        let threads = UserThreads()
        let (isHeld, mayGoOn, isDone) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        threads.perform(for: 1) {
            isHeld.signal()
            mayGoOn.wait()
        }
        // What is being done counts, and so does what came after the thread took it.
        isHeld.wait()
        threads.perform(for: 1) {}
        threads.perform(for: 1) {}
        #expect(threads.waiting(for: 1) == 3)
        #expect(threads.waiting(for: 2) == 0)
        // Another user's is done meanwhile.
        threads.perform(for: 2) { isDone.signal() }
        isDone.wait()
        #expect(threads.waiting(for: 1) == 3)
        threads.perform(for: 1) { isDone.signal() }
        mayGoOn.signal()
        isDone.wait()
        // Only the last piece may not be taken off the count yet.
        #expect(threads.waiting(for: 1) <= 1)
    }

    @Test func whatThreadsFoundIsSaidOnTheLoopInTheirOrder() throws {
        let loop = try EventLoop()
        let queue = try CompletionQueue(loop: loop)
        let isAdded = DispatchSemaphore(value: 0)
        let numbers = Mutex<[Int]>([])
        let threads = Mutex<Set<ObjectIdentifier>>([])
        Thread.detachNewThread {
            for number in 0..<100 {
                queue.add {
                    numbers.withLock { $0.append(number) }
                    _ = threads.withLock { $0.insert(ObjectIdentifier(Thread.current)) }
                }
            }
            isAdded.signal()
        }
        isAdded.wait()
        queue.add { loop.stop() }
        try loop.run()
        #expect(numbers.withLock { $0 } == Array(0..<100))
        #expect(threads.withLock { $0 } == [ObjectIdentifier(Thread.current)])
    }

    @Test func afterItsEndNothingIsSaid() throws {
        let loop = try EventLoop()
        let (queue, other) = (try CompletionQueue(loop: loop), try CompletionQueue(loop: loop))
        var isSaid = false
        queue.add { isSaid = true }
        queue.end()
        queue.add { isSaid = true }
        other.add { loop.stop() }
        try loop.run()
        #expect(!isSaid)
        #expect(loop.counts.registrations == 1)
    }
}
