/// The architectures that policies have been read for.
public enum SeccompArchitecture: Sendable, Hashable, CaseIterable {
    case x86_64
    case aarch64

    public static var native: SeccompArchitecture {
        #if arch(x86_64)
            .x86_64
        #elseif arch(arm64)
            .aarch64
        #else
            #error("no seccomp policy has been read for this architecture")
        #endif
    }

    /// AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64: macros of expressions, which Swift does not import.
    var token: UInt32 {
        switch self {
        case .x86_64: 0xC000_003E
        case .aarch64: 0xC000_00B7
        }
    }

    /// The bit that makes a number a call of x32 (__X32_SYSCALL_BIT), which the kernel files under x86-64.
    var foreignNumberBit: UInt32? {
        switch self {
        case .x86_64: 0x4000_0000
        case .aarch64: nil
        }
    }
}
