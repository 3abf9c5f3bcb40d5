import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Turns a process that the front started into a powerless zygote: its own tree, its own user namespace with mapped ids, no
/// capability. Then it serves, or becomes the interpreter that will.
package enum Launcher {
    /// - Parameters:
    ///   - control: the connection to the front.
    ///   - spec: a sealed memfd with a `ZygoteSpec`.
    package static func run(control: Int32, spec specDescriptor: Int32) -> Never {
        do throws(SystemError) {
            let spec = try readSpec(specDescriptor)
            close(specDescriptor)
            try isolate(spec, control)
            try becomePowerless(spec)
            try become(spec, control)
        } catch {
            ServeLoop.report(control, .failed(message: "the zygote could not be started: \(error)"))
            _exit(1)
        }
    }

    private static func readSpec(_ raw: Int32) throws(SystemError) -> ZygoteSpec {
        guard let size = SealedMemory.sealedSize(raw),
            let bytes = SealedMemory.withBytes(raw, size: size, { Array($0) })
        else { throw SystemError("mmap", errno: EBADF, subject: "zygote specification") }
        do throws(FieldError) {
            return try FieldReader.reading(bytes) { reader throws(FieldError) in try ZygoteSpec(decoding: reader) }
        } catch {
            throw SystemError("zygote specification", errno: EPROTO, subject: error.description)
        }
    }

    private static func isolate(_ spec: ZygoteSpec, _ control: Int32) throws(SystemError) {
        // Under memory pressure the kernel should choose a zygote or a sandbox, not the daemon; children inherit it.
        try? Files.write("/proc/self/oom_score_adj", "300")
        // The tree that is built here is for strangers; the operator's umask does not apply to it.
        umask(0o022)
        if spec.emptyGroups { try check(hatchery_clear_groups(), "setgroups") }
        try check(hatchery_unshare(Int32(hatchery_clone_newns)), "unshare(CLONE_NEWNS)")
        let preload = try BaseTree.enter(spec)
        // With the user namespace comes a copy of the mounts, in which every mount is locked. No cgroup namespace: where the
        // hierarchy is mounted with nsdelegate, a zygote could not clone into a cgroup outside of its own.
        let namespaces =
            hatchery_clone_newuser | hatchery_clone_newns | hatchery_clone_newipc | hatchery_clone_newuts
            | hatchery_clone_newnet
        try check(hatchery_unshare(Int32(truncatingIfNeeded: namespaces)), "unshare(CLONE_NEWUSER)")
        let template = try Files.open("/", flags: hatchery_o_path | O_DIRECTORY)
        try MessageSocket.send(control, ZygoteMessage.wantsMaps.encoded(), descriptors: [template.raw, preload.raw])
        guard let answer = try MessageSocket.receive(control, capacity: 16, descriptorRoom: 0), !answer.isEndOfStream
        else { _exit(0) }
        // What is preloaded has its own view; `ZygoteRoot` changes back.
        try check(hatchery_change_root(preload.raw), "chroot")
    }

    /// What a zygote keeps: the right to give ids of its own namespace to its children's, and nothing else. Those ids are the
    /// ones lent to sandboxes.
    static let keptCapabilities = mask([CAP_SETUID, CAP_SETGID])
    /// Until it serves it may change its root as well: from the preload's to the one of its children.
    static let preloadCapabilities = keptCapabilities | mask([CAP_SYS_CHROOT])

    private static func mask(_ capabilities: [Int32]) -> UInt32 { capabilities.reduce(0) { $0 | 1 << UInt32($1) } }

    private static func becomePowerless(_ spec: ZygoteSpec) throws(SystemError) {
        try check(hatchery_add_inheritable_capabilities(preloadCapabilities), "capset")
        for capability in 0..<Capabilities.kernelCount where capability >= 32 || keptCapabilities & 1 << UInt32(capability) == 0 {
            try check(hatchery_prctl(PR_CAPBSET_DROP, UInt(capability), 0, 0, 0), "prctl(PR_CAPBSET_DROP)")
        }
        try check(hatchery_prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
        try check(hatchery_setresgid(spec.gid), "setresgid", "\(spec.gid)")
        try check(hatchery_setresuid(spec.uid), "setresuid", "\(spec.uid)")
        // Inheritable and ambient, so that they survive the execve of an interpreter (capabilities(7)).
        try check(hatchery_keep_capabilities(preloadCapabilities, 0), "capset")
        // SECURITY: a zygote does not outlive the front. After the last change of credentials, which would clear it.
        try check(hatchery_prctl(PR_SET_PDEATHSIG, UInt(SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        // Its children's /proc files must belong to its own uid, or it could not write their id maps. No other process has
        // this uid but zygotes, and those are in user namespaces of their own.
        try check(hatchery_prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")
    }

    private static func become(_ spec: ZygoteSpec, _ control: Int32) throws(SystemError) -> Never {
        try checkErrno(chdir("/"), "chdir", "/")
        let null = try Files.open("/dev/null", flags: O_RDWR)
        try checkErrno(dup2(null.raw, 0), "dup2")
        try checkErrno(dup2(2, 1), "dup2")
        if spec.interpreter.isEmpty {
            _ = null.release()
            try check(hatchery_close_all_but(3, [control], 1), "close_range")
            // Its heap is a few pages: frozen, they would save a clone nothing that can be measured.
            ServeLoop.run(control: control, runtime: .program, freeze: false)
        }
        let errno = ProgramStart.execute(spec.interpreter, spec.arguments, spec.environment)
        throw SystemError("execve", errno: errno, subject: spec.interpreter)
    }
}
