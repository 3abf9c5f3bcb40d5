import Glibc
import HatcherySystem

/// The file cpu.stat of one cgroup, open: once it is, it is read without a path, a text and an allocation.
final class CPUStatistics {
    private let file: Descriptor

    /// - Throws: where there is no room for a descriptor, or no such cgroup.
    init(of name: Substring, in nest: CgroupDirectory) throws(SystemError) { file = try nest.open("\(name)/cpu.stat") }

    /// CPU time of every process that is or was in the cgroup or below it.
    var usedMicroseconds: UInt64? {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
            let length = pread(file.raw, buffer.baseAddress, buffer.count, 0)
            // Its first line (cgroup-v2.rst): usage_usec and a number.
            let name: StaticString = "usage_usec "
            guard length > name.utf8CodeUnitCount, memcmp(buffer.baseAddress!, name.utf8Start, name.utf8CodeUnitCount) == 0 else { return nil }
            var number: UInt64 = 0
            for byte in buffer[name.utf8CodeUnitCount..<length] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { break }
                number = number &* 10 &+ UInt64(byte - UInt8(ascii: "0"))
            }
            return number
        }
    }
}
