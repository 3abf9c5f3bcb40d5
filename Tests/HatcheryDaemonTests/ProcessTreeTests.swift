@testable import HatcheryDaemon
import Testing

@Suite struct ProcessTreeTests {
    /// Headers and fields as proc_pid_smaps(5) shows them, in kilobytes.
    @Test func onlyWhatTheTreeItselfTookCounts() {
        let text = """
            55d000000000-55d000001000 r-xp 00000000 fe:00 1 /usr/bin/python3
            Pss:                 400 kB
            Anonymous:             0 kB
            SwapPss:               0 kB
            7f0000000000-7f0000100000 rw-p 00000000 00:01 2 /memfd:hatchery-frozen (deleted)
            Pss:              900000 kB
            Anonymous:            12 kB
            SwapPss:               0 kB
            7f1000000000-7f1000100000 rw-p 00000000 00:00 0 
            Pss:                 100 kB
            Anonymous:           100 kB
            SwapPss:               8 kB
            7f2000000000-7f2000100000 rw-s 00000000 00:01 3 /memfd:users-own (deleted)
            Pss:                  50 kB
            Anonymous:             0 kB
            SwapPss:               0 kB
            7f3000000000-7f3000100000 rw-s 00000000 00:34 4 /tmp/file
            Pss:                7000 kB
            Anonymous:             0 kB
            SwapPss:               0 kB
            7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
            Pss:                   5 kB
            Anonymous:             5 kB
            SwapPss:               0 kB
            """
        // The written part of the frozen heap, the heap with its swap, the program's own memfd, the stack.
        #expect(ProcessTree.proportionalBytes(smaps: text) == (12 + 100 + 8 + 50 + 5) * 1024)
    }
}
