import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Rows A8, A9, A12 and A13: who the payload is and what it may do.
@Suite struct IdentityTests {
    static let noRight = "0000000000000000"

    @Test(arguments: Probe.Zygote.allCases)
    func everyCapabilitySetIsEmptyUpToTheKernelsLast(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["capabilities"]).section("capabilities")
        for (name, value) in report.section("sets") { #expect("\(value)" == Self.noRight, "\(name)") }
        #expect(report.integers("in_bounding_set").isEmpty)
        // CAP_LAST_CAP as the kernel says it, so that one added later is covered.
        #expect((report["last"] as? Int ?? 0) >= 40)
        #expect(report["raise_ambient"] as? Int == -1)
    }

    @Test func withoutTheLayerCapabilitiesAreLeft() async throws {
        var options = RunOptions()
        options.without = [LayerSet(.caps)]
        let report = try await Probe.run(Beds.root().client(), .python, ["capabilities"], options).section("capabilities")
        #expect(report.section("sets").text("CapEff") != Self.noRight)
        #expect(!report.integers("in_bounding_set").isEmpty)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theSecurebitsAreLocked(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["capabilities"]).section("capabilities")
        // NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE set and locked, KEEP_CAPS locked off (capabilities(7)).
        #expect(report["securebits"] as? Int == 0b1110_1111)
    }

    @Test func withoutTheLayerTheSecurebitsAreOpen() async throws {
        var options = RunOptions()
        options.without = [LayerSet(.securebits)]
        let report = try await Probe.run(Beds.root().client(), .python, ["capabilities"], options).section("capabilities")
        #expect(report["securebits"] as? Int != 0b1110_1111)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func noNewPrivilegesAndAFilterAreInForce(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["capabilities"]).section("capabilities")
        #expect(report["no_new_privs"] as? Int == 1)
        #expect(report.text("seccomp") == "2")
    }

    @Test func withoutTheLayersNeitherIsInForce() async throws {
        var options = RunOptions()
        // Without the first the second could not be loaded.
        options.without = [LayerSet(.noNewPrivs), LayerSet(.seccomp), LayerSet(.landlock)]
        let report = try await Probe.run(Beds.root().client(), .python, ["capabilities"], options).section("capabilities")
        #expect(report["no_new_privs"] as? Int == 0)
        #expect(report.text("seccomp") == "0")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theMapsCannotBeWrittenAndGroupsAreEmpty(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["maps", "ids"])
        let maps = report.section("maps")
        #expect(maps.text("setgroups") == "deny")
        for name in ["write_uid_map", "write_gid_map", "write_setgroups"] { #expect(maps.text(name) != "done", "\(name)") }
        #expect(report.section("ids").integers("groups").isEmpty)
        #expect(report.section("ids").text("setgroups") == "EPERM")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theIdsAreAsConfiguredAndRootIsRefused(_ zygote: Probe.Zygote) async throws {
        let ids = try await Probe.run(Beds.root().client(), zygote, ["ids"]).section("ids")
        #expect(ids.integers("uid") == [1000, 1000, 1000])
        #expect(ids.integers("gid") == [1000, 1000, 1000])
        #expect(ids.text("setuid_0") == "EPERM")
        #expect(ids.text("setgid_0") == "EPERM")
        // A process among processes: not process 1, in a session and a group of its own.
        #expect(ids["pid"] as? Int == 2)
        #expect(ids["sid"] as? Int == 2)
        #expect(ids["pgrp"] as? Int == 2)
    }

    @Test func configuredIdsReachTheSandbox() async throws {
        let daemon = try TestDaemon(
            """
            zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]
            profiles: {default: {uid: 1234, gid: 4321}}
            """)
        defer { daemon.stop() }
        let ids = try await Probe.run(daemon.client(), .exec, ["ids"]).section("ids")
        #expect(ids.integers("uid") == [1234, 1234, 1234])
        #expect(ids.integers("gid") == [4321, 4321, 4321])
    }

    /// A directory of the host that everybody may write to, shared by two sandboxes.
    private func sharedDirectory() throws -> String {
        let path = NSTemporaryDirectory() + "hatchery-shared-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        chmod(path, 0o777)
        return path
    }

    static let writeScript = "umask 077; echo secret > /shared/mine; ls -l /shared/mine"

    @Test(.enabled(if: Beds.available(Beds.isRoot, "distinct ids need root or lent ids")))
    func oneSandboxCannotReadAnothersPrivateFile() async throws {
        let path = try sharedDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let client = try await Beds.root().client()
        var options = RunOptions()
        options.mounts = [.init(path, at: "/shared", writable: true)]
        let written = try await client.run(.program("/bin/sh", ["-c", Self.writeScript]), options)
        #expect(written.stdout.hasPrefix("-rw-------"))
        let result = try await client.run(.program("/bin/cat", ["/shared/mine"]), options)
        #expect(result.exitCode == 1)
        #expect(!result.stdout.contains("secret"))
        #expect(result.stderr.contains("Permission denied"))
    }

    /// The twin: where all sandboxes share one outer uid, the same file can be read, and the receipt says so.
    @Test(.enabled(if: Beds.available(Beds.isRoot, "starting a daemon as another user needs root")))
    func withOneIDForAllTheyCan() async throws {
        let path = try sharedDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let daemon = try Beds.user()
        let mount = ["-v", "\(path):/shared:rw"]
        let written = try UserClient.run(daemon, mount, ["/bin/sh", "-c", Self.writeScript])
        #expect(written.text("stdout").hasPrefix("-rw-------"))
        let result = try UserClient.run(daemon, mount, ["/bin/cat", "/shared/mine"])
        #expect(result.text("stdout") == "secret\n")
        #expect(!UserClient.activeLayers(result).contains("distinct_uid"))
        #expect("\(result.section("receipt"))".contains("subuid"))
    }

    /// A setuid file owned by an id that the sandbox maps as its root. A range of two pairs makes that id known.
    private func runSetuid(_ without: LayerSet) async throws -> [String] {
        let daemon = try TestDaemon(
            """
            ids: {base: 1900000000, count: 66}
            zygotes: [{name: exec, kind: exec, nursery: {min: 0, max: 0}}]
            """)
        defer { daemon.stop() }
        let path = try sharedDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let copy = path + "/id"
        try FileManager.default.copyItem(atPath: "/usr/bin/id", toPath: copy)
        // The first pair of ids: 16 is the init's, which is 0 inside.
        chown(copy, 1_900_000_016, 1_900_000_016)
        chmod(copy, 0o6755)
        var options = RunOptions()
        options.mounts = [.init(path, at: "/shared")]
        options.without = without
        let result = try await daemon.client().run(.program("/shared/id", ["-u"]), options)
        chown(copy, 1_900_000_018, 1_900_000_018)
        let mapped = try await daemon.client().run(.program("/usr/bin/stat", ["-c", "%u %a", "/shared/id"]), options)
        return [result.stdout + result.stderr, mapped.stdout]
    }

    @Test(.enabled(if: Beds.available(Beds.isRoot, "making the file needs root")))
    func aSetuidFileOfTheMappedRootGivesNothing() async throws {
        // Owned by root as the sandbox counts, so that the kernel would honour the bit. (The second look is at the file after
        // it was given to the next pair's root, which clears the bits.)
        #expect(try await runSetuid([]) == ["1000\n", "0 755\n"])
    }

    @Test(.enabled(if: Beds.available(Beds.isRoot, "making the file needs root")))
    func withoutNoNewPrivilegesItMakesRoot() async throws {
        #expect(try await runSetuid([LayerSet(.noNewPrivs), LayerSet(.seccomp), LayerSet(.landlock)]) == ["0\n", "0 755\n"])
    }
}
