@testable import HatcheryDaemon
import CSeccomp

/// What the kernel gives to a filter: `struct seccomp_data`.
struct SyscallEntry {
    static let x86_64: UInt32 = 0xC000_003E
    static let aarch64: UInt32 = 0xC000_00B7
    static let i386: UInt32 = 0x4000_0003
    static let arm: UInt32 = 0x4000_0028

    var number: UInt32
    var architecture: UInt32
    var arguments: [UInt64] = [0, 0, 0, 0, 0, 0]

    /// The 32 bits at an offset, as BPF_ABS loads them (little endian).
    func word(at offset: UInt32) -> UInt32? {
        switch offset {
        case 0: return number
        case 4: return architecture
        case 8, 12: return 0x5555_5555  // the instruction pointer: no policy looks at it
        case 16..<64 where offset % 4 == 0:
            let argument = arguments[Int(offset - 16) / 8]
            return UInt32(truncatingIfNeeded: offset % 8 == 0 ? argument : argument >> 32)
        default: return nil
        }
    }
}

/// The kernel's classic BPF machine, as far as a filter of system calls may use it.
struct SeccompInterpreter {
    enum Fault: Error { case leftTheProgram, unknownInstruction(UInt16), loadOutside(UInt32) }

    let instructions: [sock_filter]

    init(_ program: SeccompProgram) {
        instructions = program.bytes.withUnsafeBytes { bytes in
            (0..<program.instructionCount).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: sock_filter.self) }
        }
    }

    /// The filter's verdict, and how many instructions it took.
    func run(_ entry: SyscallEntry) throws -> (verdict: UInt32, steps: Int) {
        var accumulator: UInt32 = 0
        var position = 0
        var steps = 0
        while true {
            guard instructions.indices.contains(position) else { throw Fault.leftTheProgram }
            let instruction = instructions[position]
            position += 1
            steps += 1
            func jump(_ condition: Bool) { position += Int(condition ? instruction.jt : instruction.jf) }
            switch instruction.code {
            case 0x20:  // load a word of the entry
                guard let word = entry.word(at: instruction.k) else { throw Fault.loadOutside(instruction.k) }
                accumulator = word
            case 0x54: accumulator &= instruction.k
            case 0x05: position += Int(instruction.k)
            case 0x15: jump(accumulator == instruction.k)
            case 0x25: jump(accumulator > instruction.k)
            case 0x35: jump(accumulator >= instruction.k)
            case 0x45: jump(accumulator & instruction.k != 0)
            case 0x06: return (instruction.k, steps)
            default: throw Fault.unknownInstruction(instruction.code)
            }
        }
    }
}
