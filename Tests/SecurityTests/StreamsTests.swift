import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Rows A1 to A4 and A16 to A17: what goes in and what comes out.
@Suite struct StreamsTests {
    @Test(arguments: Probe.Zygote.allCases)
    func printAndRawDescriptorsArriveExactlyAndInOrder(_ zygote: Probe.Zygote) async throws {
        let code = """
            import os, sys
            print("one", flush=True)
            sys.__stdout__.write("two\\n"); sys.__stdout__.flush()
            os.write(1, b"three\\x00\\xff\\n")
            print("err one", file=sys.stderr, flush=True)
            os.write(2, b"err two\\n")
            """
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: code))
        #expect(result.verdict == .exited)
        #expect(result.exitCode == 0)
        #expect(result.stdoutBytes == Array("one\ntwo\nthree".utf8) + [0, 0xFF, 0x0A])
        #expect(result.stderr == "err one\nerr two\n")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func anExceptionGivesExitCodeOneAndACleanTraceback(_ zygote: Probe.Zygote) async throws {
        let code = "def f():\n    raise ValueError('boom')\nf()\n"
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: code))
        #expect(result.exitCode == 1)
        #expect(result.stdout.isEmpty)
        #expect(
            result.stderr == """
                Traceback (most recent call last):
                  File "<string>", line 3, in <module>
                  File "<string>", line 2, in f
                ValueError: boom

                """)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func stdinIsEchoed(_ zygote: Probe.Zygote) async throws {
        var options = RunOptions()
        let data = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        options.stdin = .bytes(data)
        let code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: code), options)
        #expect(result.stdinWritten)
        #expect(result.stdoutBytes == data)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func withoutDataStdinIsAtItsEnd(_ zygote: Probe.Zygote) async throws {
        let code = "import sys; print(repr(sys.stdin.read()))"
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: code))
        #expect(result.stdout == "''\n")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theEnvironmentIsExactlyWhatWasAskedFor(_ zygote: Probe.Zygote) async throws {
        setenv("CLIENT_MARKER", "client-environment", 1)
        var options = RunOptions()
        options.environment = [("A", "1"), ("B", "two words"), ("A", "3"), ("LC_ALL", "C.UTF-8")]
        let report = try await Probe.run(Beds.root().client(), zygote, ["environment"], options).section("environment")
        let own = report.section("own").mapValues { "\($0)" }
        #expect(own == ["A": "3", "B": "two words", "LC_ALL": "C.UTF-8"])
        // Neither the zygote's, nor the daemon's, nor the client's, by no process's /proc.
        let everything = "\(report)"
        for marker in ["zygote-environment", "daemon-environment", "client-environment"] {
            #expect(!everything.contains(marker))
        }
        #expect(!report.section("proc").isEmpty)
    }

    @Test func theEnvironmentOfAProgramIsEmptyByDefault() async throws {
        let result = try await Beds.root().client().run(.program("/usr/bin/env"))
        #expect(result.stdout == "")
        #expect(result.exitCode == 0)
    }

    @Test func aFunctionsValueComesBackAsJSON() async throws {
        let client = try await Beds.root().client()
        let result = try await client.run(.call("math:hypot", json: "[3, 4]"))
        #expect(result.stdout == "5.0\n")
        let named = try await client.run(.call("json:dumps", json: #"{"obj": {"a": [1]}, "sort_keys": true}"#))
        #expect(named.stdout == #""{\"a\": [1]}""# + "\n")
        let missing = try await client.run(.call("math:nothing"))
        #expect(missing.exitCode == 1)
        #expect(missing.stderr.contains("nothing"))
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theTitleIsInTheListAndOnTheProcess(_ zygote: Probe.Zygote) async throws {
        let client = try await Beds.root().client()
        var options = SandboxOptions()
        options.title = "case 42"
        let code = "import sys, time; print(open('/proc/self/cmdline').read().rstrip(chr(0)), flush=True); time.sleep(30)"
        let child = try await client.spawn(Probe.payload(zygote, code: code), options)
        let listed = try await client.sandboxes().first { $0.id == child.id }
        #expect(listed?.title == "case 42")
        #expect(listed?.pid == child.pid)
        if zygote == .python {
            // A program's own argv is its title after execve; a Python child shows ours and not the zygote's.
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = read(child.stdout.raw, &buffer, buffer.count)
            #expect(String(decoding: buffer[..<max(0, count)], as: UTF8.self) == "case 42\n")
        }
        try await child.kill()
        #expect(try await child.wait().verdict == .cancelled)
    }

    @Test func aCallsValueIsTheLastLineWhateverEndsTheOnesBefore() async throws {
        let client = try await Beds.root().client()
        let value = try await client.call("builtins:eval", "print('x\\r') or 7", returning: Int.self, zygote: "python")
        #expect(value == 7)
    }

    @Test func withoutATitleTheListHasTheNameOfWhatRuns() async throws {
        let client = try await Beds.root().client()
        let sleep = "import time; time.sleep(30)"
        let payloads: [(Payload, String)] = [
            (.program("/bin/sleep", ["30"]), "sleep"), (.python(code: sleep, ["s3cret"]), "python -c"),
            (.python(source: Array(sleep.utf8), name: "a/report.py"), "report.py"),
            (.python(module: "asyncio"), "python -m asyncio"), (.call("time:sleep", json: "[30]"), "time:sleep"),
        ]
        for (payload, title) in payloads {
            let child = try await client.spawn(payload, stdinPipe: true)
            #expect(try await client.sandboxes().first { $0.id == child.id }?.title == title)
            try await child.kill()
            _ = try await child.wait()
        }
    }
}
