import CHatchery
import Glibc
import HatcherySystem

/// Loading of compiled filters: one system call, the compiling was done by the front.
enum Seccomp {
    // steps 26 and 37 (child)
    static func load(_ program: [UInt8]) throws(SystemError) { try load(program, flags: 0) }

    // step 26 (child)
    /// Loads the payload's filter so that its refusals are told.
    /// - Parameter fatal: what a refusal does where nobody can be told.
    /// - Returns: the listener; -1 where the kernel has none to give: before Linux 5.5, or where a filter around this daemon has one
    ///   already (EBUSY). The filter holds then all the same, and refusals are not counted.
    static func loadListening(_ program: [UInt8], fatal: Bool) throws(SystemError) -> Int32 {
        // The caller waits for its answer killable only, where the kernel can do that: a program with timer signals would
        // begin its call anew with each of them.
        for flags in [hatchery_seccomp_new_listener | hatchery_seccomp_wait_killable, hatchery_seccomp_new_listener] {
            let result = hatchery_load_seccomp(program, UInt16(program.count / instructionBytes), flags)
            if result >= 0 { return result }
            if result != -EINVAL { break }
        }
        try load(withoutListener: program, fatal: fatal)
        return -1
    }

    /// SECURITY: a verdict for a listener means ENOSYS where there is none. That refuses too, but it is not what the policy says, and
    /// what is only told would not be allowed. Test: aFilterWithoutAListenerSaysTheSame.
    static func load(withoutListener program: [UInt8], fatal: Bool = false) throws(SystemError) {
        var program = program
        program.withUnsafeMutableBytes { bytes in
            for offset in stride(from: 0, to: bytes.count, by: instructionBytes) {
                let constant = bytes.load(fromByteOffset: offset + 4, as: UInt32.self)
                guard bytes.load(fromByteOffset: offset, as: UInt16.self) == returnCode, constant & 0xffff_0000 == 0x7fc0_0000
                else { continue }
                let errno = constant & 0xffff
                let verdict: UInt32 = errno == 0 ? 0x7fff_0000 : fatal ? 0x8000_0000 : 0x0005_0000 | errno
                bytes.storeBytes(of: verdict, toByteOffset: offset + 4, as: UInt32.self)
            }
        }
        try load(program)
    }

    private static func load(_ program: [UInt8], flags: UInt32) throws(SystemError) {
        try check(
            hatchery_load_seccomp(program, UInt16(program.count / instructionBytes), flags), "seccomp(SECCOMP_SET_MODE_FILTER)")
    }

    /// struct sock_filter: code, two jumps, constant.
    private static let instructionBytes = 8
    /// BPF_RET | BPF_K
    private static let returnCode: UInt16 = 0x06
}
