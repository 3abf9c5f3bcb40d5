import Foundation
import Glibc
import HatcheryTestSupport
import Testing

/// `hatchery script`, as its users call it.
struct ScriptCommandTests {
    private func script(_ words: [String], stdin: String? = nil, in folder: String = TestDaemon.sources) async throws -> CommandLineRun.Ended {
        try await CommandLineRun.hatchery(["script", "--socket", try Beds.root().socketPath] + words, in: folder, stdin: stdin)
    }

    @Test func theExampleOfTheREADMERuns() async throws {
        let arguments = ["--base", "examples/scripts", "statistics.py", "--args-json", "{\"numbers\": [1, 2, 39]}"]
        let readme = try String(contentsOfFile: TestDaemon.sources + "/README.md", encoding: .utf8)
        #expect(readme.contains("hatchery script --base examples/scripts statistics.py --args-json '{\"numbers\": [1, 2, 39]}'"))
        let ended = try await script(arguments)
        #expect(ended.status == 0 && ended.stdout == "{\"count\": 3, \"sum\": 42, \"mean\": 14.0}\n", "\(ended.stderr)")
        let object = try JSONSerialization.jsonObject(with: Data(try await script(["--json"] + arguments).stdout.utf8)) as? [String: Any]
        #expect(object?.section("script").section("value").text("sum") == "42")
        #expect(object?.text("verdict") == "exited" && object?.section("script").text("sha256").count == 64)
    }

    @Test func argumentsComeFromAFileOrFromOurStdin() async throws {
        let folder = Folder()
        folder.write("s.sh", "cat")
        folder.write("data.json", "[1, 2]")
        #expect(try await script(["s.sh", "--args-json", "@data.json"], in: folder.path).stdout == "[1, 2]")
        #expect(try await script(["s.sh", "--args-json", "-"], stdin: "{\"a\": 1}", in: folder.path).stdout == "{\"a\": 1}")
        for (words, stdin) in [(["--args-json", "@none"], nil), (["--args-json", "{"], nil), (["--args-json", "-"], "nope")] {
            let ended = try await script(["s.sh"] + words, stdin: stdin, in: folder.path)
            #expect(ended.status == 125 && ended.stdout.isEmpty && ended.stderr.hasPrefix("hatchery: "))
        }
    }

    @Test func exitStatusesAreThoseOfRun() async throws {
        let folder = Folder()
        folder.write("three.sh", "exit 3")
        folder.write("segv.sh", "kill -SEGV $$")
        folder.write("loop.sh", "while :; do :; done")
        folder.write("flood.sh", "head -c 3000 /dev/zero; head -c 2000000 /dev/zero >&2")
        folder.link("link.sh", to: "three.sh")
        #expect(try await script(["three.sh"], in: folder.path).status == 3)
        let signaled = try await script(["segv.sh"], in: folder.path)
        #expect(signaled.status == 139 && signaled.stderr.contains("SIGSEGV: an invalid access to memory"))
        #expect(try await script(["--time", "0.5", "loop.sh"], in: folder.path).status == 124)
        #expect(try await script(["none.sh"], in: folder.path).status == 127)
        #expect(try await script(["link.sh"], in: folder.path).status == 125)
        #expect(try await script(["--time", "601", "three.sh"], in: folder.path).status == 125)
        let flood = try await script(["--output", "1000", "flood.sh"], in: folder.path)
        #expect(flood.stdout.utf8.count == 1000 && flood.stderr.contains("2000 bytes of stdout were dropped, 1000 were kept"))
        let missing = try await script(["--interpreter", ".sh=/no/such/shell", "three.sh"], in: folder.path)
        #expect(missing.status == 127 && missing.stderr.contains("/no/such/shell"))
    }

    @Test func warningsAndTheAuditAreTold() async throws {
        let folder = Folder()
        folder.write("open.sh", "echo ran", mode: 0o666)
        let warned = try await script(["--audit", "audit", "open.sh"], in: folder.path)
        #expect(warned.status == 0 && warned.stdout == "ran\n" && warned.stderr.contains("can be changed by everybody"))
        let refused = try await script(["--audit", "audit", "--refuse-world-writable", "open.sh"], in: folder.path)
        #expect(refused.status == 125 && refused.stdout.isEmpty)
        let verdicts = folder.read("audit").split(separator: "\n").map { $0.contains("\"verdict\": \"exited\"") }
        #expect(verdicts == [true, false])
        #expect(try await script(["--audit", "/no/such/place", "open.sh"], in: folder.path).stdout.isEmpty)
        #expect(try await script(["--audit", "stderr", "open.sh"], in: folder.path).stderr.contains("\"event\": \"script\""))
    }
}
