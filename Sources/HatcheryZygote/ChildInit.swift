import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Process 1 of a sandbox: builds it, forks the payload, reaps, reports. Docs/LifeOfASpawn.md has the same numbers.
///
/// It never runs anything of the user's. It has another uid than the payload wherever two ids are to be had, is not
/// dumpable, and after the fork holds one socket and no rights.
enum ChildInit {
    /// The child half of the clone. Never returns.
    static func enter(_ context: ServeLoop.CloneContext) -> Never {
        close(context.zygoteSocket)
        // SECURITY: the way to the cgroup is the zygote's; nothing of the sandbox gets it.
        if context.cgroup >= 0 { close(context.cgroup) }
        // SECURITY: the zygote's /proc is outside of the sandbox.
        close(context.proc)
        var child = Child(control: context.control, status: context.status, runtime: context.runtime)
        child.preloadRoot = context.preloadRoot
        lead(&child)
    }

    static func lead(_ child: inout Child) -> Never {
        build(&child)  // steps 5 to 15, 40 and 42
        makeGate(&child)
        let payload = forkPayload(&child)  // step 16
        let counter = seal(&child)  // step 37
        reapUntilEnd(child, payload, counter)
    }

    /// Everything that is done before there is a payload.
    static func build(_ child: inout Child) {
        awaitSetup(&child)  // step 5
        // SECURITY: nothing of this half-built sandbox may be ptraced or opened through /proc (CVE-2016-9962). Not before
        // step 5: the zygote writes the id maps through this process's /proc files, which then belong to the zygote's uid.
        _ = hatchery_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        child.step(.resetSignals) { _ throws(SystemError) in resetProcessState() }  // step 6
        child.step(.becomeSandboxRoot) { child throws(SystemError) in try Credentials.becomeInit(child.setup) }  // step 7
        if !child.isLeftOut(.utsns) {
            child.step(.hostname) { child throws(SystemError) in  // step 8
                try checkErrno(sethostname(child.setup.hostname, child.setup.hostname.utf8.count), "sethostname")
            }
        }
        if !child.isLeftOut(.cgroupns) {
            // Not by the clone: the namespace's root is the cgroup that its maker is in, and at the clone that is the zygote.
            child.step(.cgroupNamespace) { _ throws(SystemError) in  // step 40
                try check(hatchery_unshare(Int32(hatchery_clone_newcgroup)), "unshare(CLONE_NEWCGROUP)")
            }
        }
        SandboxRoot.build(&child)  // steps 9 to 14, and 39
        limitKernelObjects(child)  // step 14
        if child.setup.loopback {
            child.step(.loopback) { _ throws(SystemError) in try check(hatchery_interface_up("lo"), "ioctl(SIOCSIFFLAGS)") }  // step 15
        }
        if child.setup.network != nil || child.setup.failAt == .configureNetwork {
            child.step(.configureNetwork) { child throws(SystemError) in  // step 42
                if let network = child.setup.network { try ChildNetwork.configure(network) }
            }
        }
    }

    // step 16 (child), before the fork
    static func makeGate(_ child: inout Child) {
        var pair: [Int32] = [-1, -1]
        child.step(.forkPayload) { _ throws(SystemError) in
            try checkErrno(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair), "socketpair")
        }
        child.gate = pair[0]
        child.gateOfInit = pair[1]
    }

    // step 5 (child): an explicit go. Without it (end of file) the spawn was given up and nothing happens.
    private static func awaitSetup(_ child: inout Child) {
        let (bytes, descriptors) = child.receiveOrder(.awaitSetup)
        do throws(FieldError) {
            child.setup = try FieldReader.reading(bytes) { reader throws(FieldError) in try SetupOrder(decoding: reader) }
        } catch {
            child.fail(.awaitSetup, EPROTO)
        }
        guard descriptors.count == child.setup.descriptorCount else { child.fail(.awaitSetup, EBADMSG) }
        child.setupDescriptors = descriptors
        child.step(.awaitSetup) { child throws(SystemError) in
            // The programs are read now, because the payload loads one of them after the fork, and neither process needs the descriptors.
            child.payloadFilter = try readFilter(descriptors[0])
            child.initFilter = try readFilter(descriptors[1])
        }
    }

    private static func readFilter(_ raw: Int32) throws(SystemError) -> [UInt8] {
        // pread-like: the descriptor's offset is shared with every other child that was given it.
        guard let size = SealedMemory.sealedSize(raw) else { throw SystemError("fcntl(F_GET_SEALS)", errno: EBADF) }
        guard let bytes = SealedMemory.withBytes(raw, size: size, { Array($0) }) else {
            throw SystemError("mmap", errno: ENOMEM)
        }
        return bytes
    }

    // step 6 (child): what a child would inherit is set.
    private static func resetProcessState() {
        for number in Int32(1)...64 { signal(number, SIG_DFL) }
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, nil)
        umask(0o022)
        // A parked or busy zygote may have been niced; raising the priority again may be refused, and that is harmless.
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 0)
    }

    /// SECURITY: the kernel counts inotify instances for the user who made a user namespace too, up to the host's own user: 128 of
    /// them, fs.inotify.max_user_instances, for all sandboxes of a zygote and whatever else that user runs. Its namespace
    /// may be given less (user_namespaces(7), /proc/sys/user). Test: onlyWhatTheThreatModelNamesIsSeen.
    private static func limitKernelObjects(_ child: Child) {
        guard child.active.contains(.proc) else { return }
        // Where /proc/sys is read-only, as in some containers, the kernel's own limit is all there is.
        try? Files.write("/proc/sys/user/max_inotify_instances", "16")
    }

    // step 16 (child): libc's own fork, so that libc and whatever was preloaded find themselves in order.
    private static func forkPayload(_ child: inout Child) -> Int32 {
        var context = child
        let pid = withUnsafeMutablePointer(to: &context) { pointer in
            hatchery_fork_child(
                { context in ChildPayload.enter(context!.assumingMemoryBound(to: Child.self).pointee) },
                UnsafeMutableRawPointer(pointer))
        }
        if pid < 0 { child.fail(.forkPayload, -pid) }
        let pidfd = hatchery_pidfd_open(pid, 0)
        if pidfd < 0 { child.fail(.forkPayload, -pidfd) }
        var descriptors = [pidfd]
        if child.scratch >= 0 && child.setup.wantsScratch { descriptors.append(child.scratch) }
        if child.terminal.client >= 0 { descriptors.append(child.terminal.client) }
        do throws(SystemError) {
            try MessageSocket.send(child.control, InitMessage.payloadForked.encoded(), descriptors: descriptors)
        } catch {
            child.fail(.forkPayload, error.errno)
        }
        return pid
    }

    // step 37 (child): from here on the init only waits. It keeps its control socket and no right at all.
    /// - Returns: what answers the payload's refused calls, where they are told.
    private static func seal(_ child: inout Child) -> RefusalCounter? {
        let keep = [child.control, child.status, child.gateOfInit]
        child.step(.sealInit) { child throws(SystemError) in
            try check(hatchery_close_all_but(0, keep, Int32(keep.count)), "close_range")
            // Left out by a test, there is no namespace in which this process would have the right to.
            if !child.isLeftOut(.userns) {
                try Credentials.lockSecurebits()
                try Capabilities.dropBoundingSet()
            }
            try Capabilities.clearAmbient()
            try check(hatchery_drop_all_capabilities(), "capset")
            // SECURITY: the front's death ends every sandbox, by the init and so with the whole pid namespace. It is set
            // after the last change of credentials, since such a change clears it (PR_SET_PDEATHSIG(2const)).
            try check(hatchery_prctl(PR_SET_PDEATHSIG, UInt(SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
            try check(hatchery_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        }
        // If the front died before the death signal was set, nobody would send it. Before the filter, which refuses poll.
        if frontIsGone(child.control) { _exit(0) }
        _ = hatchery_set_process_title("hatchery-init")
        let counter = child.countsRefusals ? takeListener(&child) : nil
        if !child.isLeftOut(.seccomp) {
            child.step(.sealInit) { child throws(SystemError) in try Seccomp.load(child.initFilter) }
        }
        // Only now: the payload's copy is the one whose closing says that the program runs.
        close(child.status)
        // The payload waits for this before its program starts (step 36): no code of the user's runs beside an init that
        // still has rights.
        close(child.gateOfInit)
        return counter
    }

    // step 26 (child), the init's half: the payload has loaded its filter, or it is gone.
    private static func takeListener(_ child: inout Child) -> RefusalCounter? {
        var counter: RefusalCounter?
        child.step(.sealInit) { child throws(SystemError) in
            guard var message = try MessageSocket.receive(child.gateOfInit, capacity: 1, descriptorRoom: 1),
                message.descriptors.count == 1
            else { return }
            counter = try RefusalCounter(listener: message.descriptors.take(0).release(), child: child)
        }
        return counter
    }

    private static func frontIsGone(_ control: Int32) -> Bool {
        // The payload waits for its own message on the same socket; looking at the state of the connection takes none.
        var state = pollfd(fd: control, events: 0, revents: 0)
        return poll(&state, 1, 0) > 0 && Int32(state.revents) & POLLHUP != 0
    }

    /// Reaps whatever ends in the sandbox. When the payload itself ends, reports and leaves, and the kernel ends every
    /// process that is left in the pid namespace: setsid and double forks do not help (pid_namespaces(7)).
    private static func reapUntilEnd(_ child: Child, _ payload: Int32, _ counter: RefusalCounter?) -> Never {
        var counter = counter
        while true {
            var status: Int32 = 0
            let pid = waitpid(-1, &status, counter == nil ? 0 : WNOHANG)
            if pid == payload {
                counter?.tellTotals()
                _ = try? MessageSocket.send(child.control, InitMessage.payloadEnded(status: status).encoded())
                _exit(0)
            }
            if pid == 0 { counter?.serveUntilAChildEnds() }
            if pid < 0 && hatchery_errno() != EINTR { _exit(0) }
        }
    }
}
