import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Row A11: a root file system of the client's own, under the full sandbox; mounts and files.
@Suite struct RootFileSystemTests {
    static let busybox = ["/bin/busybox", "/usr/bin/busybox"].first { FileManager.default.isExecutableFile(atPath: $0) } ?? "/bin/busybox"
    static let hasStaticBusybox = Beds.available(
        FileManager.default.isExecutableFile(atPath: busybox), "busybox-static is not installed")

    /// A root with one static program, and links where the mount points of the sandbox will be.
    private func makeRoot(hostile: Bool) throws -> String {
        let path = "/tmp/hatchery-root-\(UUID().uuidString)"
        let files = FileManager.default
        try files.createDirectory(atPath: path + "/bin", withIntermediateDirectories: true)
        try files.createDirectory(atPath: path + "/data", withIntermediateDirectories: true)
        try files.copyItem(atPath: Self.busybox, toPath: path + "/bin/busybox")
        try "provided\n".write(toFile: path + "/data/file", atomically: true, encoding: .utf8)
        if hostile {
            // The published escapes of 2025 and 2026: set-up is led out of the root by its own links.
            try files.createSymbolicLink(atPath: path + "/dev", withDestinationPath: "/tmp")
            try files.createSymbolicLink(atPath: path + "/proc", withDestinationPath: "/etc")
            try files.createSymbolicLink(atPath: path + "/tmp", withDestinationPath: "../../../../..")
        }
        return path
    }

    /// What is mounted later covers what lies below it: a file system of one's own inside a mount would be the mount's directory.
    @Test(arguments: [nil, UInt64(1 << 20)])
    func mountsInEachOtherAreAttachedFromTheOutsideIn(_ size: UInt64?) async throws {
        var options = RunOptions()
        options.mounts = [
            .init("/usr/share", at: "/own/a/share"), .init("/usr", at: "/outer"), .init("/etc/hosts", at: "/tmp/mine/b/hosts"),
            .init("/etc/hosts", at: "/outer/share/hosts"),
        ]
        options.temporaryFileSystems = [
            .init(destination: "/outer/share", size: size), .init(destination: "/own", size: size),
            .init(destination: "/tmp/mine", size: size), .init(destination: "/own/deeper/still", size: size),
        ]
        let script = """
            test -d /own/a/share/doc && ls /outer/share && test -d /outer/lib && cat /tmp/mine/b/hosts > /own/copy \
              && echo x > /own/deeper/still/file && echo x > /outer/share/file && cmp /own/copy /outer/share/hosts && echo whole
            """
        let result = try await Beds.root().client().run(.program("/bin/sh", ["-c", script]), options)
        #expect(result.stdout == "hosts\nwhole\n", "\(result.stderr)")
        // A client's tree is not written to: there the mount point must be.
        options.mounts = [.init("/usr", at: "/outer"), .init("/etc", at: "/outer/no-such-place")]
        options.temporaryFileSystems = []
        let error = await #expect(throws: HatcheryError.self) { try await Beds.root().client().run(.program("/bin/true"), options) }
        #expect(error?.step == .extraMounts && error?.hint.contains("inside another mount") == true)
    }

    @Test(.enabled(if: hasStaticBusybox), arguments: [false, true])
    func aRootOfOneStaticProgramRuns(_ hostile: Bool) async throws {
        let path = try makeRoot(hostile: hostile)
        defer { try? FileManager.default.removeItem(atPath: path) }
        var options = RunOptions()
        options.rootFileSystem = path
        let script = "cat /data/file; id -u; ls /; ls /dev; cat /proc/self/status | grep -c NoNewPrivs.*1; echo x > /data/x"
        let result = try await Beds.root().client().run(.program("/bin/busybox", ["sh", "-c", script]), options)
        let lines = result.stdout.split(separator: "\n").map(String.init)
        #expect(lines.prefix(2) == ["provided", "1000"])
        #expect(lines.contains("null") && lines.contains("urandom"), "/dev is ours")
        #expect(lines.last == "1")
        #expect(!lines.contains("passwd"))
        #expect(result.stderr.contains("Read-only file system"))
        #expect(result.receipt.active.contains(.root) && result.receipt.active.contains(.proc))
        // Nothing was made in the client's directory.
        #expect(try FileManager.default.contentsOfDirectory(atPath: path + "/data") == ["file"])
    }

    @Test func aRootWithDynamicProgramsRuns() async throws {
        // The host's /usr as somebody's own root.
        let path = "/tmp/hatchery-root-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let files = FileManager.default
        try files.createDirectory(atPath: path + "/usr", withIntermediateDirectories: true)
        for name in ["bin", "lib", "lib64"] {
            try files.createSymbolicLink(atPath: path + "/" + name, withDestinationPath: "usr/" + name)
        }
        var options = RunOptions()
        options.rootFileSystem = path
        options.mounts = [.init("/usr", at: "/usr")]
        let result = try await Beds.root().client().run(.program("/bin/sh", ["-c", "echo $((6*7)); ls /etc"]), options)
        #expect(result.stdout == "42\n")
    }

    @Test func aMissingProgramIsToldApart() async throws {
        let client = try await Beds.root().client()
        let missing = await #expect(throws: HatcheryError.self) { try await client.spawn(.program("/no/such/program")) }
        #expect(missing?.kind == .programNotFound)
        let folder = await #expect(throws: HatcheryError.self) { try await client.spawn(.program("/usr")) }
        #expect(folder?.kind == .programNotExecutable)
    }

    @Test func mountsAreReadOnlyUnlessSaidOtherwise() async throws {
        let path = "/tmp/hatchery-mount-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        chmod(path, 0o777)
        defer { try? FileManager.default.removeItem(atPath: path) }
        var options = RunOptions()
        options.mounts = [.init(path, at: "/data/in"), .init(path, at: "/tmp/out", writable: true)]
        let result = try await Beds.root().client().run(
            .program("/bin/sh", ["-c", "touch /data/in/a; touch /tmp/out/b && echo written"]), options)
        #expect(result.stdout == "written\n")
        #expect(result.stderr.contains("Read-only file system"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: path) == ["b"])
    }

    @Test(arguments: ["/proc/x", "/dev/x", "/", "relative", "/a/../etc", "/sys"])
    func impossibleMountPointsAreRefused(_ destination: String) async throws {
        let client = try await Beds.root().client()
        var options = SandboxOptions()
        options.mounts = [.init("/usr", at: destination)]
        let error = await #expect(throws: HatcheryError.self) { try await client.spawn(.program("/bin/true"), options) }
        #expect(error?.kind == .invalidRequest)
    }

    @Test func filesGoInAndComeOut() async throws {
        let out = "/tmp/hatchery-out-\(UUID().uuidString)"
        defer { unlink(out) }
        var options = RunOptions()
        options.filesIn = [.init(TestDaemon.sources + "/Tests/TestPrograms/probe.py", to: "sub/probe.py")]
        options.filesOut = [.init("result.txt", to: out)]
        let result = try await Beds.root().client().run(
            .program("/bin/sh", ["-c", "wc -c < sub/probe.py > result.txt; ls -l sub/probe.py | cut -c1-10"]), options)
        #expect(result.stdout == "-rw-r--r--\n")
        #expect(result.files.first?.error == nil)
        let size = try FileManager.default.attributesOfItem(atPath: options.filesIn[0].source)[.size] as? Int
        #expect(try String(contentsOfFile: out, encoding: .utf8) == "\(size ?? -1)\n")
    }

    /// What a program leaves where a file is expected: nothing is followed, nothing blocks.
    @Test(arguments: [
        "ln -s /etc/passwd result", "mkfifo result", "ln -s /proc/self/mem result", "true",
        "ln -s /home/sandbox/other result; echo x > other",
    ])
    func onlyRegularFilesAndDirectoriesComeOut(_ script: String) async throws {
        let out = "/tmp/hatchery-out-\(UUID().uuidString)"
        defer { unlink(out) }
        var options = RunOptions()
        options.filesOut = [.init("result", to: out)]
        let result = try await Beds.root().client().run(.program("/bin/sh", ["-c", script]), options)
        #expect(result.exitCode == 0)
        #expect(result.files.first?.error != nil)
        #expect(!FileManager.default.fileExists(atPath: out))
    }
}
