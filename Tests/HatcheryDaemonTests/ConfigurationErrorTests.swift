import HatcheryDaemon
import Testing

/// Everything here goes through the printed error, because that is what an operator has.
@Suite struct ConfigurationErrorTests {
    static let cases: [(yaml: String, error: String)] = [
        // Keys.
        ("socket:\n  pth: /x\n", "h.yaml:2:3: socket.pth: unknown key; did you mean 'path'?"),
        ("profiles:\n  default:\n    limits:\n      wal: {max: 1s}",
            "h.yaml:4:7: profiles.default.limits.wal: unknown key; did you mean 'wall'?"),
        ("zygotes:\n  - {name: a, knid: exec}", "h.yaml:2:15: zygotes.a.knid: unknown key; did you mean 'kind'?"),
        ("socket: {completely_different: 1}", "h.yaml:1:10: socket.completely_different: unknown key; the keys here are path, mode, group"),
        ("zygotes:\n  - {kind: exec}", "h.yaml:2:5: zygotes[0]: the key 'name' is missing"),
        ("zygotes:\n  - {name: a}", "h.yaml:2:5: zygotes.a: the key 'kind' is missing"),
        // Types.
        ("socket: /x", "h.yaml:1:9: socket: expected a mapping of keys, found '/x'"),
        ("[1]", "h.yaml:1:1: expected a mapping of keys, found a list"),
        ("zygotes: {name: a}", "h.yaml:1:10: zygotes: expected a list, found a mapping"),
        ("profiles:\n- default", "h.yaml:2:1: profiles: expected a mapping of names, found a list"),
        ("zygotes:\n- exec", "h.yaml:2:3: zygotes[0]: expected a mapping of keys, found 'exec'"),
        ("ids: {base: lots}", "h.yaml:1:13: ids.base: expected a whole number, found 'lots'"),
        ("ids: {base: \"70000\"}", "h.yaml:1:13: ids.base: expected a whole number, found the text \"70000\""),
        ("socket:\n  path:\n", "h.yaml:2:8: socket.path: expected an absolute path, found nothing"),
        ("zygotes:\n- name: a\n  kind: python\n  preload: numpy", "h.yaml:4:12: zygotes.a.preload: expected a list, each the name of a module, found 'numpy'"),
        ("zygotes:\n- name: a\n  kind: python\n  preload:\n  - numpy\n  - [x]",
            "h.yaml:6:5: zygotes.a.preload[1]: expected the name of a module, found a list"),
        ("profiles: {default: {environment: {A: [1]}}}",
            "h.yaml:1:39: profiles.default.environment.A: expected a text, found a list"),
        ("profiles: {default: {environment: {A: }}}",
            "h.yaml:1:39: profiles.default.environment.A: the variable has no value; write \"\" for an empty one"),
        ("profiles: {default: {environment: {A-B: x}}}",
            "h.yaml:1:36: profiles.default.environment.A-B: not the name of an environment variable"),
        // Values.
        ("idle_exit: soon", "h.yaml:1:12: idle_exit: 'soon' is not a duration; write seconds, or a number followed by ms, s, m or h, such as 30s"),
        ("idle_exit: 0", "h.yaml:1:12: idle_exit: 0 is not between 1ms and 8760h"),
        ("socket: {path: run/x}", "h.yaml:1:16: socket.path: 'run/x' is not an absolute path"),
        ("socket: {path: /run/../x}", "h.yaml:1:16: socket.path: the path '/run/../x' contains '..'"),
        ("socket: {mode: 0888}", "h.yaml:1:16: socket.mode: expected a file mode in octal, such as \"0660\", found '0888'"),
        ("socket: {mode: 4660}", "h.yaml:1:16: socket.mode: the mode 4660 has bits beside read, write and execute"),
        ("socket: {mode: \"0440\"}", "h.yaml:1:16: socket.mode: nobody can connect to a socket with mode 0440"),
        ("socket: {group: \"a:b\"}", "h.yaml:1:17: socket.group: 'a:b' is not the name of a group"),
        ("profiles: {default: {network: host}}",
            "h.yaml:1:31: profiles.default.network: 'host' is not one of none, loopback, nat"),
        ("profiles: {default: {network: lopback}}",
            "h.yaml:1:31: profiles.default.network: 'lopback' is not one of none, loopback, nat; did you mean 'loopback'?"),
        ("profiles: {default: {home: /}}", "h.yaml:1:28: profiles.default.home: the root of the sandbox cannot be a home directory"),
        ("profiles: {default: {seccomp: ./x}}",
            "h.yaml:1:31: profiles.default.seccomp: './x' is neither a policy's name nor an absolute path"),
        ("profiles: {default: {hostname: a_b}}",
            "h.yaml:1:32: profiles.default.hostname: 'a_b' is not a host name of at most 64 letters, digits, '-' and '.'"),
        ("profiles: {Default: }",
            "h.yaml:1:12: profiles.Default: 'Default' is not a name: a lower-case letter, then up to 62 lower-case letters, digits, '_' or '-'"),
        // Between keys.
        ("profiles: {default: {limits: {wall: {default: 10s, max: 5s}}}}",
            "h.yaml:1:47: profiles.default.limits.wall.default: the default (10s) is above the max (5s)"),
        ("profiles: {default: {limits: {memory: {max: 1M}}}}",
            "h.yaml:1:45: profiles.default.limits.memory.max: the default (512M, built in) is above the max (1M)"),
        ("zygotes:\n- {name: a, kind: exec, nursery: {min: 33}}",
            "h.yaml:2:40: zygotes.a.nursery.min: the min (33) is above the max (32, built in)"),
        ("zygotes:\n- {name: a, kind: exec}\n- {name: a, kind: exec}",
            "h.yaml:3:10: zygotes.a: the name 'a' comes twice, first at h.yaml:2:10"),
        ("zygotes: []", "h.yaml:1:10: zygotes: a daemon without zygotes can do nothing"),
        ("zygotes:\n- {name: a, kind: exec, freeze: true}",
            "h.yaml:2:33: zygotes.a.freeze: a zygote of kind exec has no such key; it preloads nothing"),
        ("zygotes:\n- {name: a, kind: exec, preload: [numpy]}",
            "h.yaml:2:34: zygotes.a.preload: a zygote of kind exec has no such key; it belongs to kind python"),
        ("zygotes:\n- {name: a, kind: swift}", "h.yaml:2:3: zygotes.a.executable: a zygote of kind swift must name its executable"),
        ("profiles: {strict: }\nzygotes:\n- {name: a, kind: exec, profile: stirct}",
            "h.yaml:3:34: zygotes.a.profile: there is no profile 'stirct'; did you mean 'strict'?"),
    ]

    @Test(arguments: cases)
    func theErrorNamesPlaceKeyAndRemedy(yaml: String, error: String) {
        let thrown = #expect(throws: ConfigurationError.self) { try Configuration(yaml: yaml, file: "h.yaml") }
        #expect(thrown?.description == error)
    }

    static func refusal(of yaml: String) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try Configuration(yaml: yaml, file: "h.yaml")
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: ["65535", "0", "1000", "2147483648", "-1", "4294967296"])
    func idsThatBelongToOthersAreRefused(base: String) {
        #expect(Self.refusal(of: "ids: {base: \(base)}")?.path == "ids.base")
    }

    @Test func aRangeOfIDsEndsWhereIdsEnd() throws {
        #expect(try Configuration(yaml: "ids: {base: 2147483584, count: 64}", file: "h.yaml").ids.range.last == 2_147_483_647)
        #expect(Self.refusal(of: "ids: {base: 2147483584, count: 65}")?.path == "ids.count")
        #expect(Self.refusal(of: "ids: {base: 2147483640}")?.path == "ids.base")
    }

    @Test(arguments: [0, 1, 2, 63])
    func aRangeTooSmallForSandboxesIsRefused(count: Int) {
        let refusal = Self.refusal(of: "ids: {count: \(count)}")
        #expect(refusal?.path == "ids.count")
        #expect(refusal?.message == "\(count) is not between 64 and 2147483647")
    }

    @Test(arguments: ["uid: 0", "uid: 65534", "gid: 0", "gid: 65535"])
    func idsOfTheSandboxThatBelongToOthersAreRefused(entry: String) {
        #expect(Self.refusal(of: "profiles: {default: {\(entry)}}")?.path == "profiles.default.\(entry.prefix(3))")
    }

    @Test func aDiskLimitOfZeroIsRefused() {
        let error = Self.refusal(of: "profiles: {default: {limits: {disk: {default: 0}}}}")
        #expect(error?.message == "0 is not between 4K and 1024T".replacing("1024T", with: "1048576G"))
    }

    @Test(arguments: ["os; import x", "", ".", "a..b", "a b", "1a", "a-b", "a\\n"])
    func aModuleNameHoldsNoCode(name: String) {
        let error = Self.refusal(of: "zygotes: [{name: p, kind: python, preload: [\"\(name)\"]}]")
        #expect(error?.path == "zygotes.p.preload[0]")
    }

    @Test func aSocketPathFitsItsAddress() throws {
        let longest = "/" + String(repeating: "x", count: 106)
        #expect(try Configuration(yaml: "socket: {path: \(longest)}", file: "h.yaml").socket.path == longest)
        #expect(Self.refusal(of: "socket: {path: \(longest)x}")?.message
            == "a socket's path has at most 107 bytes, this one has 108")
    }

    @Test func aTextWithNULIsRefused() {
        #expect(Self.refusal(of: "socket: {path: \"/a\\0b\"}")?.message == "the text contains a NUL character")
    }
}
