import Glibc
import HatcherySystem

/// Closes what clients sent, away from the loop.
///
/// close(2) of a file on a FUSE or network file system waits for that file system's answer, and that of a TCP socket for
/// its peer where SO_LINGER says so. The loop must not: a client that sends such a descriptor would stop everybody's
/// requests. Nor does one user's wait hold up what others sent: each has a thread of its own.
final class DescriptorCloser {
    private let threads = UserThreads()

    /// Takes the descriptors over.
    func close(_ descriptors: [Int32], of user: uid_t) {
        guard !descriptors.isEmpty else { return }
        threads.perform(for: user) {
            for raw in descriptors { DescriptorCloser.closeOne(raw) }
        }
    }

    /// Takes over a connection that nothing is read from any more.
    ///
    /// SECURITY: with the socket goes what was sent and not read, and with that, in the thread which closes it, the descriptors that
    /// came along. They are taken out first. Test: descriptorsWhoseClosingWaitsHoldNobodyUp.
    func closeConnection(_ socket: Int32, of user: uid_t) {
        threads.perform(for: user) {
            while true {
                guard
                    var message = try? MessageSocket.receive(
                        socket, capacity: 1, descriptorRoom: MessageSocket.mostDescriptors, dontWait: true)
                else { break }
                let descriptors = message.descriptors.releaseAll()
                for raw in descriptors { DescriptorCloser.closeOne(raw) }
                // An empty message without descriptors looks like the end; what is behind one is not looked for.
                if message.isEndOfStream && descriptors.isEmpty { break }
            }
            Glibc.close(socket)
        }
    }

    private static func closeOne(_ raw: Int32) {
        // The client's linger time would be this thread's.
        var off = linger(l_onoff: 0, l_linger: 0)
        _ = setsockopt(raw, SOL_SOCKET, SO_LINGER, &off, socklen_t(MemoryLayout<linger>.size))
        Glibc.close(raw)
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
    private let user: uid_t

    init(_ raws: [Int32], of user: uid_t, closer: DescriptorCloser) {
        self.raws = raws
        self.user = user
        self.closer = closer
    }

    deinit {
        if firstIsMemory, let first = raws.first {
            Glibc.close(first)
            raws.removeFirst()
        }
        closer.close(raws, of: user)
    }

    subscript(_ index: Int) -> Int32 { raws[index] }

    var count: Int { raws.count }
}
