import Foundation
import Glibc

/// Closes what clients sent, on a thread of its own.
///
/// close(2) of a file on a FUSE or network file system waits for that file system's answer. The loop must not: a client that
/// sends such a descriptor would stop everybody's requests. The thread does nothing else.
final class DescriptorCloser: @unchecked Sendable {
    private let condition = NSCondition()
    private var queue: [Int32] = []
    private var isStarted = false

    /// Takes the descriptors over.
    func close(_ descriptors: [Int32]) {
        guard !descriptors.isEmpty else { return }
        condition.lock()
        queue += descriptors
        if !isStarted {
            isStarted = true
            Thread.detachNewThread { [self] in run() }
        }
        condition.signal()
        condition.unlock()
    }

    private func run() -> Never {
        while true {
            condition.lock()
            while queue.isEmpty { condition.wait() }
            let descriptors = queue
            queue = []
            condition.unlock()
            for descriptor in descriptors { Glibc.close(descriptor) }
        }
    }
}

/// The descriptors that came with one request. Whoever lets go of it last has them closed.
final class RequestDescriptors {
    private(set) var raws: [Int32]
    private let closer: DescriptorCloser
    /// Freeing more than this is work that the loop leaves to the thread.
    static let smallPlanBytes = 1 << 20

    /// Set once the first one is known to be a small sealed memfd: closing memory waits for nobody, and waking a thread for it costs
    /// a request more than the closing.
    var firstIsMemory = false

    init(_ raws: [Int32], closer: DescriptorCloser) {
        self.raws = raws
        self.closer = closer
    }

    deinit {
        if firstIsMemory, let first = raws.first {
            Glibc.close(first)
            raws.removeFirst()
        }
        closer.close(raws)
    }

    subscript(_ index: Int) -> Int32 { raws[index] }

    var count: Int { raws.count }
}
