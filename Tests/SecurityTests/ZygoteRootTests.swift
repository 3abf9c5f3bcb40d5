import CHatchery
import Foundation
import Glibc
import Hatchery
import HatcherySystem
import HatcheryTestSupport
import Testing

/// A zygote preloads in one root and clones in another (Docs/Decisions/0030-born-with-their-root.md).
@Suite struct ZygoteRootTests {
    private static let preload = """
        zygotes:
          - name: python
            kind: python
            interpreter: /usr/bin/python3
            warmup: |
              import builtins, os
              for place in ("/tmp/of-the-preload", "/dev/shm/of-the-preload", os.path.expanduser("~/of-the-preload")):
                  open(place, "w").close()
              builtins.preload_saw = (os.path.exists("/proc/self/maps"), len([n for n in os.listdir("/proc") if n.isdigit()]) > 0)
            nursery: {min: 1, max: 2}
        """

    private static let look = """
        import json, os
        lines = [line.split() for line in open("/proc/self/mountinfo")]
        print(json.dumps({
            "preload": preload_saw,
            "left": [p for p in ("/tmp", "/dev/shm", os.path.expanduser("~")) if "of-the-preload" in os.listdir(p)],
            "roots": [line[4] for line in lines if line[4] == "/"],
            "mounts": len(lines),
            "up": os.stat("/..").st_ino == os.stat("/").st_ino and os.stat("/..").st_dev == os.stat("/").st_dev,
        }))
        """

    private struct Sight: Decodable {
        var preload: [Bool]
        var left: [String]
        var roots: [String]
        var mounts: Int
        var up: Bool
    }

    /// Parked and cloned for the request, and with a root that is assembled.
    @Test func aPreloadHasAWholeTreeAndASandboxNothingOfIt() async throws {
        let daemon = try TestDaemon(Self.preload)
        let client = try await daemon.client()
        var assembled = RunOptions()
        assembled.temporaryFileSystems = [.init(destination: "/data")]
        for options in [RunOptions(), assembled] {
            let result = try await client.run(.python(code: Self.look), options)
            let sight = try JSONDecoder().decode(Sight.self, from: Data(result.stdout.utf8))
            #expect(sight.preload == [true, true], "a preload needs a whole /proc")
            #expect(sight.left == [])
            #expect(sight.roots == ["/"] && sight.up)
            #expect(sight.mounts < 24, "\(result.stdout)")
        }
    }

    /// While it serves it can give ids away, and nothing else: its root is the template, in which it has no right.
    @Test func aZygoteThatServesCannotChangeItsRoot() async throws {
        let daemon = try TestDaemon(Self.preload)
        let client = try await daemon.client()
        for zygote in try await client.zygotes() {
            let status = try String(contentsOfFile: "/proc/\(zygote.pid)/status", encoding: .utf8)
            // The permitted set has one more in a build for tests; Tests/beds/deb.sh looks at that of a release.
            let names = ["CapInh", "CapEff", "CapAmb", "CapBnd"]
            let lines = status.split(separator: "\n").map { $0.split(separator: ":\t") }
            let sets = lines.filter { names.contains(String($0[0])) }.map { $0[1] }
            let kept = UInt64(1 << CAP_SETUID | 1 << CAP_SETGID)
            #expect(sets.count == 4 && sets.allSatisfy { UInt64($0, radix: 16) == kept }, "\(zygote.name): \(sets)")
        }
    }

    /// What covers nothing of the host: the /proc under the one of every sandbox.
    @Test(.enabled(if: Beds.available(geteuid() == 0, "only root may make one here")))
    func theProcUnderASandboxsOwnShowsNobody() throws {
        let raw = hatchery_make_empty_proc()
        try #require(raw >= 0, "\(raw)")
        let proc = Descriptor(owning: raw)
        let directory = try Files.open(at: proc.raw, ".", flags: O_RDONLY | O_DIRECTORY, resolve: [])
        let names = try Files.names(in: directory.raw, limit: 10_000)
        #expect(names.contains("cpuinfo"))
        #expect(names.allSatisfy { Int($0) == nil })
        #expect(hatchery_openat(proc.raw, "self/status", O_RDONLY, 0) == -ENOENT)
        #expect(hatchery_openat(proc.raw, "\(getpid())/status", O_RDONLY, 0) == -ENOENT)
    }
}
