import Testing

@testable import HatcheryDaemon

/// What the payload's policy must refuse whatever its text becomes. The other tests compare the program with the text, so
/// they cannot see a text that was weakened; here the numbers are written out.
@Suite struct SeccompDefencesTests {
    static let allowed: UInt32 = 0x7fff_0000

    /// The verdict on x86-64.
    private func verdict(_ number: UInt32, _ arguments: [UInt64] = []) throws -> UInt32 {
        let program = try SeccompCompiler.compile(SeccompPolicies.default, architecture: .x86_64)
        let padded = Array((arguments + [0, 0, 0, 0, 0, 0]).prefix(6))
        return try SeccompInterpreter(program).run(
            SyscallEntry(number: number, architecture: SyscallEntry.x86_64, arguments: padded)
        ).verdict
    }

    @Test(arguments: [
        101,  // ptrace
        103,  // syslog
        154, 155,  // modify_ldt, pivot_root
        159, 161, 163, 164,  // adjtimex, chroot, acct, settimeofday
        165, 166, 167, 168, 169, 170, 171, 172, 173,  // mount, umount2, swapon … ioperm
        175, 176, 179,  // init_module, delete_module, quotactl
        206, 246,  // io_setup, kexec_load
        227, 248, 249, 250,  // clock_settime, add_key, request_key, keyctl
        256, 279,  // migrate_pages, move_pages
        272, 308,  // unshare, setns
        298, 300, 301,  // perf_event_open, fanotify
        303, 304, 305,  // name_to_handle_at, open_by_handle_at, clock_adjtime
        310, 311, 312, 313, 320, 321,  // process_vm_*, kcmp, finit_module, kexec_file_load, bpf
        322, 323,  // execveat, userfaultfd
        425, 426, 427,  // io_uring
        428, 429, 430, 431, 432, 433, 442, 467,  // mount API
        435, 438, 440, 443, 447, 448,  // clone3, pidfd_getfd, process_madvise, quotactl_fd, memfd_secret, process_mrelease
    ] as [UInt32])
    func dangerousCallIsNeverAllowed(number: UInt32) throws {
        #expect(try verdict(number) != Self.allowed)
        #expect(try verdict(number, [1, 1, 1, 1, 1, 1]) != Self.allowed)
    }

    /// CVE-2017-5226, CVE-2023-28100, and CVE-2019-10063, which set high bits that the kernel ignores.
    @Test(arguments: [0x5412, 0x541C, 0x5423] as [UInt64], [0, 1 << 32, 1 << 63, 0xffff_ffff << 32] as [UInt64])
    func terminalInjectionIsRefusedWithAnyHighBits(request: UInt64, high: UInt64) throws {
        #expect(try verdict(16, [0, request | high]) == 0x0005_0001)
        #expect(try verdict(16, [0, 0x5401 | high]) == Self.allowed)  // TCGETS
    }

    @Test(arguments: [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] as [UInt64])
    func cloneMakesNoNamespace(flag: UInt64) throws {
        #expect(try verdict(56, [flag | 17]) == 0x0005_0001)
        #expect(try verdict(56, [0x3d_0f00]) == Self.allowed)  // what pthread_create asks for
        #expect(try verdict(56, [0x120_0011]) == Self.allowed)  // what fork of glibc asks for
    }

    @Test func onlyUnixAndInternetStreamsAndDatagramsHaveSockets() throws {
        for family in UInt64(0)...64 {
            for type in UInt64(0)...15 {
                for flags: UInt64 in [0, 0o2000000, 0o4000] {
                    let isOpen = family == 1 || ((family == 2 || family == 10) && (type == 1 || type == 2))
                    #expect((try verdict(41, [family, type | flags, 0]) == Self.allowed) == isOpen)
                }
            }
        }
        for unusual: UInt64 in [1, 58, 115, 132, 136, 256, 262] {  // ICMP, ICMPv6, L2TP, SCTP, UDP-Lite, SMC, MPTCP
            #expect(try verdict(41, [2, 1, unusual]) != Self.allowed)
            #expect(try verdict(41, [2, 2, unusual]) != Self.allowed)
        }
    }

    @Test func noLeaseIsTakenOnWhatSandboxesShare() throws {
        for command: UInt64 in [1024, 1040, 1026] {  // F_SETLEASE, F_SETDELEG, F_NOTIFY
            for high: UInt64 in [0, 1 << 32] { #expect(try verdict(72, [3, command | high]) == 0x0005_0016) }
        }
        for command: UInt64 in [0, 1, 3, 4, 6, 37, 1025, 1030, 1031, 1033] {  // F_DUPFD … F_ADD_SEALS
            #expect(try verdict(72, [3, command]) == Self.allowed)
        }
    }

    /// CVE-2023-0461, CVE-2026-43284
    @Test func noProtocolIsStackedOnASocket() throws {
        #expect(try verdict(54, [3, 6, 31 | 1 << 32]) == 0x0005_005c)
        #expect(try verdict(54, [3, 17 | 1 << 32, 100]) == 0x0005_005c)
        #expect(try verdict(54, [3, 6, 1]) == Self.allowed)  // TCP_NODELAY
        #expect(try verdict(54, [3, 0, 31]) == Self.allowed)
    }

    /// CVE-2025-38236
    @Test(arguments: [(44, 3), (45, 3), (46, 2), (47, 2), (299, 3), (307, 3)] as [(UInt32, Int)])
    func outOfBandDataIsRefused(number: UInt32, flagsArgument: Int) throws {
        var arguments: [UInt64] = [3, 0, 0, 0, 0, 0]
        #expect(try verdict(number, arguments) == Self.allowed)
        arguments[flagsArgument] = 0x4001
        #expect(try verdict(number, arguments) == 0x0005_005f)
    }

    @Test func personalityCanOnlyBeAskedFor() throws {
        #expect(try verdict(135, [0xffff_ffff]) == Self.allowed)
        #expect(try verdict(135, [0]) == Self.allowed)
        for persona: UInt64 in [8, 0x4_0000, 0x40_0000, 0x2_0000] { #expect(try verdict(135, [persona]) == 0x0005_0001) }
    }

    @Test func limitsOfOthersAreOutOfReach() throws {
        #expect(try verdict(302, [0]) == Self.allowed)
        for pid: UInt64 in [1, 2, 4711] { #expect(try verdict(302, [pid]) == 0x0005_0001) }
    }

    @Test func initMakesNoProcessAndOpensNothing() throws {
        let interpreter = SeccompInterpreter(try SeccompCompiler.compile(SeccompPolicies.`init`, architecture: .x86_64))
        let needed: Set<UInt32> = [0, 1, 3, 7, 9, 11, 12, 15, 46, 60, 61, 202, 219, 231, 247, 271]
        for number in UInt32(0)...600 {
            let verdict = try interpreter.run(SyscallEntry(number: number, architecture: SyscallEntry.x86_64)).verdict
            #expect((verdict == Self.allowed) == needed.contains(number))
        }
        // Of ioctl only what takes and answers refused calls: no FIONREAD, no TIOCSTI.
        for (request, verdict): (UInt64, UInt32) in [
            (0xc050_2100, Self.allowed), (0xc018_2101, Self.allowed), (0x541B, 0x0005_0001), (0x5412, 0x0005_0001),
            (0xc008_2102, 0x0005_0001), (0x4018_2103, 0x0005_0001),
        ] {
            let entry = SyscallEntry(number: 16, architecture: SyscallEntry.x86_64, arguments: [5, request, 0, 0, 0, 0])
            #expect(try interpreter.run(entry).verdict == verdict)
        }
        let code = SyscallEntry(number: 9, architecture: SyscallEntry.x86_64, arguments: [0, 4096, 5, 0x22, 0, 0])
        #expect(try interpreter.run(code).verdict == 0x0005_0001)
    }
}
