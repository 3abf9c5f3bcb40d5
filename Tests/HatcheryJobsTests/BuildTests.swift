import Foundation
import Glibc
import HatcheryTestSupport
import Testing

/// Row D with a real daemon: `hatchery build`, as its users call it.
struct BuildTests {
    private func build(
        _ words: [String], in folder: String = TestDaemon.sources, environment: [String: String] = [:]
    ) async throws -> CommandLineRun.Ended {
        try await CommandLineRun.hatchery(["build", "--socket", try Beds.root().socketPath] + words, in: folder, environment: environment)
    }

    /// Writes a spec and runs it in its folder.
    private func run(
        _ spec: String, _ words: [String] = [], in folder: Folder = Folder(), environment: [String: String] = [:]
    ) async throws -> CommandLineRun.Ended {
        folder.write("b.yml", "rights: {limits: {memory: 512M, disk: 64M}}\n" + spec)
        return try await build(words + ["b.yml"], in: folder.path, environment: environment)
    }

    private func report(_ ended: CommandLineRun.Ended) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(ended.stdout.utf8)) as? [String: Any], "\(ended.stderr)")
    }

    private func steps(_ report: [String: Any], _ phase: Int) -> [[String: Any]] {
        let phases = report["phases"] as? [[String: Any]] ?? []
        return phases.indices.contains(phase) ? phases[phase]["steps"] as? [[String: Any]] ?? [] : []
    }

    @Test func theExampleOfTheREADMERuns() async throws {
        let words = ["--directory", "examples/build", "examples/build/hatchery-build.yml"]
        let readme = try String(contentsOfFile: TestDaemon.sources + "/README.md", encoding: .utf8)
        #expect(readme.contains("hatchery build " + words.joined(separator: " ")))
        let out = Folder()
        let ended = try await build(["--junit", out.path + "/junit.xml", "--out", "reports:\(out.path)/reports"] + words)
        #expect(ended.status == 0, "\(ended.stderr)\(ended.stdout)")
        #expect(ended.stderr.contains("test_the_service_greets") && ended.stderr.contains("[python3 1] is ready"))
        #expect(ended.stderr.contains("GET /greeting.txt"), "the service's own output, behind its prefix")
        #expect(out.read("reports/summary.txt") == "tests passed\n")
        #expect(out.read("junit.xml").contains("<testsuite name=\"execute\" tests=\"3\" failures=\"0\""))
        #expect(!FileManager.default.fileExists(atPath: TestDaemon.sources + "/examples/build/reports"))
        let staged = try await build(["--stage", "production", "--commit-count", "42"] + words)
        #expect(staged.stdout.contains("this would publish version 1.0.42\n"))
    }

    @Test func aPhaseThatCannotBeginIsAnErrorInEveryReport() async throws {
        let folder = Folder()
        let ended = try await run(
            "environment: {profile: nobody}\nexecute: [make]", ["--json", "--junit", "junit.xml"], in: folder)
        #expect(ended.status == 125)
        #expect(try report(ended)["outcome"] as? String == "failed")
        let junit = folder.read("junit.xml")
        #expect(junit.contains("<testsuites name=\"\" tests=\"2\" failures=\"0\" errors=\"1\""), "\(junit)")
        #expect(junit.contains("<error message=\"front: admit the request: no profile is called &quot;nobody&quot;"), "\(junit)")
    }

    @Test func itsHelpIsThatOfAVerb() async throws {
        let help = try await build(["--help"])
        #expect(help.status == 0 && help.stdout.contains("USAGE: hatchery build [options] SPEC.yml"), "\(help.stdout)")
        let wrong = try await build(["--exlain", "b.yml"])
        #expect(wrong.status == 125 && wrong.stderr.contains("hatchery build --help"), "\(wrong.stderr)")
    }

    @Test func aWrongSpecNeverRunsItsFirstStep() async throws {
        for wrong in ["execute: [touch ran, make | tee]", "execute: [touch ran]\nexekute: [x]", "install: [touch ran]\nexecute: {grant: {secrets: [x]}, steps: [a]}"] {
            let folder = Folder()
            let ended = try await run(wrong, ["--in-place"], in: folder)
            #expect(ended.status == 125 && ended.stdout.isEmpty && ended.stderr.hasPrefix("hatchery: b.yml:"))
            #expect(folder.names == ["b.yml"])
        }
        #expect(try await run("execute: ['echo {forge-commit-count}']").stderr.contains("line 2: {forge-commit-count} has no value"))
        #expect(try await run("secrets: {T: {environment: NONE}}\nexecute: {grant: {secrets: [T]}, steps: [a]}").stderr.contains("NONE is not set"))
        #expect(try await run("execute: [a]", ["--only", "exekute"]).stderr.contains("did you mean 'execute'?"))
    }

    @Test func theFirstFailureEndsTheBuildAndAfterRunsAllTheSame() async throws {
        let ended = try await run(
            "install: ['echo one']\nbefore: [{shell: exit 7}, 'echo never']\nexecute: ['echo never']\nafter: ['echo after', {shell: exit 3}]\nproduction: ['echo never']",
            ["--json", "--stage", "production"])
        #expect(ended.status == 7)
        let report = try report(ended)
        #expect(report.text("outcome") == "failed" && !ended.stdout.contains("\"stdout\": \"never"))
        #expect(steps(report, 1).map { $0.text("outcome") } == ["failed", "skipped"])
        #expect(steps(report, 2).map { $0.text("outcome") } == ["skipped"])
        #expect(steps(report, 3).map { $0.text("stdout") } == ["after\n", ""])
        #expect(steps(report, 4).map { $0.text("outcome") } == ["skipped"])
    }

    @Test(arguments: [
        ("{shell: exit 42}", 42), ("{shell: kill -SEGV $$}", 139), ("no-such-program", 127), ("/usr", 126), ("{run: sleep 100, time: 300ms}", 124),
        ("{shell: kill -KILL $PPID}", 125),
    ])
    func theExitStatusIsThatOfTheStep(_ entry: String, _ status: Int32) async throws {
        #expect(try await run("execute:\n  - \(entry)").status == status)
    }

    @Test func stateGoesFromPhaseToPhaseAndTheRepositoryStaysAsItWas() async throws {
        let folder = Folder()
        folder.write("src/a.txt", "original")
        folder.write("tool.sh", "#!/bin/sh\necho tool", mode: 0o755)
        folder.link("link", to: "src/a.txt")
        let ended = try await run(
            """
            install: [{shell: "echo in home > ~/note; mkdir -p deep/er && echo made > deep/er/f; chmod 000 deep/er/f; ./tool.sh; cat link"}]
            before: [{shell: "cat ~/note; chmod 600 deep/er/f; cat deep/er/f; find src -newer tool.sh"}]
            execute: [{shell: "rm -rf * ~/*; ls; touch end"}]
            after: [ls]
            """, ["--out", "end"], in: folder)
        #expect(ended.status == 0, "\(ended.stderr)")
        #expect(ended.stdout == "tool\noriginalin home\nmade\nend\n")
        #expect(folder.names == ["b.yml", "end", "link", "src", "tool.sh"] && folder.read("src/a.txt") == "original")
    }

    @Test func inPlaceWritesBackAndLeavesGitAlone() async throws {
        let (folder, outside) = (Folder(), Folder())
        folder.write("keep", "k")
        folder.write("gone", "g")
        folder.write(".git/hooks/pre-commit", "mine")
        outside.write("victim", "untouched")
        folder.link("dir", to: outside.path)
        let ended = try await run(
            "execute: [{shell: \"rm gone dir; mkdir dir; echo x > dir/victim; echo new > made; echo evil > .git/hooks/pre-commit; touch .git/hooks/evil\"}]", ["--in-place"], in: folder)
        #expect(ended.status == 0, "\(ended.stderr)")
        #expect(folder.names == [".git", "b.yml", "dir", "keep", "made"] && folder.read("made") == "new\n")
        #expect(folder.read(".git/hooks/pre-commit") == "mine" && !FileManager.default.fileExists(atPath: folder.path + "/.git/hooks/evil"))
        #expect(outside.read("victim") == "untouched" && outside.names == ["victim"])
    }

    @Test func changesLastOnlyWhereAPhaseMayWrite() async throws {
        let ended = try await run(
            "install: {rights: {writable: [dist]}, steps: [{shell: 'mkdir dist; echo a > dist/a; echo b > b; echo h > ~/h; rm b.yml'}]}\nexecute: [{shell: 'ls . dist ~'}]")
        #expect(ended.stdout == ".:\nb.yml\ndist\n\n/home/build:\n\ndist:\na\n" || ended.stdout.contains("b.yml\ndist\n"), "\(ended.stdout)")
        #expect(ended.stdout.contains("dist:\na\n") && !ended.stdout.contains("\nb\n") && !ended.stdout.contains("\nh\n"))
    }

    @Test func outputsComeOutWithoutLinks() async throws {
        let folder = Folder()
        let ended = try await run(
            "execute: [{shell: 'mkdir -p dist/sub; echo 1 > dist/sub/f; ln -s /etc/passwd dist/link; ln -s dist other'}]",
            ["--out", "dist:result", "--out", "dist/sub/f:single", "--out", "other", "--out", "none"], in: folder)
        #expect(ended.status == 125 && ended.stderr.contains("--out none") && ended.stderr.contains("--out other"))
        #expect(folder.read("result/sub/f") == "1\n" && folder.read("single") == "1\n")
        #expect(!folder.names.contains("other") && !FileManager.default.fileExists(atPath: folder.path + "/result/link"))
    }

    // MARK: Services

    @Test func aServiceIsReachedByItsPhaseAndByNothingElse() async throws {
        let port = Int.random(in: 20_000..<30_000)
        let ended = try await run(
            """
            execute:
              - {background: python3 -m http.server \(port), port: \(port)}
              - [python3, -c, "import urllib.request as u; print(u.urlopen('http://127.0.0.1:\(port)/').status)"]
              - {shell: "touch ~/up; sleep 1"}
            after:
              - [python3, -c, "import socket; print(socket.socket().connect_ex(('127.0.0.1', \(port))) != 0)"]
            """)
        #expect(ended.status == 0 && ended.stdout == "200\nTrue\n", "\(ended.stderr)")
        // Another sandbox, and the host, have loopbacks of their own; a service of this port in each of two builds is no conflict.
        let both = [Int](0..<2)
        let spec = "execute:\n  - {background: python3 -m http.server \(port), port: \(port)}\n  - sleep 0.2"
        let statuses = try await withThrowingTaskGroup(of: Int32.self) { group in
            for _ in both { group.addTask { try await run(spec).status } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses == [0, 0])
    }

    @Test(arguments: [
        ("background: sh -c 'exit 5'", 5), ("background: sh -c 'exit 0'", 1), ("background: sh -c 'kill -9 $$'", 137), ("background: no-such-service", 127),
        ("{background: sleep 100, port: 9, time: 300ms}", 124),
    ])
    func aServiceThatDiesOrHangsFailsTheBuild(_ entry: String, _ status: Int32) async throws {
        let ended = try await run("execute:\n  - \(entry)\n  - sleep 20\n  - echo never")
        #expect(ended.status == status && !ended.stdout.contains("never"), "\(ended.stderr)")
    }

    @Test func aServiceThatFloodsHarmsNobody() async throws {
        let ended = try await run("execute:\n  - background: [sh, -c, 'while :; do head -c 1000000 /dev/zero; done']\n  - sleep 1\n  - echo fine", ["--json"])
        let report = try report(ended)
        #expect(ended.status == 0 && steps(report, 0).map { $0.text("outcome") } == ["stopped", "passed", "passed"])
        #expect((Int(steps(report, 0).first?.text("dropped_bytes") ?? "") ?? 0) > 0 && steps(report, 0)[0].text("stdout").utf8.count <= 65_536)
    }

    @Test func whatStepsLeaveBehindEndsWithThePhase() async throws {
        let mark = "\(UInt64.random(in: 1 << 60 ... .max))"
        let ended = try await run(
            "execute:\n  - {shell: \"(setsid sleep 1000.\(mark) &) ; (sleep 1000.\(mark) & ) ; echo started\"}\n  - echo next\n  - background: sh -c \"trap '' TERM; sleep 1000.\(mark); :\"")
        #expect(ended.status == 0 && ended.stdout == "started\nnext\n", "\(ended.stderr)")
        #expect(!isAlive(mark))
    }

    private func isAlive(_ mark: String) -> Bool {
        let left = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return left.contains { (try? String(contentsOfFile: "/proc/\($0)/cmdline", encoding: .utf8))?.contains(mark) == true }
    }

    /// Waits for something that is bound to come, and not for ever where it does not.
    private func until(_ condition: () -> Bool) async {
        for _ in 0..<1500 where !condition() { try? await Task.sleep(for: .milliseconds(20)) }
    }

    @Test func aBuildThatIsKilledHalfWayLeavesNothing() async throws {
        for signal in [SIGKILL, SIGINT] {
            let (folder, temporary) = (Folder(), Folder())
            let mark = "\(UInt64.random(in: 1 << 60 ... .max))"
            folder.write("b.yml", "rights: {limits: {memory: 512M, disk: 64M}}\nexecute: ['sleep 1000.\(mark)']\nafter: ['touch ran']")
            let process = Process()
            process.executableURL = URL(fileURLWithPath: TestDaemon.binaries + "/hatchery")
            process.arguments = ["build", "--socket", try Beds.root().socketPath, "--in-place", "b.yml"]
            process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
            process.environment = ["TMPDIR": temporary.path]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            await until { isAlive(mark) || !process.isRunning }
            kill(process.processIdentifier, signal)
            await until { !process.isRunning }
            await until { !isAlive(mark) }
            #expect(!isAlive(mark))
            #expect(temporary.names.isEmpty && folder.names == ["b.yml"])
            if signal == SIGINT { #expect(process.terminationStatus == 130) }
        }
    }

    // MARK: Rights and secrets

    @Test func secretsGoOnlyWhereTheyAreGrantedAndAreMasked() async throws {
        let folder = Folder()
        folder.write("token", "f1le-s3cret\n")
        let ended = try await run(
            """
            secrets: {TOKEN: {file: token}, OTHER: {environment: CALLERS}}
            pypi: {index-servers: {main: {repository: "https://x.example/", password-secret: OTHER}}}
            install: {grant: {secrets: [TOKEN]}, steps: [{shell: "echo $TOKEN ${OTHER-unset}; printf %s f1le; sleep 0.2; echo -s3cret; tr '\\\\0' '\\\\n' < /proc/self/cmdline | grep -c s3cret || true; grep -c password ~/.pypirc || true"}]}
            before: {grant: {secrets: [OTHER]}, steps: [{shell: "echo $OTHER ${TOKEN-unset}; grep -c password ~/.pypirc; echo ${CALLERS-unset}"}]}
            execute: [{shell: "echo ${OTHER-unset} ${TOKEN-unset}; grep -c password ~/.pypirc || true; env | grep -c s3cret || true"}]
            """, ["--json", "--audit", "audit", "--junit", "junit.xml"], in: folder, environment: ["CALLERS": "env-s3cret"])
        let report = try report(ended)
        #expect(steps(report, 0).first?.text("stdout") == "*** unset\n***\n0\n0\n")
        for text in [ended.stdout, ended.stderr, folder.read("audit"), folder.read("junit.xml")] {
            #expect(!text.contains("f1le-s3cret") && !text.contains("env-s3cret"))
        }
        #expect(folder.read("audit").contains("\"event\": \"step\""))
        #expect(ended.status == 0)
        #expect(steps(report, 1).first?.text("stdout") == "*** unset\n1\nunset\n")
        #expect(steps(report, 2).first?.text("stdout") == "unset unset\n0\n0\n")
    }

    @Test func networkAndVariablesAreThoseOfThePhase() async throws {
        let probe = "[python3, -c, \"import socket; print(socket.socket().connect_ex(('127.0.0.1', 9)), socket.socket().connect_ex(('1.1.1.1', 53)))\"]"
        let ended = try await run(
            "environment: {variables: {OWN: set}}\nexecute:\n  - \(probe)\n  - {shell: 'echo $OWN $CI $FORGE_OWNER/$FORGE_REPOSITORY $FORGE_COMMIT_COUNT ${LEAK-none} $(pwd)'}\nafter: {rights: {network: none}, steps: [\(probe)]}",
            ["--owner", "me", "--repository", "it", "--commit-count", "7"], environment: ["LEAK": "x"])
        #expect(ended.stdout == "\(ECONNREFUSED) \(ENETUNREACH)\nset true me/it 7 none /work\n\(ENETUNREACH) \(ENETUNREACH)\n", "\(ended.stderr)")
    }

    @Test func aStepCannotSpeakForTheRunner() async throws {
        // It looks for the runner's pipe in every process that it can see, and writes a forged end of its own task there.
        let forge = """
            import os, struct
            record = bytes([4]) + struct.pack('<II', 0, 21) + bytes([0]) + bytes(20)
            tried = 0
            for pid in filter(str.isdigit, os.listdir('/proc')):
                if int(pid) == os.getpid(): continue
                for fd in range(8):
                    try:
                        with open(f'/proc/{pid}/fd/{fd}', 'wb', buffering=0) as f: f.write(record)
                        tried += 1
                    except OSError: pass
            print('reached', tried)
            raise SystemExit(9)
            """
        let folder = Folder()
        folder.write("forge.py", forge)
        let ended = try await run("execute: [python3 forge.py]", in: folder)
        #expect(ended.status == 9 && ended.stdout == "reached 0\n", "\(ended.stderr)")
    }

    @Test func limitsOfAPhaseEndItAndAreTold() async throws {
        let memory = try await run("execute: {rights: {limits: {memory: 64M}}, steps: [[python3, -c, 'x = bytearray(300 << 20); import time; time.sleep(20)']]}\nafter: ['echo after']")
        #expect(memory.status == 137 && memory.stderr.contains("memory limit") && memory.stdout == "after\n")
        let time = try await run("execute: {rights: {limits: {time: 500ms}}, steps: [{shell: 'touch kept; sleep 30'}]}\nafter: [ls]")
        #expect(time.status == 124 && time.stdout.contains("kept\n"), "what was there when the time was over is kept")
        let disk = try await run("execute: {rights: {limits: {disk: 4M}}, steps: [{shell: 'head -c 20M /dev/zero > f'}]}")
        #expect(disk.status != 0)
    }

    @Test func explainAndDryRunRunNothing() async throws {
        let spec = "install: {rights: {network: none}, steps: [touch ran]}\nproduction: {steps: ['deploy {forge-commit-count}']}"
        let explained = try await run(spec, ["--explain", "--socket", "/none"])
        #expect(explained.status == 0 && explained.stdout.contains("install (until the first failure)\n  network: none"))
        let dry = try await run(spec, ["--dry-run", "--socket", "/none", "--stage", "production", "--commit-count", "3"])
        #expect(dry.stdout == "install 1/1: touch ran\nproduction 1/1: deploy 3\n")
    }

    @Test func aRootOfOneStaticProgramIsEnough() async throws {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].first { FileManager.default.isExecutableFile(atPath: $0) }
        guard Beds.available(busybox != nil, "busybox-static is not installed"), let busybox else { return }
        let root = Folder()
        try FileManager.default.createDirectory(atPath: root.path + "/bin", withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: busybox, toPath: root.path + "/bin/sh")
        let ended = try await run("environment: {rootfs: \(root.path)}\nexecute: [{shell: 'echo in $(pwd); test ! -e /usr'}]")
        #expect(ended.status == 0 && ended.stdout == "in /work\n", "\(ended.stderr)")
    }
}
