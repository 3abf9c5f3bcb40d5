import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Process 2 of a sandbox, while it is still our code: the one readable order list of what is taken away before the
/// program runs. Each line is a step of Docs/LifeOfASpawn.md; where the order matters, the reason stands beside it.
enum ChildPayload {
    static func enter(_ inherited: Child) -> Never {
        var child = inherited
        close(child.gateOfInit)
        if child.scratch >= 0 { close(child.scratch) }
        if child.terminal.client >= 0 { close(child.terminal.client) }
        // What a preload left open stays until step 34: fork hooks of libraries close it in their own way (matplotlib's do).
        seal(&child)  // steps 17 to 26
        prepare(&child)  // step 27
        // A child of a nursery is parked here, fully sealed. It has learned nothing of any request.
        if child.setup.tellsWhenParked { child.write(StatusRecord(step: .awaitLaunch, errno: 0, layers: child.active)) }
        launch(&child)  // steps 28 to 36
    }

    /// Everything that no request can change. What follows needs no right and no system call that is taken away here, so
    /// that a parked child is as strong as one that runs, and the slow layers are off the path of a request.
    private static func seal(_ child: inout Child) {
        child.step(.session) { child throws(SystemError) in  // step 17
            try checkErrno(setsid(), "setsid")
            if child.terminal.payload >= 0 {
                try check(hatchery_terminal_take(child.terminal.payload), "ioctl(TIOCSCTTY)")
            }
        }
        child.step(.groups) { child throws(SystemError) in try Credentials.requireNoGroups(child.setup) }  // step 18
        // The group goes before the user: after setuid there would be no right left to change it.
        child.step(.gid) { child throws(SystemError) in try Credentials.setGID(child.setup.gid) }  // step 19
        child.step(.uid) { child throws(SystemError) in try Credentials.setUID(child.setup.uid) }  // step 20
        // Securebits and the bounding set need CAP_SETPCAP, so they come before the sets are emptied.
        child.step(.securebits, layer: .securebits) { _ throws(SystemError) in try Credentials.lockSecurebits() }  // step 21
        child.step(.boundingSet, layer: .caps) { _ throws(SystemError) in try Capabilities.dropBoundingSet() }  // step 22
        child.step(.capabilities, layer: .caps) { _ throws(SystemError) in  // step 23
            try Capabilities.clearAmbient()
            try check(hatchery_drop_all_capabilities(), "capset")
        }
        // Without this an unprivileged process could not restrict itself, and a setuid file could undo the rest.
        child.step(.noNewPrivileges, layer: .noNewPrivs) { _ throws(SystemError) in  // step 24
            try check(hatchery_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        }
        if !child.isLeftOut(.landlock) {
            child.step(.landlock) { child throws(SystemError) in  // step 25
                if try Landlock.restrict(child.setup) { child.active.insert(.landlock) }
            }
        }
        // Last of the layers: steps above make system calls that the filter refuses, steps below make none.
        child.step(.seccomp, layer: .seccomp) { child throws(SystemError) in  // step 26
            guard child.countsRefusals else { return try Seccomp.load(withoutListener: child.payloadFilter) }
            // SECURITY: whoever holds the listener decides about refused calls. It exists in this process between these lines
            // only; the init has it then, whose descriptors nobody in the sandbox can take (not dumpable, another user).
            let listener = try Seccomp.loadListening(child.payloadFilter, fatal: child.setup.refusalsAreFatal)
            try MessageSocket.send(child.gate, [1], descriptors: listener >= 0 ? [listener] : [])
            if listener >= 0 { close(listener) }
        }
    }

    /// What a request asks for, applied by a process that has no right left to do more than its program could.
    private static func launch(_ child: inout Child) -> Never {
        let (order, descriptors) = awaitLaunch(&child)  // step 28
        var plan: [UInt8] = []
        child.step(.readLaunch) { _ throws(SystemError) in  // step 29
            plan = try LaunchReader.merge(environment: order.environment, plan: descriptors[order.streamCount])
        }
        let terminal = child.terminal.payload
        let streams = order.hasTerminal ? [terminal, terminal, terminal] : Array(descriptors[..<3])
        child.step(.standardStreams) { _ throws(SystemError) in  // step 30
            for (number, stream) in streams.enumerated() { try checkErrno(dup2(stream, Int32(number)), "dup2") }
        }
        // As the payload's own user: what is copied in belongs to it, and nothing it may not write is written.
        child.step(.copyIn) { child throws(SystemError) in  // step 31
            try CopyIn.run(order.filesIn, Array(descriptors[(order.streamCount + 1)...]), home: child.setup.home)
        }
        child.step(.workingDirectory) { child throws(SystemError) in  // step 32
            try LaunchReader.enterWorkingDirectory(plan, home: child.setup.home)
        }
        child.step(.resourceLimits, layer: .rlimits) { _ throws(SystemError) in  // step 33
            for limit in order.limits { try ResourceLimits.apply(limit) }
        }
        child.step(.closeDescriptors, layer: .fds) { child throws(SystemError) in  // step 34
            // SECURITY: a descriptor that leaks is the classic way out (CVE-2024-21626). By range, not by list.
            try check(hatchery_close_all_but(3, [child.status, child.gate], 2), "close_range")
        }
        // The program may look at its own /proc files and be debugged by itself; until here it was not dumpable.
        _ = hatchery_prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        child.step(.processTitle) { _ throws(SystemError) in  // step 35
            _ = hatchery_set_process_title(order.title.isEmpty ? "hatchery-child" : order.title)
        }
        child.step(.requiredLayers) { child throws(SystemError) in  // step 38
            // SECURITY: checked here and not by the front after the fact: a program must not run for a moment only.
            if !order.required.isSubset(of: child.active) { throw SystemError("receipt", errno: ENOTSUP) }
        }
        start(&child, plan)  // step 36
    }

    // step 27 (child)
    private static func prepare(_ child: inout Child) {
        guard let prepare = child.runtime.prepare else { return }
        child.step(.preparePayload) { child throws(SystemError) in
            let result = prepare(child.setup.tellsWhenParked ? 1 : 0)
            if result != 0 { throw SystemError("prepare", errno: result) }
        }
    }

    // step 28 (child)
    private static func awaitLaunch(_ child: inout Child) -> (LaunchOrder, [Int32]) {
        #if HATCHERY_TESTING
            if child.setup.failAt == .awaitLaunch { child.fail(.awaitLaunch, EIO) }
        #endif
        let (bytes, descriptors) = child.receiveOrder(.awaitLaunch)
        let order: LaunchOrder
        do throws(FieldError) {
            order = try FieldReader.reading(bytes) { reader throws(FieldError) in try LaunchOrder(decoding: reader) }
        } catch {
            child.fail(.awaitLaunch, EPROTO)
        }
        guard descriptors.count == order.descriptorCount else { child.fail(.awaitLaunch, EBADMSG) }
        return (order, descriptors)
    }

    // step 36 (child)
    private static func start(_ child: inout Child, _ plan: [UInt8]) -> Never {
        #if HATCHERY_TESTING
            if child.setup.failAt == .main { child.fail(.main, EIO) }
        #endif
        // The init is sealed when its end of the gate closes; nearly always it is already.
        var byte: UInt8 = 0
        while read(child.gate, &byte, 1) < 0 && hatchery_errno() == EINTR {}
        close(child.gate)
        child.write(StatusRecord(step: .ready, errno: 0, layers: child.active))
        guard let main = child.runtime.main else {
            // The status pipe closes at a successful execve; a failure is reported on it.
            let errno = ProgramStart.run(plan)
            child.fail(.main, errno, exitCode: errno == ENOENT || errno == ENOTDIR ? 127 : 126)
        }
        close(child.status)
        let status = plan.withUnsafeBytes { main($0.baseAddress, $0.count) }
        _exit(status)
    }
}
