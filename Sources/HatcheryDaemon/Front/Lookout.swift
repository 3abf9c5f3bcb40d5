import Glibc
import HatcherySystem

/// Looks at processes of sandboxes, away from the loop.
///
/// What the kernel tells of a process can take long, and the program has a say in it: a thousand processes, mappings without end,
/// an address space that another of its threads has locked. So the loop asks nothing itself, and each user's sandboxes are
/// looked at by a thread of that user's own.
final class Lookout {
    private let threads = UserThreads()
    private let completions: CompletionQueue

    init(loop: EventLoop) throws(SystemError) { completions = try CompletionQueue(loop: loop) }

    deinit { completions.end() }

    /// - Parameters:
    ///   - look: on the thread; it must use nothing that the loop changes.
    ///   - answer: on the loop.
    func look<Seen>(for user: uid_t, _ look: @escaping () -> Seen, _ answer: @escaping (Seen) -> Void) {
        threads.perform(for: user) { [completions] in
            let seen = look()
            completions.add { answer(seen) }
        }
    }
}
