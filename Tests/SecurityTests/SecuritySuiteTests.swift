import CHatchery
import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// `hatchery security-test`: the product's own suite, against the daemons that the tests share.
@Suite struct SecuritySuiteTests {
    @Test func nothingGetsThroughAsRoot() async throws {
        let report = try await SuiteRun.report(Beds.root().socketPath)
        #expect(report.unexpected == [])
        #expect(report.judged.count >= 300)
        #expect(report.status == 0)
    }

    @Test(.enabled(if: Beds.available(Beds.isRoot, "starting a daemon as another user needs root")))
    func nothingGetsThroughAsAnOrdinaryUser() async throws {
        let report = try await SuiteRun.report(Beds.user().socketPath, uid: UserClient.uid)
        #expect(report.unexpected == [])
        #expect(report.judged.count >= 300)
    }

    /// The twin of every layer: without it the suite fails, and it is probes of that layer that fail.
    @Test(.enabled(if: Beds.available(Beds.isRoot, "leaving layers out takes ids of a range")), arguments: SuiteRun.layersWithTwins)
    func withoutALayerItsProbesFail(_ layer: Layer) async throws {
        try await twin(of: layer, classes: SuiteRun.classes)
    }

    /// The same for a layer that few hosts have whole; the virtual machine's bed does. Its probes take a gigabyte each and no more.
    @Test(
        .enabled(
            if: Beds.available(
                Beds.isRoot && CgroupBed.isComplete, "the cgroup v2 hierarchy lacks the controllers memory, pids or cpu")))
    func withoutTheCgroupItsProbesFail() async throws {
        // By emulation a gigabyte takes ten seconds and more.
        try await twin(of: .cgroup, classes: ["exhaustion"], zygotes: Beds.isVirtualMachine ? ["exec"] : ["exec", "python"])
    }

    private func twin(of layer: Layer, classes: [String], zygotes: [String] = ["exec", "python"]) async throws {
        // Sandboxes that share the zygote's tree leave files there; no other test may meet them.
        let daemon = try TestDaemon(SuiteRun.configuration)
        defer { daemon.stop() }
        let kinds = zygotes.flatMap { ["--zygote", $0] }
        let report = try await SuiteRun.report(
            daemon.socketPath, kinds + classes.flatMap { ["--class", $0] } + ["--layer", layer.name, "--without", layer.name])
        #expect(report.status == 1)
        #expect(!report.unexpected.isEmpty)
        // The same probes, with the layer: so the failures are the layer's.
        let failed = Set(report.results.filter { $0.text("verdict") == "failed" }.map { $0.text("id") })
        let whole = try await SuiteRun.report(daemon.socketPath, kinds + failed.flatMap { ["--only", $0] })
        #expect(whole.unexpected == [])
        #expect(Set(whole.judged.map { $0.text("id") }) == failed)
    }

    @Test func everyLayerHasProbes() async throws {
        let list = try await SuiteRun.output(["--list", "--format", "json"])
        let probes = try JSONSerialization.jsonObject(with: Data(list.utf8)) as? [[String: Any]] ?? []
        #expect(probes.count >= 300)
        #expect(Set(probes.map { $0.text("id") }).count == probes.count)
        for layer in Layer.allCases {
            #expect(probes.contains { $0.strings("layers").contains(layer.name) }, "\(layer.name)")
        }
    }

    /// The threat model names probes; each is there, and every layer has its row.
    @Test func theThreatModelsProbesExist() async throws {
        let text = try String(contentsOfFile: TestDaemon.sources + "/Docs/ThreatModel.md", encoding: .utf8)
        let section = text.components(separatedBy: "## What shows it").last?.components(separatedBy: "\n## ").first ?? ""
        let list = try await SuiteRun.output(["--list"])
        let known = Set(list.split(separator: "\n").map { String($0.prefix { $0 != " " }) })
        let named = section.components(separatedBy: "`").filter { name in
            name.contains(".") && !name.contains(" ") && name.allSatisfy { $0.isLowercase || $0.isNumber || ".-_".contains($0) }
        }
        #expect(named.count > 60)
        for name in named { #expect(known.contains(name), "\(name)") }
        for layer in Layer.allCases { #expect(section.contains("\n| \(layer.name) |"), "\(layer.name)") }
    }

    @Test func theReportComesAsTextJSONAndJUnit() async throws {
        let socket = try Beds.root().socketPath
        let chosen = ["--socket", socket, "--class", "terminal", "--zygote", "exec"]
        let text = try await SuiteRun.output(chosen)
        #expect(text.hasSuffix("Probes: 7 passed, 0 failed, 0 skipped\n"))
        let file = "/tmp/hatchery-report-\(UUID().uuidString)"
        defer { unlink(file) }
        #expect(try await SuiteRun.output(chosen + ["--format", "junit", "--output", file]) == "")
        let xml = try XMLReader.counts(of: file)
        #expect(xml == ["testsuite": 1, "testcase": 7])
    }

    @Test func wrongNamesAreRefused() async throws {
        #expect(try await SuiteRun.status(["--only", "no.such-probe"]) == 125)
        #expect(try await SuiteRun.status(["--class", "nothing"]) == 125)
        #expect(try await SuiteRun.status(["--without", "nothing"]) == 125)
    }
}

/// Runs the command, away from the threads that tests share.
enum SuiteRun {
    /// Landlock is not on every kernel; those of the others are always there. The cgroup has a test of its own.
    static let layersWithTwins = Layer.allCases.filter { $0 != .cgroup && ($0 != .landlock || Host.hasLandlock) }

    /// All but those that take until nothing is left: without their layer they would.
    static let classes = [
        "image", "descriptors", "root", "mounts", "namespaces", "ids", "capabilities", "setuid", "devices", "terminal",
        "keyrings", "processes", "peers", "sockets", "families", "kernel", "entries", "clock", "proc", "cgroups", "limits",
        "zygote", "daemon", "life",
    ]

    /// Zygotes without a nursery; the preload leaves a descriptor open.
    static let configuration = """
        zygotes:
          - {name: exec, kind: exec, nursery: {min: 0, max: 0}}
          - name: python
            kind: python
            interpreter: \(Beds.python)
            nursery: {min: 0, max: 0}
            warmup: "import os; LEAKED = os.open('/usr', os.O_RDONLY)"
        """

    struct Ended: Error, CustomStringConvertible {
        var description: String
    }

    struct Report {
        var status: Int32
        var results: [[String: Any]]

        /// `id (zygote): what came`, of every probe that failed.
        var unexpected: [String] { lines("failed") }
        var judged: [[String: Any]] { results.filter { $0.text("verdict") != "skipped" } }

        func lines(_ verdict: String) -> [String] {
            results.filter { $0.text("verdict") == verdict }
                .map { "\($0.text("id")) (\($0.text("zygote"))): \($0.text("got"))" }
        }
    }

    static func report(_ socket: String, uid: uid_t? = nil, _ arguments: [String] = []) async throws -> Report {
        let (status, output) = try await run(["--socket", socket, "--format", "json"] + arguments, uid: uid)
        guard let object = try? JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any] else {
            throw Ended(description: "security-test ended with \(status) and without a report")
        }
        return Report(status: status, results: object["results"] as? [[String: Any]] ?? [])
    }

    static func output(_ arguments: [String]) async throws -> String { try await run(arguments, uid: nil).output }

    static func status(_ arguments: [String]) async throws -> Int32 { try await run(arguments, uid: nil).status }

    private static func run(_ arguments: [String], uid: uid_t?) async throws -> (status: Int32, output: String) {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try runHere(arguments, uid) }) }
        }
    }

    private static func runHere(_ arguments: [String], _ uid: uid_t?) throws -> (Int32, String) {
        let process = Process()
        let words = [TestDaemon.binaries + "/hatchery", "security-test"] + arguments
        let user = uid.map { ["--reuid", "\($0)", "--regid", "\($0)", "--clear-groups"] } ?? ["--"]
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments = user + words
        let output = Foundation.Pipe()
        process.standardOutput = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }
}

private enum Host {
    static let hasLandlock = Beds.available(hatchery_probe_landlock() > 0, "the kernel has no Landlock")
}

/// How often an XML file opens each of two elements; a file that is not well-formed is an error.
private enum XMLReader {
    static func counts(of path: String) throws -> [String: Int] {
        let program = """
            import sys, xml.etree.ElementTree as tree
            for name in ("testsuite", "testcase"): print(name, sum(1 for _ in tree.parse(sys.argv[1]).iter(name)))
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Beds.python)
        process.arguments = ["-I", "-c", program, path]
        let output = Foundation.Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return Dictionary(
            uniqueKeysWithValues: text.split(separator: "\n").map { line in
                let words = line.split(separator: " ")
                return (String(words[0]), Int(words[1]) ?? -1)
            })
    }
}
