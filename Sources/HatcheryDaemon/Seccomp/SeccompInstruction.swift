import CSeccomp

/// One instruction of classic BPF, of the few that a filter needs: load, compare and jump, mask, return.
///
/// Jumps count the instructions to leave out, so pieces of code can be joined as they are.
struct SeccompInstruction: Sendable, Hashable {
    let code: UInt16
    let jumpIfTrue: UInt8
    let jumpIfFalse: UInt8
    let constant: UInt32

    enum Comparison: UInt16 {
        case equal = 0x15  // BPF_JMP | BPF_JEQ | BPF_K
        case greater = 0x25  // BPF_JMP | BPF_JGT | BPF_K
        case greaterOrEqual = 0x35  // BPF_JMP | BPF_JGE | BPF_K
        case anyBit = 0x45  // BPF_JMP | BPF_JSET | BPF_K
    }

    /// The jumps of a comparison are bytes.
    static let farthestBranch = Int(UInt8.max)

    // struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
    static let numberOffset: UInt32 = 0
    static let architectureOffset: UInt32 = 4

    /// Both architectures are little endian: the low half comes first.
    static func lowHalfOffset(_ argument: Int) -> UInt32 { 16 + 8 * UInt32(argument) }
    static func highHalfOffset(_ argument: Int) -> UInt32 { lowHalfOffset(argument) + 4 }

    static func load(offset: UInt32) -> Self { .init(0x20, constant: offset) }  // BPF_LD | BPF_W | BPF_ABS
    static func mask(_ bits: UInt32) -> Self { .init(0x54, constant: bits) }  // BPF_ALU | BPF_AND | BPF_K
    static func always(_ distance: UInt32) -> Self { .init(0x05, constant: distance) }  // BPF_JMP | BPF_JA
    static func result(_ verdict: UInt32) -> Self { .init(0x06, constant: verdict) }  // BPF_RET | BPF_K

    static func jump(_ comparison: Comparison, _ constant: UInt32, yes: UInt8, no: UInt8) -> Self {
        .init(comparison.rawValue, yes, no, constant: constant)
    }

    private init(_ code: UInt16, _ jumpIfTrue: UInt8 = 0, _ jumpIfFalse: UInt8 = 0, constant: UInt32) {
        self.code = code
        self.jumpIfTrue = jumpIfTrue
        self.jumpIfFalse = jumpIfFalse
        self.constant = constant
    }

    var filter: sock_filter { sock_filter(code: code, jt: jumpIfTrue, jf: jumpIfFalse, k: constant) }
}
