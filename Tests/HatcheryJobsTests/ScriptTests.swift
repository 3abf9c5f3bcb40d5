import Foundation
import Glibc
import Hatchery
import HatcheryJobs
import HatcheryProtocol
import HatcheryTestSupport
import Testing

/// Rows C1 to C8 with a real daemon: what scripts get, and what hostile ones try.
struct ScriptTests {
    private func runner(_ folder: Folder, audit: AuditLog? = nil) async throws -> ScriptRunner {
        ScriptRunner(try await Beds.root().client(), policy: ScriptPolicy(baseDirectory: folder.path), audit: audit)
    }

    private func run(
        _ name: String, _ text: String, arguments: String? = nil, _ options: RunOptions = RunOptions()
    ) async throws -> ScriptResult {
        let folder = Folder()
        folder.write(name, text)
        return try await runner(folder).run(name, arguments: arguments.map { Array($0.utf8) }, options: options)
    }

    // MARK: What scripts get

    @Test func aPythonScriptGoesToTheWarmZygoteAndAShellScriptToItsInterpreter() async throws {
        let python = try await run("s.py", "import sys, json\nprint(json.dumps({'sum': sum(json.load(sys.stdin)), 'argv': sys.argv[1:]}))", arguments: "[1, 2, 39]")
        #expect(python.run.spawn.zygote == "python")
        #expect(python.value?["sum"] == .integer(42) && python.value?["argv"] == .array([]))
        let shell = try await run("s.sh", "read line; echo \"$line\"; echo $#", arguments: "{\"a\": \"$(id)\"}\n")
        #expect(shell.run.spawn.zygote == "exec")
        #expect(shell.run.stdout == "{\"a\": \"$(id)\"}\n0\n" && shell.value == nil)
    }

    @Test func withoutAPythonZygoteTheInterpreterRunsIt() async throws {
        let folder = Folder()
        folder.write("s.py", "import sys; print(repr(sys.stdin.read()), __file__)")
        let scripts = try await runner(folder)
        var options = RunOptions()
        options.zygote = "exec"
        let result = try await scripts.run("s.py", arguments: Array("null".utf8), options: options)
        #expect(result.run.stdout == "'null' /tmp/hatchery-script/s.py\n" && result.run.spawn.zygote == "exec")
        #expect(try await scripts.run("s.py", options: options).run.stdout.hasPrefix("''"))
    }

    @Test func anInterpreterThatIsNamedRunsIt() async throws {
        let folder = Folder()
        folder.write("s.py", "whatever")
        var policy = ScriptPolicy(baseDirectory: folder.path)
        policy.interpreters[".py"] = "/bin/echo"
        let result = try await ScriptRunner(try await Beds.root().client(), policy: policy).run("s.py")
        #expect(result.run.stdout == "/tmp/hatchery-script/s.py\n")
        // A zygote that is named is nearer to the run than the policy.
        var options = RunOptions()
        options.zygote = "python"
        folder.write("s.py", "print('warm')")
        #expect(try await ScriptRunner(try await Beds.root().client(), policy: policy).run("s.py", options: options).run.stdout == "warm\n")
    }

    @Test func whatIsRunIsWhatWasRead() async throws {
        // The file is exchanged and written over after the check; the script's own sleep gives time for it.
        let folder = Folder()
        folder.write("s.sh", "echo first; sleep 0.2; echo still first\n")
        let file = try ScriptFile("s.sh", policy: ScriptPolicy(baseDirectory: folder.path))
        folder.write("s.sh", "echo second\n")
        #expect(String(decoding: file.bytes, as: UTF8.self).contains("still first"))
        #expect(file.sha256 == SHA256.hexadecimal(of: Array("echo first; sleep 0.2; echo still first\n".utf8)))
    }

    @Test func argumentsAreNowhereButOnStdin() async throws {
        let script = "import sys; data = sys.stdin.read(); print(any('M4RK' in open(f'/proc/self/{n}').read() for n in ('cmdline', 'environ')), 'M4RK' in data)"
        for zygote in [nil, "exec"] {
            var options = RunOptions()
            options.zygote = zygote
            #expect(try await run("s.py", script, arguments: "\"M4RK\"", options).run.stdout == "False True\n")
        }
    }

    @Test func theValueIsOfferedOnlyWhereItIsOneAndWhole() async throws {
        #expect(try await run("s.sh", "echo ' {\"a\": [1, null, \"\\u00e9\"]} '").value == .object(["a": .array([.integer(1), .null, .string("é")])]))
        #expect(try await run("s.sh", "echo 1 2").value == nil)
        // The result stays one line whatever the script's layout.
        let pretty = try await run("s.sh", "printf '{\n  \"a\": \"x\\\\ny\"\r\n}\n'")
        #expect(pretty.value == .object(["a": .string("x\ny")]))
        #expect(!pretty.json.contains("\n") && JSONText.value(of: Array(pretty.json.utf8))?["script"]?["value"] == pretty.value)
        var options = RunOptions()
        options.outputLimit = 2
        #expect(try await run("s.sh", "echo 1234", options).value == nil)
    }

    @Test(arguments: [("SEGV", 11), ("KILL", 9), ("ABRT", 6), ("XFSZ", 25), ("FPE", 8)])
    func signalsAreToldByNameAndMeaning(_ name: String, _ number: Int32) async throws {
        let result = try await run("s.sh", "kill -\(name) $$")
        #expect(result.run.verdict == .signaled && result.run.signalName == "SIG\(name)" && result.run.signal == number)
        #expect(result.signalMeaning?.hasPrefix("signal ") == false)
    }

    @Test func anAuditLineTellsWhoAndWhatAndNoContent() async throws {
        let folder = Folder()
        folder.write("s.sh", "cat; echo OUTPUT-MARK; exit 3 # SCRIPT-MARK\n")
        let scripts = try await runner(folder, audit: AuditLog(.file(folder.path + "/audit")))
        _ = try await scripts.run("s.sh", arguments: Array("\"ARGUMENT-MARK\"".utf8))
        _ = try? await scripts.run("../s.sh")
        _ = try? await scripts.run("s.sh", arguments: Array("{".utf8))
        let lines = folder.read("audit").split(separator: "\n").map(String.init)
        try #require(lines.count == 3)
        #expect(!folder.read("audit").contains("-MARK"))
        let first = try JSONSerialization.jsonObject(with: Data(lines[0].utf8)) as? [String: Any] ?? [:]
        #expect(first.text("verdict") == "exited" && first.text("exit_code") == "3" && first.text("name") == "s.sh")
        #expect(first.text("sha256") == SHA256.hexadecimal(of: Array("cat; echo OUTPUT-MARK; exit 3 # SCRIPT-MARK\n".utf8)))
        #expect(first.section("limits").text("wall_nanoseconds") == "30000000000" && first.text("uid") == "\(geteuid())")
        #expect(first.text("time").hasSuffix("Z") && !first.text("id").isEmpty)
        #expect(lines[1].contains("\"verdict\": \"refused\"") && lines[2].contains("\"verdict\": \"refused\""))
    }

    // MARK: What hostile scripts try

    /// Each prints nothing but `refused` where the sandbox holds.
    @Test(arguments: [
        "import socket; socket.create_connection(('1.1.1.1', 53), 3)", "open('/etc/shadow')", "open('/root/.bashrc')",
        "open('/usr/bin/evil', 'w')", "import os; os.setuid(0)", "import os; os.chroot('/')", "import os; os.mknod('/tmp/d', 0o60666, 2049)",
        "import os; os.kill(1, 9)", "open('/proc/sys/kernel/core_pattern', 'w').write('|/bin/sh')", "open('/proc/1/environ').read()",
        "import os; os.listdir('/proc/1/root')", "open('/sys/kernel/uevent_helper', 'w')", "open('/dev/mem')",
        "import socket; socket.socket(socket.AF_UNIX).connect('/run/hatchery/hatchery.sock')", "import os; os.nice(-5)",
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (100000, 100000))", "import os; os.sethostname if 0 else open('/etc/hostname', 'w')",
        "import ctypes; l = ctypes.CDLL(None, use_errno=True); assert l.mount(b'none', b'/tmp', b'tmpfs', 0, 0) == 0",
        "import ctypes; l = ctypes.CDLL(None, use_errno=True); assert l.unshare(0x10000000) == 0",
        "import ctypes; l = ctypes.CDLL(None, use_errno=True); assert l.ptrace(16, 1, 0, 0) == 0",
    ])
    func whatLeadsOutIsRefused(_ attack: String) async throws {
        let result = try await run("evil.py", "try:\n    \(attack)\nexcept (OSError, AssertionError, ValueError): print('refused')\nelse: print('done')")
        #expect(result.run.stdout == "refused\n", "\(result.run.stderr)")
    }

    @Test func injectionThroughArgumentsStaysData() async throws {
        for text in ["; touch /tmp/pwned", "$(touch /tmp/pwned)", "`touch /tmp/pwned`", "' || touch /tmp/pwned; '", "\\u0000", "-c id", "../../etc/passwd"] {
            let result = try await run("s.sh", "cat > /dev/null; ls /tmp", arguments: "\"\(text)\"")
            #expect(result.run.stdout == "hatchery-script\n")
        }
    }

    @Test func aHundredMegabytesOfOutputAreCutAndCounted() async throws {
        let script = "import os\nfor _ in range(100): os.write(1, b'x' * (1 << 20))\nfor _ in range(5): os.write(2, b'y' * (1 << 20))"
        let result = try await run("s.py", script)
        #expect(result.run.exitCode == 0)
        #expect(result.run.stdoutBytes.count == 10 << 20 && result.run.stdoutTruncatedBytes == 90 << 20)
        #expect(result.run.stderrBytes.count == 1 << 20 && result.run.stderrTruncatedBytes == 4 << 20)
    }

    @Test func aHundredGigabytesOfMemoryAreRefused() async throws {
        var options = RunOptions(time: .seconds(15))
        options.memory = 128 << 20
        let result = try await run("s.py", "import mmap\nm = mmap.mmap(-1, 100 << 30)\nfor i in range(0, 100 << 30, 4096): m[i] = 1", options)
        // Where the kernel refuses the mapping at once, Python says so itself.
        #expect(result.run.verdict == .memoryLimit || result.run.stderr.contains("Error"))
        #expect(result.run.exitCode != 0)
    }

    @Test func anEndlessLoopIsATimeOutAndNoExit() async throws {
        for script in ["while :; do :; done", "trap '' TERM INT HUP; while :; do sleep 1; done", "exec >&- 2>&-; sleep 1000"] {
            let result = try await run("s.sh", script, RunOptions(time: .seconds(1)))
            #expect(result.run.verdict == .timedOut && result.run.exitCode == nil)
        }
    }

    @Test func aForkBombHitsItsOwnLimitOnly() async throws {
        var options = RunOptions(time: .seconds(3))
        options.pids = 16
        let bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
        #expect([.timedOut, .cpuLimit].contains(try await run("s.py", bomb, options).run.verdict))
        #expect(try await run("s.sh", "echo alive").run.stdout == "alive\n")
    }

    @Test func whatAScriptLeavesBehindDiesWithIt() async throws {
        let mark = "\(UInt64.random(in: 1 << 60 ... .max))"
        _ = try await run("s.sh", "(setsid sleep 1000.\(mark) &) ; (nohup sh -c 'sleep 1000.\(mark); :' >/dev/null 2>&1 &)")
        let left = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        #expect(!left.contains { (try? String(contentsOfFile: "/proc/\($0)/cmdline", encoding: .utf8))?.contains(mark) == true })
    }

    @Test func textThatIsNoUTF8IsTolerated() async throws {
        let result = try await run("s.py", "import os; os.write(1, b'a\\xff\\xfeb\\x00c')")
        #expect(result.run.stdout == "ab\0c" && result.run.stdoutBase64 == "Yf/+YgBj")
    }

    @Test func aCommandRunsWithoutAShellAndIsAuditedWithItsCode() async throws {
        let folder = Folder()
        let audit = try AuditLog(.file(folder.path + "/audit"))
        let commands = CommandRunner(try await Beds.root().client(), policy: CommandPolicy(paths: ["/bin/echo", "/bin/false"]), audit: audit)
        #expect(try await commands.run("echo '$(id)' \"a  b\" '|' S3CR3T").stdout == "$(id) a  b | S3CR3T\n")
        #expect(try await commands.run("/bin/false").exitCode == 1)
        for line in ["echo a; id", "echo a | id", "id", "echo $HOME", "echo 'open"] {
            await #expect(throws: HatcheryError.self) { try await commands.run(line) }
        }
        let lines = folder.read("audit").split(separator: "\n")
        #expect(lines.count == 7 && lines[1].contains("\"exit_code\": 1") && !folder.read("audit").contains("S3CR3T"))
        #expect(lines.filter { $0.contains("\"verdict\": \"refused\"") }.count == 5)
    }
}
