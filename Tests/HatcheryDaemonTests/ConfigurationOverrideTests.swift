import Foundation
import Testing

@testable import HatcheryDaemon

@Suite struct ConfigurationOverrideTests {
    private func load(
        _ yaml: String = "", environment: [String: String] = [:], overrides: [String] = []
    ) throws(ConfigurationError) -> Configuration {
        try Configuration(yaml: yaml, file: "h.yaml", environment: environment, overrides: overrides)
    }

    private func refusal(
        _ yaml: String = "", environment: [String: String] = [:], overrides: [String] = []
    ) -> String? {
        do throws(ConfigurationError) {
            _ = try load(yaml, environment: environment, overrides: overrides)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func aFlagWinsOverTheEnvironmentAndThatOverTheFile() throws {
        let yaml = "socket: {path: /file, mode: 0600}\nidle_exit: 1m"
        let environment = ["HATCHERY_SOCKET_PATH": "/environment", "HATCHERY_IDLE_EXIT": "2m"]
        let configuration = try load(yaml, environment: environment, overrides: ["socket.path=/flag", "socket.path=/last"])
        #expect(configuration.socket.path == "/last")
        #expect(configuration.idleExit == .seconds(120))
        #expect(configuration.socket.mode == 0o600)
    }

    @Test func membersAreOverriddenByName() throws {
        let configuration = try load(
            "zygotes: [{name: my-py, kind: python}]",
            environment: [
                "HATCHERY_ZYGOTES_MY_PY_NURSERY_MAX": "7", "HATCHERY_PROFILES_DEFAULT_ENVIRONMENT_LC_ALL": "C",
                "HATCHERY_ZYGOTES_MY_PY_PRELOAD": "[numpy, pandas]",
            ],
            overrides: [
                "profiles.default.limits.wall.default=5s", "zygotes.new.kind=exec", "zygotes.my-py.warmup=x = {1: 2} # y",
                "profiles.fresh.network=nat", "zygotes.my-py.bind=[/a, /b]",
            ])
        #expect(configuration.zygotes.map(\.name) == ["my-py", "new"])
        #expect(configuration.zygotes[0].nursery.max == 7)
        #expect(configuration.zygotes[0].preload == ["numpy", "pandas"])
        #expect(configuration.zygotes[0].warmup == "x = {1: 2} # y")
        #expect(configuration.zygotes[0].bind == ["/a", "/b"])
        #expect(configuration.profiles["fresh"]?.network == .nat)
        #expect(configuration.profiles["default"]?.limits.wall.default == .seconds(5))
        let defaults = ProfileConfiguration().environment
        #expect(configuration.profiles["default"]?.environment == defaults.merging(["LC_ALL": "C"]) { $1 })
    }

    @Test func theDefaultZygoteIsThereToBeOverridden() throws {
        let configuration = try load(overrides: ["zygotes.exec.nursery.max=64", "zygotes.python.kind=python"])
        #expect(configuration.zygotes.map(\.name) == ["exec", "python"])
        #expect(configuration.zygotes[0].nursery.max == 64)
    }

    @Test(arguments: [
        ("socket.pth=/x", "override 'socket.pth=/x': socket.pth: unknown key; did you mean 'path'?"),
        ("socket=/x", "override 'socket=/x': socket: is not a single value; name one of its keys: path, mode, group"),
        ("profiles.default=1", "override 'profiles.default=1': profiles: is not a single value; write profiles.NAME.KEY=VALUE"),
        ("socket.path.x=/x", "override 'socket.path.x=/x': socket.path.x: 'socket.path' has no keys"),
        ("socket.path", "override 'socket.path': an override is written KEY=VALUE, such as socket.path=/tmp/socket"),
        ("ids.count=x", "override 'ids.count=x': ids.count: expected a whole number, found 'x'"),
        ("zygotes.exec.bind=[", "override 'zygotes.exec.bind=[': zygotes.exec.bind: not YAML: while parsing a flow node (begun at line 2): did not find expected node content"),
    ])
    func anErrorOfAFlagNamesTheFlag(override: String, error: String) {
        #expect(refusal(overrides: [override]) == error)
    }

    @Test func anErrorOfTheEnvironmentNamesTheVariable() {
        #expect(refusal(environment: ["HATCHERY_IDS_BASE": "1"])
            == "environment variable HATCHERY_IDS_BASE: ids.base: 1 is not between 65536 and 2147483647")
        #expect(refusal(environment: ["HATCHERY_SOCKET_PAHT": "/x"])
            == "environment variable HATCHERY_SOCKET_PAHT: names no key of the configuration; did you mean 'HATCHERY_SOCKET_PATH'?")
        #expect(refusal(environment: ["HATCHERY_PROFILES_NOBODY_UID": "1"])
            == "environment variable HATCHERY_PROFILES_NOBODY_UID: names no key of the configuration")
        #expect(refusal(
            "zygotes: [{name: a-b, kind: exec}, {name: a_b, kind: exec}]", environment: ["HATCHERY_ZYGOTES_A_B_INSTANCES": "2"])
            == "environment variable HATCHERY_ZYGOTES_A_B_INSTANCES: can mean zygotes.a-b.instances and zygotes.a_b.instances; use a flag")
    }

    @Test func variablesOfOtherPartsAreLeftAlone() throws {
        let environment = ["HATCHERY_SOCKET": "/x", "HATCHERY_TESTING": "1", "PATH": "/bin", "HATCHERY_CONFIG": "x"]
        #expect(try load(environment: environment) == Configuration())
    }

    @Test func everyValueKnowsItsOrigin() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("hatchery-\(UUID().uuidString).yaml").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        try "socket: {path: /a}\n".write(toFile: file, atomically: false, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
        let loaded = try Configuration.loadWithOrigins(
            path: file, environment: ["HATCHERY_SOCKET_MODE": "0600"], overrides: ["idle_exit=5m"])
        let origins = Dictionary(uniqueKeysWithValues: loaded.listing.map { ($0.path, $0.origin) })
        #expect(origins["socket.path"] == .file(file, line: 1, column: 16))
        #expect(origins["socket.mode"] == .environment("HATCHERY_SOCKET_MODE"))
        #expect(origins["idle_exit"] == .flag("idle_exit=5m"))
        #expect(origins["ids.base"] == .builtIn)
        #expect(loaded.listing.first { $0.path == "idle_exit" }?.text == "5m")

        try "zygotes:\n  - {name: p, kind: python, interpreter: /no/such}\n".write(toFile: file, atomically: false, encoding: .utf8)
        let wrong = try Configuration.loadWithOrigins(path: file, environment: [:], overrides: [])
        let error = #expect(throws: ConfigurationError.self) { try ConfigurationCheck.perform(wrong) }
        #expect(error?.description.hasPrefix("\(file):2:42: zygotes.p.interpreter: /no/such: ENOENT") == true, "\(String(describing: error))")

        try FileManager.default.setAttributes([.posixPermissions: 0o646], ofItemAtPath: file)
        #expect(throws: ConfigurationError(origin: nil, message: "\(file): everybody can write this file; chmod o-w it")) {
            try Configuration.load(path: file, environment: [:], overrides: [])
        }
    }

    @Test func aFileThatIsNamedMustExist() {
        #expect(throws: ConfigurationError.self) {
            try Configuration.load(path: "/nonexistent/hatchery.yaml", environment: [:], overrides: [])
        }
        #expect(throws: ConfigurationError(origin: nil, message: "/dev/null: is not a regular file")) {
            try Configuration.load(path: "/dev/null", environment: [:], overrides: [])
        }
    }
}
