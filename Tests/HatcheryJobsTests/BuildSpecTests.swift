import Foundation
import HatcheryConfigurationText
@testable import HatcheryJobs
import Glibc
import HatcherySteps
import Testing

@testable import HatcheryBuildSpec

/// Row D: what a spec says, and what is wrong with it, before anything runs.
struct BuildSpecTests {
    private func spec(_ text: String) throws -> BuildSpec { try BuildSpec(yaml: text, file: "dir/b.yml") }

    @Test func entriesAreWordsListsOrShells() throws {
        let read = try spec(
            """
            execute:
              - make 'a b' "c"
              - [make, "a b", "$HOME"]
              - run: make
                time: 5s
              - shell: make | tee log
              - {background: serve --port 80, port: 80, time: 3s}
              - background: {shell: "serve & wait"}
            """)
        let steps = read.phases[.execute]!.steps
        #expect(steps.map(\.command) == [
            ["make", "a b", "c"], ["make", "a b", "$HOME"], ["make"], ["/bin/sh", "-e", "-c", "make | tee log"],
            ["serve", "--port", "80"], ["/bin/sh", "-e", "-c", "serve & wait"],
        ])
        #expect(steps.map { $0.kind == .background } == [false, false, false, false, true, true])
        #expect(steps[2].time == .seconds(5) && steps[4].port == 80 && steps.map(\.line) == [2, 3, 4, 6, 7, 8])
    }

    @Test(arguments: [
        ("exekute: [make]", "b.yml:1:1: exekute: unknown key; did you mean 'execute'?"),
        ("execute: make", "execute: expected a list of commands, found 'make'"),
        ("execute:\n  - make | tee log", "b.yml:2:5: execute[0]: an unquoted '|', an operator of shells"),
        ("execute:\n  - make\n  - {rum: x}", "b.yml:3:6: execute[1].rum: unknown key; did you mean 'run'?"),
        ("execute: [{run: a, shell: b}]", "an entry has one of"), ("execute: [{time: 1s}]", "what is to run?"),
        ("execute: [{run: a, port: 80}]", "only a 'background' entry has a port"), ("execute: ['']", "the command is empty"),
        ("execute: [[]]", "the command is empty"), ("execute: [{shell: ' '}]", "the command is empty"), ("execute: [a, ]\ninstall:\n  stps: []", "did you mean 'steps'?"),
        ("{}", "the spec runs nothing"), ("execute: []", "the spec runs nothing"), ("- a", "expected a mapping of keys"),
        ("execute: [a]\nexecute: [b]", "the key comes twice"), ("a: &x [b]\nexecute: *x", "anchors"),
        ("rights: {network: nat}\nexecute: {rights: {network: lopback}, steps: [a]}", "did you mean 'loopback'?"),
        ("execute: {rights: {network: nat}, steps: [a]}", "nat is more than the loopback that is left here; write it under 'grant'"),
        ("install: {rights: {writable: [x]}, steps: [a]}\nexecute: {rights: {writable: [y]}, steps: [a]}", "b.yml:2:30: execute.rights.writable: 'y' is more than"),
        ("install: {rights: {limits: {memory: 100M}}, steps: [a]}\nexecute: {rights: {limits: {memory: 200M}}, steps: [a]}", "execute.rights.limits.memory"),
        ("execute: {rights: {writable: [../x]}, steps: [a]}", "is not a path below the work directory"),
        ("secrets: {token: {file: t}}\nexecute: {grant: {secrets: [tokn]}, steps: [a]}", "there is no secret 'tokn' under 'secrets'; did you mean 'token'?"),
        ("secrets: {token: {}}\nexecute: [a]", "either from 'file' or from 'environment'"), ("secrets: {1x: {file: a}}\nexecute: [a]", "a secret's name"),
        ("execute: {rights: {secrets: [a]}, steps: [a]}", "unknown key"), ("pypi: {extra-index-url: [\"a\\nb\"]}\nexecute: [a]", "control characters"),
        ("pypi: {index-servers: {main: {}}}\nexecute: [a]", "the key 'repository' is missing"),
    ])
    func aWrongSpecNamesPlaceAndKey(_ text: String, _ message: String) {
        let error = #expect(throws: ConfigurationError.self) { try spec(text) }
        #expect(error.map { "\($0)".contains(message) } == true, "\(String(describing: error))")
        #expect(error.map { "\($0)".hasPrefix("dir/b.yml:") } == true)
    }

    @Test func rightsOnlyShrinkAndAGrantIsForItsPhaseAlone() throws {
        let read = try spec(
            """
            secrets: {TOKEN: {environment: T}}
            rights: {network: nat, limits: {pids: 100}}
            install: [a]
            before: {rights: {network: loopback, writable: [build]}, steps: [a]}
            execute: {rights: {limits: {pids: 50}}, grant: {network: nat, secrets: [TOKEN], writable: [.]}, steps: [a]}
            after: {rights: {network: none, writable: []}, steps: [a]}
            production: {grant: {secrets: [TOKEN]}, steps: [a]}
            """)
        let rights = BuildPhase.allCases.compactMap { read.phases[$0]?.rights }
        #expect(rights.map(\.network) == [.nat, .loopback, .nat, .none, .none])
        #expect(rights.map(\.writable) == [[".", "~"], ["build"], ["."], [], []])
        #expect(rights.map(\.limits.pids) == [100, 100, 50, 50, 50])
        #expect(BuildPhase.allCases.compactMap { read.phases[$0]?.secrets } == [[], [], ["TOKEN"], [], ["TOKEN"]])
        let text = BuildText.explanation(of: read)
        #expect(text.contains("execute (until the first failure)\n  network: outside") && text.contains("secrets: TOKEN"))
    }

    /// The schema for editors knows the keys that the reader knows, no more and no less.
    @Test func theJSONSchemaHasTheSameKeys() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../Docs/Schemas/build-spec.schema.json")
        let schema = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any] ?? [:]
        func keys(_ object: Any?) -> Set<String> { Set(((object as? [String: Any])?["properties"] as? [String: Any] ?? [:]).keys) }
        let definitions = schema["$defs"] as? [String: Any] ?? [:]
        #expect(keys(schema) == Set(BuildSpecText.schema.fields.map(\.name)))
        #expect(keys(definitions["entry"]) == Set(StepText.keys))
        #expect(keys(definitions["section"]) == Set(BuildSpecText.phaseSchema.fields.map(\.name)))
        #expect(keys(definitions["rights"]) == Set(BuildSpecText.rights(secrets: false).fields.map(\.name)))
        #expect(keys(definitions["grant"]) == Set(BuildSpecText.rights(secrets: true).fields.map(\.name)))
    }

    @Test func secretsAreMaskedAlsoWhereTheyAreSplit() {
        let secrets = ["hunter2", "hunter2000", "line one\nline two!"]
        let text = "a hunter2 b hunter2000 c hunter2x hunte line one\nline two! hunter"
        for size in 1...text.utf8.count {
            var mask = SecretMask(secrets)
            var passed: [UInt8] = []
            let bytes = Array(text.utf8)
            for start in stride(from: 0, to: bytes.count, by: size) { passed += mask.pass(Array(bytes[start..<min(start + size, bytes.count)])) }
            passed += mask.finish()
            #expect(String(decoding: passed, as: UTF8.self) == "a *** b *** c ***x hunte *** hunter")
        }
    }

    @Test func packageSettingsBecomeFiles() throws {
        let read = try spec(
            """
            secrets: {PW: {environment: PW}}
            pypi:
              index-servers: {main: {repository: "https://up.example/", username: me, password-secret: PW}}
              extra-index-url: [https://a.example/simple, https://b.example/simple]
              trusted-host: a.example
              find-links: [/work/wheels]
            execute: [a]
            """)
        let files = Dictionary(uniqueKeysWithValues: read.packageIndex.files(secrets: ["PW": "s3cret"]).map { ($0.path, $0.text) })
        #expect(files[".pypirc"] == "[distutils]\nindex-servers =\n    main\n\n[main]\nrepository = https://up.example/\nusername = me\npassword = s3cret\n")
        #expect(files[".config/pip/pip.conf"]?.contains("extra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n") == true)
        #expect(files[".config/pip/pip.conf"]?.contains("trusted-host =\n    a.example\n") == true)
        #expect(read.packageIndex.files(secrets: [:])[0].text.contains("password") == false)
    }
}

/// The stream of a tree, which comes out of a sandbox.
struct TreeStreamTests {
    private func stream(_ path: String, kind: TreeStream.Kind = .file, size: UInt64 = 0) -> [UInt8] {
        let file = Folder()
        let raw = open(file.path + "/s", O_RDWR | O_CREAT, 0o600)
        defer { close(raw) }
        let writer = TreeStreamWriter(raw, limit: .max)
        try? writer.begin(.init(kind, .work, path: Array(path.utf8), mode: 0o4777, size: size))
        try? writer.end()
        return Array((try? Data(contentsOf: URL(fileURLWithPath: file.path + "/s"))) ?? Data())
    }

    @Test(arguments: ["../x", "/etc/passwd", "a/../../x", "a//b", ".", "..", "", "a/./b", "a\0b", "a/", String(repeating: "d/", count: 200) + "x"])
    func aForgedStreamLeadsNowhere(_ path: String) {
        let null = open("/dev/null", O_RDONLY)
        defer { close(null) }
        let reader = TreeStreamReader(null, ahead: stream(path))
        #expect(throws: TreeStream.Problem.self) { try reader.next() }
    }

    @Test func whatIsCutOffOrImpossibleIsAProblem() {
        let whole = stream("x")
        let null = open("/dev/null", O_RDONLY)
        defer { close(null) }
        for count in 0..<(whole.count - 1) {
            let reader = TreeStreamReader(null, ahead: Array(whole[..<count]))
            #expect(throws: TreeStream.Problem.self) { while try reader.next() != nil {} }
        }
        let reader = TreeStreamReader(null, ahead: stream("x", kind: .directory, size: 9))
        #expect(throws: TreeStream.Problem.self) { try reader.next() }
    }

    @Test func unpackingFollowsNoLink() throws {
        let (folder, outside) = (Folder(), Folder())
        folder.link("dir", to: outside.path)
        folder.link("file", to: outside.path + "/victim")
        outside.write("victim", "untouched")
        let raw = Glibc.open(folder.path, O_RDONLY | O_DIRECTORY)
        let unpacker = TreeUnpacker(.init(owning: raw))
        for path in ["dir/x", "file"] {
            try unpacker.add(.init(.file, .work, path: Array(path.utf8), mode: 0o644), at: Array(path.utf8)) { () throws(TreeStream.Problem) in nil }
        }
        try unpacker.finish()
        #expect(outside.names == ["victim"] && outside.read("victim") == "untouched")
        #expect(folder.names == ["dir", "file"])
    }
}
