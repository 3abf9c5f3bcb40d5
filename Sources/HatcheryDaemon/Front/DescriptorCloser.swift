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

    init(_ raws: [Int32], closer: DescriptorCloser) {
        self.raws = raws
        self.closer = closer
    }

    deinit { closer.close(raws) }

    subscript(_ index: Int) -> Int32 { raws[index] }

    var count: Int { raws.count }
}
