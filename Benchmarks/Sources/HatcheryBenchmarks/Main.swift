import Foundation
import Hatchery

@main
struct Main {
    static func main() async {
        do {
            let arguments = Array(CommandLine.arguments.dropFirst())
            if arguments.first == "lives" {
                try await Lives(Array(arguments.dropFirst())).lead()
            } else if arguments.first == "networked" {
                var report = Report(host: .gather(python: "none", commit: "unknown"), quick: false)
                try await Networked(Array(arguments.dropFirst())).addRows(to: &report)
                report.loadAfter = HostFacts.loadAverage()
                print(report.text(), terminator: "")
            } else if arguments.first == "crowds" || arguments.first == "live" {
                // `hatchery-benchmarks crowds|live --socket PATH [--quick]`, against a daemon with exec, exec-miss and pandas.
                var report = Report(host: .gather(python: "none", commit: "unknown"), quick: false)
                let options = Options(
                    socket: arguments.firstIndex(of: "--socket").flatMap { $0 + 1 < arguments.count ? arguments[$0 + 1] : nil } ?? "",
                    isQuick: arguments.contains("--quick"))
                if arguments.first == "crowds" { try await Crowds(options: options).addRows(to: &report) }
                try await LiveChildren(options: options).addRows(to: &report)
                report.loadAfter = HostFacts.loadAverage()
                print(report.text(), terminator: "")
            } else {
                try await measure(Options(arguments))
            }
        } catch {
            progress("\(error)")
            exit(1)
        }
    }

    private static func measure(_ options: Options) async throws {
        let version = try Program(
            options.python,
            ["-c", "import platform, numpy, pandas; print('CPython', platform.python_version(), 'numpy', numpy.__version__, 'pandas', pandas.__version__)"]
        ).output().trimmingCharacters(in: .whitespacesAndNewlines)
        var host = HostFacts.gather(python: version, commit: options.commit)
        guard host.load <= Options.highestLoad || options.isForced else {
            throw BenchmarkError(
                "the load average is \(host.load), above \(Options.highestLoad); wait, or say --force for figures that mean little")
        }
        let client = try await HatcheryClient.connect(socketPath: options.socket)
        host.daemon = client.welcome.version
        let first = try await Life.lead(.python(code: "print(1)"), in: "pandas", on: client, readsFirstByte: true)
        host.receiptActive = Layer.allCases.filter { first.receipt.active.contains($0) }.map(\.name)
        host.receiptMissing = Layer.allCases.filter { !first.receipt.active.contains($0) }.map(\.name)

        var report = Report(host: host, quick: options.isQuick)
        var floors = Floors()
        try floors.measureHalf(options)
        let spawns = try await Spawns(client: client, options: options).measure()
        try floors.measureHalf(options)
        floors.addRows(to: &report)
        spawns.addRows(to: &report, floors: floors)
        try await Rates(options: options).addRows(to: &report)
        try CommandLineRuns(options: options).addRows(to: &report)
        try await ParkedMemory(options: options).addRows(to: &report)
        try await Surroundings(options: options).addRows(to: &report)
        try await Ballast(options: options).addRows(to: &report)
        if let socket = options.networkedSocket {
            try await Networked(socket: socket, samples: options.samples).addRows(to: &report)
        }
        try Peers(options: options).addRows(to: &report)
        do {
            try await Crowds(options: options).addRows(to: &report)
            try await LiveChildren(options: options).addRows(to: &report)
        } catch {
            // What took twenty minutes until here is told all the same.
            report.add(Row("Many at once", "not measured further: \(error)", figure: .nan, unit: "us", samples: 0))
        }
        report.loadAfter = HostFacts.loadAverage()
        print(report.text(), terminator: "")
        if let path = options.json { try report.json().write(to: URL(fileURLWithPath: path)) }
    }
}
