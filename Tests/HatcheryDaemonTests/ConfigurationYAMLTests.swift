import HatcheryDaemon
import Testing

/// What of YAML is refused, and that no text takes the reader long.
@Suite struct ConfigurationYAMLTests {
    static let cases: [(yaml: String, error: String)] = [
        ("socket: {path: /a}\nids:\n  base: 70000\nsocket: {}\n", "h.yaml:4:1: socket: the key comes twice, first at line 1"),
        ("profiles:\n  default:\n    uid: 1\n    gid: 1\n    uid: 2",
            "h.yaml:5:5: profiles.default.uid: the key comes twice, first at line 3"),
        ("socket: {path: /a, mode: 0660, path: /b}", "h.yaml:1:32: socket.path: the key comes twice, first at line 1"),
        ("socket: {path: /a, \"path\": /b}", "h.yaml:1:20: socket.path: the key comes twice, first at line 1"),
        ("socket: {\"path\": /a, path: /b}", "h.yaml:1:22: socket.path: the key comes twice, first at line 1"),
        ("socket: &s {path: /a}", "h.yaml:1:9: socket: anchors and aliases are not supported; write the value out"),
        ("socket: {path: &p /a, group: *p}",
            "h.yaml:1:16: socket.path: anchors and aliases are not supported; write the value out"),
        ("&k socket: {}", "h.yaml:1:1: anchors and aliases are not supported; write the value out"),
        ("socket: {path: *p}", "h.yaml:1:16: not YAML: found undefined alias"),
        ("socket: !x {path: /a}", "h.yaml:1:9: socket: tags are not supported, such as '!x'"),
        ("ids: {base: !!int 70000}", "h.yaml:1:13: ids.base: tags are not supported, such as 'tag:yaml.org,2002:int'"),
        ("{[a]: 1}", "h.yaml:1:2: a key must be a plain text"),
        ("{}\n---\n{}", "h.yaml:2:1: not YAML: expected a single document in the stream (begun at line 1): but found another document"),
        ("socket:\n\tpath: /x", "h.yaml:2:1: not YAML: while scanning for the next token (begun at line 2): found character that cannot start any token"),
        ("a: \"x", "h.yaml:1:6: not YAML: while scanning a quoted scalar (begun at line 1): found unexpected end of stream"),
        ("a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]",
            "h.yaml:1:20: a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: nested more than 16 levels deep"),
        ("a: 1\nb: \u{1}", "h.yaml:2:4: not YAML: control characters are not allowed"),
    ]

    @Test(arguments: cases)
    func whatIsNotNeededIsRefused(yaml: String, error: String) {
        #expect(ConfigurationErrorTests.refusal(of: yaml)?.description == error)
    }

    @Test func codeWithAsterisksAndAmpersandsIsNoAnchor() throws {
        let yaml = """
            zygotes:
            - name: p
              kind: python
              warmup: |
                def f(*args, **kwargs): return 1 &mask
                x = [*f()]
              rehearsal: "&a *a"
            """
        let zygote = try Configuration(yaml: yaml, file: "h.yaml").zygotes[0]
        #expect(zygote.warmup == "def f(*args, **kwargs): return 1 &mask\nx = [*f()]\n")
        #expect(zygote.rehearsal == "&a *a")
    }

    @Test(.timeLimit(.minutes(1))) func aBombOfAliasesIsRefusedAtItsFirstAnchor() {
        var yaml = "a0: &a0 [x, x]\n"
        for level in 1..<64 { yaml += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
        #expect(ConfigurationErrorTests.refusal(of: yaml)?.description
            == "h.yaml:1:5: a0: anchors and aliases are not supported; write the value out")
        // As a key, where merely comparing it would take for ever.
        yaml += "? *a63\n: 1\n"
        #expect(ConfigurationErrorTests.refusal(of: yaml)?.description
            == "h.yaml:1:5: a0: anchors and aliases are not supported; write the value out")
        yaml += "z: {b: 1, b: 2}\n"
        #expect(ConfigurationErrorTests.refusal(of: yaml)?.description
            == "h.yaml:66:11: z.b: the key comes twice, first at line 66".replacing("66", with: "67"))
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["[", "{", "- ", "? ", "{a: ", "[{"])
    func deepNestingEndsInAnError(opening: String) {
        let yaml = String(repeating: opening, count: 500_000 / opening.count)
        #expect(ConfigurationErrorTests.refusal(of: yaml) != nil)
    }

    @Test func moreThanAMegabyteIsRefused() {
        let yaml = "#" + String(repeating: "x", count: 1 << 20)
        #expect(ConfigurationErrorTests.refusal(of: yaml)?.description
            == "h.yaml:1:1: 1048577 bytes of YAML; a configuration has at most 1048576")
        #expect(ConfigurationErrorTests.refusal(of: String(yaml.dropLast())) == nil)
    }
}
