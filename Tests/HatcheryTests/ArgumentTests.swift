import Hatchery
import HatcheryProtocol
import Testing

@testable import HatcheryCommandLine

struct ArgumentTests {
    private func split(_ text: String, python: Bool = true) -> ArgumentSplit {
        ArgumentSplit(text.split(separator: " ").map(String.init), isPython: python)
    }

    @Test func whatFollowsTheProgramBelongsToIt() {
        let run = split("--time 5 ls -l --json", python: false)
        #expect(run.options == ["--time", "5"])
        #expect(run.rest == ["ls", "-l", "--json"])
        #expect(split("--json -- --odd -x", python: false).rest == ["--odd", "-x"])
    }

    @Test func codeAndModuleEndOurOptionsAsForPython() {
        #expect(split("--json -c CODE --time 3").options == ["--json", "-c", "CODE"])
        #expect(split("--json -c CODE --time 3").rest == ["--time", "3"])
        #expect(split("-m json.tool --help").rest == ["--help"])
        #expect(split("-mjson.tool -x").options == ["-m", "json.tool"])
        #expect(split("script.py -c x").rest == ["script.py", "-c", "x"])
        #expect(split("- a").rest == ["-", "a"])
    }

    @Test func aSessionTakesTheOptionsOfRunAndReadsOurStdin() throws {
        let words = HatcheryCommand.divided(["session", "--time", "2s", "-m", "64M", "-i", "sh", "-c", "x"])
        let session = try #require(try HatcheryCommand.parseAsRoot(words) as? SessionCommand)
        #expect(session.command == ["sh", "-c", "x"])
        #expect(session.memory == 64 << 20)
        #expect(session.flags.time == .seconds(2))
    }

    @Test func mIsMemoryForRun() {
        #expect(split("-m 64M ls -m", python: false).options == ["-m", "64M"])
        #expect(split("-m64M ls", python: false).options == ["-m", "64M"])
    }

    @Test func aCallTakesOptionsAfterItAndNegativeNumbers() {
        let call = split("-f math:fabs --json -3 -x")
        #expect(call.options == ["-f", "math:fabs", "--json"])
        #expect(call.rest == ["-3", "-x"])
        #expect(split("-f m:f --json-args [1]").options == ["-f", "m:f", "--json-args", "[1]"])
    }

    @Test func optionsOfACallMayStandAnywhere() throws {
        let words = HatcheryCommand.divided(["call", "m:f", "-3", "--zygote", "warm", "x", "--json", "--", "--time"])
        let call = try #require(try HatcheryCommand.parseAsRoot(words) as? CallCommand)
        #expect(call.words == ["m:f", "-3", "x", "--time"])
        #expect(call.flags.zygote == "warm" && call.flags.json)
        let named = HatcheryCommand.divided(["call", "m:f", "--json-args", "[-1]"])
        #expect(try #require(try HatcheryCommand.parseAsRoot(named) as? CallCommand).jsonArgs == "[-1]")
    }

    @Test func everyRequirementCounts() throws {
        let words = HatcheryCommand.divided(["run", "--require", "seccomp, pidns", "--require", "cgroup", "x"])
        let run = try #require(try HatcheryCommand.parseAsRoot(words) as? RunCommand)
        #expect(try run.flags.sandbox().required == [LayerSet(.seccomp), LayerSet(.pidns), LayerSet(.cgroup)])
    }

    @Test func shortFlagsMayStandTogetherAndValuesMayBeginWithADash() {
        #expect(split("-it -eA=B -v /a:/b x", python: false).options == ["-i", "-t", "-e", "A=B", "-v", "/a:/b"])
        #expect(split("--stdin - cat", python: false) == split("--stdin - cat"))
        #expect(split("--stdin - cat", python: false).options == ["--stdin", "-"])
        #expect(split("--stdin=- cat", python: false).rest == ["cat"])
    }

    @Test func theSplitKnowsEveryFlagOfTheParser() throws {
        for name in ArgumentSplit.longFlags.subtracting(["--help", "--version", "--tty"]) {
            let verb = name == "--imports" ? "python" : "run"
            _ = try HatcheryCommand.parseAsRoot(HatcheryCommand.divided([verb, name, "x"]).filter { $0 != "" })
        }
        #expect(HatcheryCommand.helpMessage(for: RunCommand.self).contains("--tail"))
    }

    @Test func theParserSeesWhatTheUserMeant() throws {
        let words = HatcheryCommand.divided([
            "run", "--time", "2s", "-m", "64M", "-e", "A=B", "-v", "/x:/y:rw", "--net", "loopback", "--require",
            "seccomp,distinct_uid", "prog", "--time", "9",
        ])
        let run = try #require(try HatcheryCommand.parseAsRoot(words) as? RunCommand)
        #expect(run.command == ["prog", "--time", "9"])
        #expect(run.memory == 64 << 20)
        let sandbox = try run.flags.sandbox()
        #expect(sandbox.time == .seconds(2))
        #expect(sandbox.mounts == [.init("/x", at: "/y", writable: true)])
        #expect(sandbox.environment.map(\.name) == ["A"])
        #expect(sandbox.required == [LayerSet(.seccomp), LayerSet(.distinctUID)])
        #expect(sandbox.network == .loopback)
    }

    @Test(arguments: [
        ["run"], ["run", "--tiem", "3", "x"], ["run", "--time", "soon", "x"], ["python"],
        ["python", "--json-args", "[1]", "x"],
        ["python", "-f", "nocolon"], ["python", "-f", "m:f", "--json-args", "3"], ["run", "--memory", "1X", "x"],
        ["run", "--require", "nonsense", "x"], ["run", "-v", "relative", "x"], ["run", "-i", "--stdin", "f", "x"],
        ["fly"], ["session"], ["session", "--json", "x"], ["python", "-t"], ["python", "-i"],
        ["run", "-t", "--detach", "x"],
        ["session", "--stdin", "f", "x"], ["session", "--detach", "x"], ["session", "--tail", "x"],
    ])
    func wrongFlagsExitWith125(words: [String]) {
        #expect(throws: (any Error).self) { _ = try HatcheryCommand.parseAsRoot(HatcheryCommand.divided(words)) }
    }

    @Test func argumentsOfACallAreJSONWhereTheyReadAsJSON() {
        #expect(
            FlagValues.callArguments(["1", "x", "\"y\"", "{\"a\": [null]}", "01", "NaN", ""])
                == #"[1, "x", "y", {"a": [null]}, "01", "NaN", ""]"#)
        #expect(JSONText.kind(of: " [1, -2.5e+3, \"\\u00e9\"] ") == .array)
        for wrong in ["[1,]", "{\"a\" 1}", "'a'", "1.", "-", "\"\\x\"", "[1", "nul", "1 2"] {
            #expect(JSONText.kind(of: wrong) == nil)
        }
        #expect(JSONText.kind(of: String(repeating: "[", count: 100_000)) == nil)
    }

    @Test func exitStatusesAreThoseOfTheContract() {
        #expect(ExitStatus.of(.exited, exitCode: 7, signal: nil) == 7)
        #expect(ExitStatus.of(.timedOut, exitCode: nil, signal: 9) == 124)
        #expect(ExitStatus.of(.signaled, exitCode: nil, signal: 11) == 139)
        #expect(ExitStatus.of(.memoryLimit, exitCode: nil, signal: nil) == 137)
        #expect(ExitStatus.of(.lost, exitCode: nil, signal: nil) == 125)
        #expect(ExitStatus.of(HatcheryError(.programNotFound, side: .child)) == 127)
        #expect(ExitStatus.of(HatcheryError(.programNotExecutable, side: .child)) == 126)
        #expect(ExitStatus.of(HatcheryError(.overloaded, side: .front)) == 125)
    }
}
