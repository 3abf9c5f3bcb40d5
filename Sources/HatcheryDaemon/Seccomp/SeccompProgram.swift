import CSeccomp

/// A compiled filter: what seccomp(SECCOMP_SET_MODE_FILTER) takes, an array of `struct sock_filter`.
///
/// It has no pointers, so it can cross to a zygote in a sealed memfd and be loaded by one system call in the child.
public struct SeccompProgram: Sendable, Hashable {
    public let bytes: [UInt8]

    public var instructionCount: Int { bytes.count / MemoryLayout<sock_filter>.size }

    /// The kernel takes no longer program (BPF_MAXINSNS).
    public static let maximumInstructionCount = 4096

    init(instructions: [SeccompInstruction]) {
        bytes = instructions.map(\.filter).withUnsafeBytes { Array($0) }
    }
}
