import Hatchery
import HatcheryJobs
import Testing

/// Row C7: command lines are split by POSIX rules, never by a shell.
struct CommandLineTextTests {
    @Test(arguments: [
        ("ls -l", ["ls", "-l"]), ("  a\t b  ", ["a", "b"]), ("", []), ("''", [""]), ("a '' b", ["a", "", "b"]),
        ("'a b' \"c d\"", ["a b", "c d"]), ("a'b'\"c\"d", ["abcd"]), ("'\\n'", ["\\n"]), ("\"\\n\"", ["\\n"]),
        ("\"\\\"\\\\\\$\\`\"", ["\"\\$`"]), ("a\\ b", ["a b"]), ("\\'", ["'"]), ("'$(id)' '`id`' '|' ';'", ["$(id)", "`id`", "|", ";"]),
        ("a\\\nb", ["ab"]), ("\"a\\\nb\"", ["ab"]), ("\\| \\; \\&", ["|", ";", "&"]), ("a#b a~", ["a#b", "a~"]), ("é '日本'", ["é", "日本"]),
        ("--x='1 2'", ["--x=1 2"]), ("{a,b} ! %", ["{a,b}", "!", "%"]),
    ])
    func wordsAreThoseOfPOSIX(_ text: String, _ words: [String]) throws {
        #expect(try CommandLineText.split(text) == words)
    }

    @Test(arguments: [
        "a | b", "a; b", "a & b", "a && b", "a > f", "a < f", "$(id)", "a $HOME", "`id`", "\"$(id)\"", "\"`id`\"", "(a)", "a\nb", "a\rb",
        "'open", "\"open", "back\\", "*.c", "a?", "[ab]", "# no", "~root", "a\0b", "'a\0'", "\"a\0\"", "\\\0",
    ])
    func whatNeedsAShellIsAnError(_ text: String) {
        #expect(throws: CommandLineText.Malformed.self) { try CommandLineText.split(text) }
    }

    @Test func aPolicyNamesProgramsByPath() throws {
        let policy = CommandPolicy(paths: ["/usr/bin/wc", "/bin/echo"])
        #expect(try policy.check(["echo", "a"]).program == "/bin/echo")
        #expect(try policy.check(["/usr/bin/wc"]).program == "/usr/bin/wc")
        for words in [["sh", "-c", "id"], ["/bin/sh"], ["./echo"], ["../bin/echo"], [""], []] {
            #expect(throws: HatcheryError.self) { try policy.check(words) }
        }
    }

    @Test func argumentsMatchAsAWholeAndAreNotTold() throws {
        var policy = CommandPolicy(paths: ["/bin/echo"])
        policy.argumentPattern = "[a-z]+"
        policy.maximumArgumentBytes = 5
        policy.maximumArguments = 2
        #expect(try policy.check(["echo", "abc", "z"]).arguments == ["abc", "z"])
        for arguments in [["abc;"], ["abc\nrm"], ["abcdef"], ["é"], [""], ["a", "b", "c"]] {
            #expect(throws: HatcheryError.self) { try policy.check(["echo"] + arguments) }
        }
        let error = #expect(throws: HatcheryError.self) { try policy.check(["echo", "S3CR3T"]) }
        #expect(error.map { !"\($0)".contains("S3CR3T") } == true)
        policy.argumentPattern = "[a-z"
        #expect(throws: HatcheryError.self) { try policy.check(["echo", "a"]) }
    }
}
