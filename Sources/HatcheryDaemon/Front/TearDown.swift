import Glibc
import HatcherySystem

/// Takes namespaces down, away from the end of a run.
///
/// The last process of a mount namespace takes its mounts down before the kernel says that it has ended, and for each namespace
/// waits until no processor can be looking at them (synchronize_rcu_expedited() in namespace_unlock(), fs/namespace.c). So the
/// namespaces of a running sandbox are held here, its end is told without that wait, and a thread lets go of them afterwards.
/// Nothing of the sandbox runs any more by then. Where thousands of sandboxes live there are no descriptors for that, and each takes its
/// own down. Docs/Decisions/0025-tear-down-off-the-path.md
final class TearDown: Sendable {
    /// With so many sandboxes of a user waiting, those that come are not held: their own processes take their namespaces down, as they
    /// would without this, and what is held stays bounded however fast sandboxes come and go.
    static let waitingLimit = 64

    private let threads = UserThreads()
    private let spare: SpareDescriptors

    init(_ spare: SpareDescriptors) { self.spare = spare }

    /// The namespaces of one sandbox. Whoever lets go of it last has them taken down.
    final class Held {
        private let raws: [Int32]
        private let user: uid_t
        private let threads: UserThreads
        private let spare: SpareDescriptors

        fileprivate init(_ raws: [Int32], of user: uid_t, _ threads: UserThreads, _ spare: SpareDescriptors) {
            self.raws = raws
            self.user = user
            self.threads = threads
            self.spare = spare
        }

        deinit {
            threads.perform(for: user) { [raws, spare] in
                for raw in raws { close(raw) }
                spare.give(back: raws.count)
            }
        }
    }

    /// - Parameters:
    ///   - namespaces: which of them.
    ///   - pidfd: of a living process of the sandbox.
    ///   - user: who asked for it; one user's are not waited for by another's.
    /// - Returns: nil where its own processes shall take them down.
    func hold(_ namespaces: [Processes.Namespace], of pidfd: Int32, for user: uid_t) -> Held? {
        guard threads.waiting(for: user) < TearDown.waitingLimit, spare.take(namespaces.count) else { return nil }
        var raws: [Int32] = []
        for namespace in namespaces {
            if let descriptor = Processes.namespace(namespace, of: pidfd) { raws.append(descriptor.release()) }
        }
        spare.give(back: namespaces.count - raws.count)
        return raws.isEmpty ? nil : Held(raws, of: user, threads, spare)
    }
}
