import ArgumentParser
import Glibc

/// `hatchery bench`: the project's own harness, which is a package of its own and not part of what is installed.
struct BenchCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure this Hatchery beside the kernel's own price.",
        discussion: """
            Calls Benchmarks/run.sh of the source tree that this program was built in, or of the one that HATCHERY_SOURCE names. It builds \
            what is not fresh, starts daemons of its own, and prints each goal with its ratio, met or missed.
            """)

    @Flag(help: "At most 3 minutes on 2 cores, without the build, and fewer samples.") var quick = false
    @Flag(help: "Measure although the machine is busy.") var force = false
    @Option(help: ArgumentHelp("The same figures as JSON.", valueName: "file")) var json: String?
    @Option(help: ArgumentHelp("Spawn time against preloaded megabytes, as SVG.", valueName: "file")) var plot: String?
    @Option(help: ArgumentHelp("So many spawns in the test of growth.", valueName: "n")) var growth: Int?

    func perform() -> Int32 {
        guard let script = BenchCommand.script() else {
            let place = getenv("HATCHERY_SOURCE").map { "in \(String(cString: $0)), which HATCHERY_SOURCE names" }
            Console.error(
                "hatchery: bench: no Benchmarks/run.sh \(place ?? "above \(OwnProgram.path())"); set HATCHERY_SOURCE to a source tree of Hatchery")
            return ExitStatus.hatcheryFailed
        }
        var words = [script]
        if quick { words.append("--quick") }
        if force { words.append("--force") }
        if let json { words += ["--json", json] }
        if let plot { words += ["--plot", plot] }
        if let growth { words += ["--growth", "\(growth)"] }
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        execv(script, arguments)
        Console.error("hatchery: bench: \(script): \(String(cString: strerror(errno)))")
        return ExitStatus.notExecutable
    }

    /// The harness of the tree that HATCHERY_SOURCE names, else of one above this program's own place (.build/release/hatchery).
    static func script() -> String? {
        if let tree = getenv("HATCHERY_SOURCE") { return runnable(in: String(cString: tree)) }
        var place = OwnProgram.path()
        while let slash = place.lastIndex(of: "/"), place != "/" {
            place = String(place[..<slash])
            if let found = runnable(in: place) { return found }
        }
        return nil
    }

    private static func runnable(in tree: String) -> String? {
        let script = tree + "/Benchmarks/run.sh"
        return access(script, X_OK) == 0 ? script : nil
    }
}
