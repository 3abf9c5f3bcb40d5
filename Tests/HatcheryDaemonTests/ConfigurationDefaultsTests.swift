import HatcheryDaemon
import Testing

@Suite struct ConfigurationDefaultsTests {
    @Test(arguments: ["", "\n", "# nothing\n", "---\n", "{}", "socket:\nids:\nprofiles:\n", "profiles: {default: }"])
    func anEmptyFileIsTheDefaults(yaml: String) throws {
        #expect(try Configuration(yaml: yaml, file: "h.yaml") == Configuration())
    }

    @Test func theDefaultsAreOneExecZygoteAndOneProfile() {
        let configuration = Configuration()
        #expect(configuration.zygotes.map(\.name) == ["exec"])
        #expect(configuration.zygotes.map(\.kind) == [.exec])
        #expect(configuration.profiles == ["default": ProfileConfiguration()])
        #expect(configuration.idleExit == nil)
    }

    @Test func theExampleOfTheContractIsRead() throws {
        let configuration = try Configuration(
            yaml: """
                socket: {path: /run/hatchery/hatchery.sock, mode: "0660", group: hatchery}
                idle_exit: 5m
                zygotes:
                  - {name: exec, kind: exec, nursery: {min: 4, max: 32}}
                  - {name: python, kind: python, interpreter: /usr/bin/python3, preload: [numpy, pandas.io], warmup: "import x",
                     rehearsal: "f()", environment: {LC_ALL: C.UTF-8, N: 1}, nursery: {min: 2, max: 3}, freeze: false}
                  - {name: svc, kind: swift, executable: /opt/svc, arguments: [--model, "5"], bind: [/opt], start_timeout: 1.5m,
                     instances: 2, profile: open}
                profiles:
                  open: {network: nat, limits: {wall: {default: 250ms}, memory: {default: 1G, max: 8G}, cpus: {default: 0.5}}}
                """, file: "h.yaml")
        #expect(configuration.socket.group == "hatchery")
        #expect(configuration.socket.mode == 0o660)
        #expect(configuration.idleExit == .seconds(300))

        let python = configuration.zygotes[1]
        #expect(python.preload == ["numpy", "pandas.io"])
        #expect(python.warmup == "import x")
        #expect(python.rehearsal == "f()")
        #expect(python.environment == ["LC_ALL": "C.UTF-8", "N": "1"])
        #expect(python.nursery.min == 2)
        #expect(python.nursery.max == 3)
        #expect(!python.freeze)

        let service = configuration.zygotes[2]
        #expect(service.executable == "/opt/svc")
        #expect(service.arguments == ["--model", "5"])
        #expect(service.bind == ["/opt"])
        #expect(service.startTimeout == .seconds(90))
        #expect(service.instances == 2)
        #expect(service.freeze)

        let open = try #require(configuration.profiles["open"])
        #expect(open.network == .nat)
        #expect(open.limits.wall == LimitConfiguration(default: .milliseconds(250), max: .seconds(600)))
        #expect(open.limits.memory == LimitConfiguration(default: 1 << 30, max: 8 << 30))
        #expect(open.limits.cpus == LimitConfiguration(default: 0.5, max: 64))
        #expect(configuration.profiles["default"] == ProfileConfiguration())
    }

    @Test func everyProfileStartsFromTheBuiltInDefaults() throws {
        let configuration = try Configuration(
            yaml: "profiles: {default: {network: nat}, strict: {hostname: s}}", file: "h.yaml")
        #expect(configuration.profiles["default"]?.network == .nat)
        #expect(configuration.profiles["strict"]?.network == NetworkMode.none)
    }
}
