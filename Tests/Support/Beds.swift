import Foundation
import Glibc
import Hatchery

/// The daemons that most tests share. Each is started once, when the first test asks for it.
public enum Beds {
    public static let python = "/usr/bin/python3"

    /// Two zygotes as root, without a nursery where a test must know that its child is its own.
    public static let configuration = """
        zygotes:
          - {name: exec, kind: exec, nursery: {min: 1, max: 4}}
          - name: python
            kind: python
            interpreter: \(python)
            preload: [json]
            environment: {ZYGOTE_MARKER: zygote-environment}
            nursery: {min: 1, max: 4}
            warmup: |
              import os
              # A preload that leaks descriptors: read-only, inheritable, high-numbered, and a directory of the host.
              LEAKED = [os.open("/etc/passwd", os.O_RDONLY), os.open("/usr", os.O_RDONLY), os.pipe()[0]]
              os.set_inheritable(LEAKED[0], True)
              os.dup2(LEAKED[1], 700, inheritable=True)
        profiles:
          default: {limits: {wall: {default: \(Int(20 * slowness))s}, pids: {default: 64}}}
          quick: {limits: {wall: {default: 1s, max: 5s}, memory: {default: 64M}, pids: {default: 16, max: 32}}}
        """

    private static let rootDaemon = Result { try TestDaemon(configuration) }
    private static let userDaemon = Result {
        try TestDaemon(configuration.replacingOccurrences(of: "preload: [json]", with: "preload: []"), uid: 65534)
    }

    /// As root, every sandbox with ids of its own.
    public static func root() throws -> TestDaemon { try rootDaemon.get() }

    /// As an ordinary user with one id.
    public static func user() throws -> TestDaemon { try userDaemon.get() }

    /// How many times slower than usual this machine is, for limits that must not be reached: an emulated one is.
    public static let slowness = Double(ProcessInfo.processInfo.environment["HATCHERY_TEST_SLOWNESS"] ?? "") ?? 1

    public static func time(_ usual: Duration) -> Duration { usual * slowness }

    /// Whether this is the machine of Tests/beds/vm.sh.
    public static let isVirtualMachine = ProcessInfo.processInfo.environment["HATCHERY_BED"] == "vm"

    public static let isRoot = geteuid() == 0

    /// Names that appear in `MUST_WORK` or that alone make every skip a failure.
    public static let mustWork = ProcessInfo.processInfo.environment["MUST_WORK"] == "1"

    /// For `.enabled(if:)`: prints why a test is skipped, or fails it where everything is known to be there.
    public static func available(_ condition: Bool, _ reason: String) -> Bool {
        if !condition && !mustWork { print("skipped: \(reason)") }
        return condition || mustWork
    }
}

/// Programs that report from inside, run in either kind of zygote.
public enum Probe {
    public enum Zygote: String, CaseIterable, Sendable { case exec, python }

    public static let source = try! String(
        contentsOfFile: TestDaemon.sources + "/Tests/TestPrograms/probe.py", encoding: .utf8)

    public static func payload(_ zygote: Zygote, code: String, _ arguments: [String] = []) -> Payload {
        switch zygote {
        case .exec: .program(Beds.python, ["-I", "-X", "utf8", "-c", code] + arguments)
        case .python: .python(code: code, arguments)
        }
    }

    /// Runs sections of the probe and decodes its report.
    public static func run(
        _ client: HatcheryClient, _ zygote: Zygote, _ sections: [String], _ options: RunOptions = RunOptions()
    ) async throws -> [String: Any] {
        let result = try await client.run(payload(zygote, code: source, sections), options)
        guard result.verdict == .exited, result.exitCode == 0 else {
            throw TestDaemon.Refused(
                description: "probe: \(result.verdict.name) \(result.exitCode ?? -1)\n\(result.stderr)")
        }
        let object = try JSONSerialization.jsonObject(with: Data(result.stdout.utf8))
        return object as? [String: Any] ?? [:]
    }
}

extension Dictionary where Key == String, Value == Any {
    public func section(_ name: String) -> [String: Any] { self[name] as? [String: Any] ?? [:] }
    public func text(_ name: String) -> String { self[name].map { "\($0)" } ?? "" }
    public func integers(_ name: String) -> [Int] { self[name] as? [Int] ?? [] }
    public func strings(_ name: String) -> [String] { self[name] as? [String] ?? [] }
}
