/// The command line as a whole process, beside the interpreter started afresh.
struct CommandLineRuns {
    let options: Options

    private static let code = "import pandas; print(pandas.__version__)"

    func addRows(to report: inout Report) throws {
        let warm = Program(
            options.hatchery, ["python", "--socket", options.socket, "--zygote", "pandas", "-c", CommandLineRuns.code])
        let cold = Program(options.python, ["-c", CommandLineRuns.code])
        let (answer, expected) = (try warm.output(), try cold.output())
        guard answer == expected, !answer.isEmpty else {
            throw BenchmarkError("the command line printed \"\(answer)\", Python \"\(expected)\"")
        }
        progress("\(options.commandLineSamples) runs of the command line and of Python")
        var (warmTimes, coldTimes) = (Samples(), Samples())
        for _ in 0..<options.commandLineSamples {
            warmTimes.append(try warm.timed())
            coldTimes.append(try cold.timed())
        }
        let section = "Whole processes: import pandas; print(pandas.__version__), median of \(options.commandLineSamples)"
        report.add(
            Row(
                section, "hatchery python -c", figure: warmTimes.median, unit: "us", samples: warmTimes.count,
                goals: [
                    .atMost(20, "< 20 ms", warmTimes.median / 1000),
                    .atMost(0.1, "<= 1/10 of python3", warmTimes.median / coldTimes.median),
                ]))
        report.add(
            Row(section, "\(options.python) -c", figure: coldTimes.median, unit: "us", samples: coldTimes.count))
    }
}
