import Foundation
import Glibc
import HatcherySystem

/// Takes namespaces down, away from the end of a run.
///
/// The last process of a mount namespace takes its mounts down before the kernel says that it has ended, and for each namespace
/// waits until no processor can be looking at them (synchronize_rcu_expedited() in namespace_unlock(), fs/namespace.c). So the
/// namespaces of a running sandbox are held here, its end is told without that wait, and a thread lets go of them afterwards.
/// Nothing of the sandbox runs any more by then. Docs/Decisions/0025-tear-down-off-the-path.md
final class TearDown: @unchecked Sendable {
    /// With so many waiting, new ones are not held: their own processes take them down, as they would without this, and what is
    /// held stays bounded however fast sandboxes come and go.
    static let waitingLimit = 128

    private let condition = NSCondition()
    private var waiting: [Int32] = []
    private var isStarted = false

    /// The namespaces of one sandbox. Whoever lets go of it last has them taken down.
    final class Held {
        private let raws: [Int32]
        private let tearDown: TearDown

        fileprivate init(_ raws: [Int32], _ tearDown: TearDown) {
            self.raws = raws
            self.tearDown = tearDown
        }

        deinit { tearDown.add(raws) }
    }

    /// - Parameters:
    ///   - namespaces: which of them.
    ///   - pidfd: of a living process of the sandbox.
    /// - Returns: nil where its own processes shall take them down.
    func hold(_ namespaces: [Processes.Namespace], of pidfd: Int32) -> Held? {
        guard condition.withLock({ waiting.count < TearDown.waitingLimit }) else { return nil }
        var raws: [Int32] = []
        for namespace in namespaces {
            if let descriptor = Processes.namespace(namespace, of: pidfd) { raws.append(descriptor.release()) }
        }
        return raws.isEmpty ? nil : Held(raws, self)
    }

    private func add(_ raws: [Int32]) {
        condition.lock()
        waiting += raws
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
            while waiting.isEmpty { condition.wait() }
            let raw = waiting.removeFirst()
            condition.unlock()
            close(raw)
        }
    }
}
