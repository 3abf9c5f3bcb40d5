/// What the kernel alone asks for, in the same run. Each floor is taken half before and half after everything else, since
/// the load of a shared machine drifts.
struct Floors {
    var roundTrip = Samples()
    var roundTripAnywhere = Samples()
    var tinyClone = Samples()
    var loadedFork = Samples()
    var isolatedClone = Samples()

    /// p50, microseconds. F0 is the one between two cores: client and front are two busy processes, and the goals were set
    /// against a figure of that kind. The other one is printed beside it.
    var f0: Double { roundTrip.median }
    var f1: Double { tinyClone.median }
    var f2: Double { loadedFork.median }
    var f3: Double { isolatedClone.median }
    /// The plain kernel's price of one isolated child of a Python with pandas.
    var isolatedLoaded: Double { f2 + (f3 - f1) }

    mutating func measureHalf(_ options: Options) throws {
        let count = max(1, options.samples / 2)
        progress("floors, \(count) samples each")
        roundTrip.append(try numbers(Program(options.floors, ["F0two", "\(count * 4)"])))
        roundTripAnywhere.append(try numbers(Program(options.floors, ["F0", "\(count * 4)"])))
        tinyClone.append(try numbers(Program(options.floors, ["F1", "\(count)"])))
        isolatedClone.append(try numbers(Program(options.floors, ["F3", "\(count)"])))
        loadedFork.append(try numbers(Program(options.python, ["-c", Floors.forkLoop, "\(count)"])))
    }

    private func numbers(_ program: Program) throws -> Samples {
        var samples = Samples()
        for line in try program.output().split(separator: "\n") {
            guard let value = UInt64(line) else { throw BenchmarkError("\(program.path) printed \"\(line)\"") }
            samples.append(value)
        }
        return samples
    }

    // os.fork() runs the interpreter's fork hooks, some microseconds that a bare clone would not pay.
    private static let forkLoop = """
        import os, sys, time
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        import numpy, pandas
        samples = []
        for i in range(20 + int(sys.argv[1])):
            start = time.monotonic_ns()
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            samples.append(time.monotonic_ns() - start)
        print(*samples[20:], sep="\\n")
        """

    func addRows(to report: inout Report) {
        let section = "Floors"
        report.add(Row(section, "F0 AF_UNIX round trip, two processes, two cores", roundTrip))
        report.add(Row(section, "   the same where the scheduler likes", roundTripAnywhere))
        report.add(Row(section, "F1 clone3 + exit + wait, tiny process", tinyClone))
        report.add(
            Row(
                section, "F2 the same from Python with pandas, unfrozen", loadedFork,
                note: "os.fork, os._exit, os.waitpid: the interpreter's fork hooks are in it"))
        report.add(Row(section, "F3 F1 with all seven namespaces", isolatedClone))
        report.add(
            Row(section, "L = F2 + (F3 - F1)", figure: isolatedLoaded, unit: "us", samples: loadedFork.count))
    }
}
