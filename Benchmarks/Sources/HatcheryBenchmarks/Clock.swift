import Glibc

/// Nanoseconds of the monotonic clock.
func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

func pause(milliseconds: Int) { usleep(UInt32(milliseconds) * 1000) }

/// A measurement that cannot be trusted, or did not happen.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// What is being measured right now, on stderr; stdout is the report's.
func progress(_ text: String) {
    let line = "benchmarks: \(text)\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
}
