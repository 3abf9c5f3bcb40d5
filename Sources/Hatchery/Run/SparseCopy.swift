import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Copies a file's data and leaves its holes holes, so that a terabyte of nothing costs nothing.
struct SparseCopy {
    /// `MonotonicClock` nanoseconds; ETIMEDOUT when it has passed.
    var deadline = UInt64.max

    func copy(from source: Int32, to target: Int32, size: UInt64) throws(SystemError) {
        try checkErrno(ftruncate(target, Int(size)), "ftruncate")
        var offset = 0
        let end = Int(size)
        while offset < end {
            let start = lseek(source, offset, SparseCopy.seekData)
            // ENXIO: only a hole is left. EINVAL: a file system without holes.
            if start < 0 && hatchery_errno() == ENXIO { return }
            let from = start < 0 ? offset : start
            let hole = start < 0 ? end : lseek(source, from, SparseCopy.seekHole)
            let to = min(end, hole < 0 ? end : hole)
            try copyRange(from: source, to: target, from..<max(from, to))
            offset = max(to, from + 1)
        }
    }

    private func copyRange(from source: Int32, to target: Int32, _ range: Range<Int>) throws(SystemError) {
        var offset = range.lowerBound
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while offset < range.upperBound {
            if MonotonicClock.now() > deadline { throw SystemError("copy", errno: ETIMEDOUT) }
            let count = pread(source, &buffer, min(buffer.count, range.upperBound - offset), offset)
            if count < 0 && hatchery_errno() == EINTR { continue }
            try checkErrno(count, "pread")
            // Shorter than it was a moment ago: the rest stays a hole.
            if count == 0 { return }
            var written = 0
            while written < count {
                let result = buffer.withUnsafeBytes {
                    pwrite(target, $0.baseAddress! + written, count - written, offset + written)
                }
                if result < 0 && hatchery_errno() == EINTR { continue }
                try checkErrno(result, "pwrite")
                written += result
            }
            offset += count
        }
    }

    // lseek(2): SEEK_DATA and SEEK_HOLE, which libc shows to _GNU_SOURCE only.
    private static let seekData: Int32 = 3
    private static let seekHole: Int32 = 4
}
