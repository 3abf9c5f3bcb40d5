import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The two roots of a zygote: the one it preloads in, and the one its children are born with.
///
/// Its mount namespace holds the template of the sandboxes' root and nothing else, so that a child has nothing to get rid of: no
/// pivot_root(2), which looks at every process of the host (chroot_fs_refs() in fs/fs_struct.c), and no old root whose end waits for
/// a grace period of RCU. A preload wants more than that: a whole /proc, and a place to write to. It gets a detached tree that no
/// mount namespace has, as its root directory, until it serves. Docs/Decisions/0030-born-with-their-root.md
struct ZygoteRoot {
    /// The root of the zygote's mount namespace.
    private let template: Int32
    /// The top of the detached tree, which lives as long as somebody has it open.
    private let preload: Int32
    /// The whole /proc of the preload's tree: the way to it once the zygote has the template as its root.
    let proc: Int32

    /// Takes the two roots from the front, which keeps them while code of a preload runs.
    init(from socket: Int32) throws(SystemError) {
        try MessageSocket.send(socket, ZygoteMessage.wantsRoots.encoded())
        guard var answer = try MessageSocket.receive(socket, capacity: 16, descriptorRoom: 2), answer.descriptors.count == 2
        else { throw SystemError("recvmsg", errno: EPROTO, subject: "the roots of the zygote") }
        template = answer.descriptors.take(0).release()
        preload = answer.descriptors.take(1).release()
        proc = try Files.open("/proc", flags: hatchery_o_path | O_DIRECTORY).release()
    }

    /// Does something with the template as this process's root, as it is while children are cloned: a user namespace cannot be made from
    /// within another root (current_chrooted() in fs/namespace.c).
    func inTemplate(_ body: () -> Void) throws(SystemError) {
        try check(hatchery_change_root(template), "chroot")
        body()
        try check(hatchery_change_root(preload), "chroot")
    }

    /// For good. Afterwards the zygote has no right over its root, and no way to the preload's tree but `proc`.
    ///
    /// It writes to no memory but the stack.
    /// - Returns: the preload's tree, in builds for tests, whose children look at it where a test leaves their own root out; else -1.
    func enterTemplate() -> Int32 {
        guard hatchery_change_root(template) == 0 else { _exit(2) }
        close(template)
        #if HATCHERY_TESTING
            // A child without a user namespace has no other right to look there than what it inherits.
            guard hatchery_keep_capabilities(Launcher.keptCapabilities, Launcher.preloadCapabilities) == 0 else { _exit(2) }
            return preload
        #else
            guard hatchery_keep_capabilities(Launcher.keptCapabilities, 0) == 0 else { _exit(2) }
            close(preload)
            return -1
        #endif
    }
}
