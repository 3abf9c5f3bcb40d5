import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Rows A5, A6, A10 and A11: what the payload can reach.
@Suite struct ConfinementTests {
    @Test(arguments: Probe.Zygote.allCases)
    func exactlyThreeDescriptorsAreOpen(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["descriptors"])
        #expect(report.integers("descriptors") == [0, 1, 2])
    }

    /// The twin: the preload leaks a read-only, an inheritable and a high-numbered one, and without the layer they are seen.
    @Test func withoutTheLayerThePreloadsDescriptorsLeak() async throws {
        var options = RunOptions()
        options.without = [LayerSet(.fds)]
        let report = try await Probe.run(Beds.root().client(), .python, ["descriptors"], options)
        #expect(report.integers("descriptors").contains(700))
        #expect(report.integers("descriptors").count > 5)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func thereIsNoNetwork(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["network"]).section("network")
        #expect(report.strings("interfaces") == ["lo"])
        #expect(report.text("outside") == "ENETUNREACH")
        #expect(report.text("loopback") == "ENETUNREACH")
        #expect(["ENETUNREACH", "EADDRNOTAVAIL"].contains(report.text("outside6")))
    }

    @Test func loopbackIsUpWhereItIsAskedFor() async throws {
        var options = RunOptions()
        options.network = .loopback
        let report = try await Probe.run(Beds.root().client(), .python, ["network"], options).section("network")
        #expect(report.text("loopback") == "ECONNREFUSED")
        #expect(report.text("outside") == "ENETUNREACH")
    }

    @Test(arguments: [Layer.pidns, .netns, .ipcns, .utsns, .cgroupns])
    func everyNamespaceIsItsOwnAndIsTheHostsWithoutItsLayer(_ layer: Layer) async throws {
        let names: [Layer: String] = [.pidns: "pid", .netns: "net", .ipcns: "ipc", .utsns: "uts", .cgroupns: "cgroup"]
        let name = names[layer]!
        let client = try await Beds.root().client()
        let first = try await Probe.run(client, .python, ["namespaces"]).section("namespaces").text(name)
        let second = try await Probe.run(client, .python, ["namespaces"]).section("namespaces").text(name)
        #expect(first != second, "two sandboxes share one")
        let host = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/\(name)")
        #expect(first != host)
        // The twin: without the layer both are in the zygote's.
        var options = RunOptions()
        options.without = [LayerSet(layer)]
        // A fresh /proc belongs to a pid namespace of one's own.
        if layer == .pidns { options.without.insert(.proc) }
        if layer == .pidns { return }  // shown by processesOfOthersAreOutOfReach's twin
        let shared1 = try await Probe.run(client, .python, ["namespaces"], options).section("namespaces").text(name)
        let shared2 = try await Probe.run(client, .python, ["namespaces"], options).section("namespaces").text(name)
        #expect(shared1 == shared2)
    }

    @Test func aPidNamespaceIsTheZygotesWithoutItsLayer() async throws {
        var options = RunOptions()
        options.without = [LayerSet(.pidns), LayerSet(.proc)]
        let code = "import os; print(os.getpid())"
        let result = try await Beds.root().client().run(.python(code: code), options)
        #expect(Int(result.stdout.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 2 != 2)
        #expect(result.receipt.missing.contains { $0.layer == .pidns })
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theHostIsOutOfReach(_ zygote: Probe.Zygote) async throws {
        let marker = "/tmp/hatchery-host-marker-\(getpid())"
        try "secret".write(toFile: marker, atomically: true, encoding: .utf8)
        chmod(marker, 0o644)
        defer { unlink(marker) }
        let paths = [
            marker, "/etc/shadow", "/etc/hostname.host", "/root/.bashrc", "/proc/1/root" + marker, "/proc/1/environ",
            "/proc/1/cwd/" + marker, "/.." + marker, "/proc/self/root/.." + marker, "/proc/kcore", "/sys/kernel",
            "/var/log", "/boot",
        ]
        let client = try await Beds.root().client()
        let report = try await Probe.run(client, zygote, ["root", "readable"] + paths)
        for (path, outcome) in report.section("readable") {
            #expect(["ENOENT", "EACCES", "EPERM", "EISDIR"].contains("\(outcome)"), "\(path): \(outcome)")
        }
        let root = report.section("root")
        #expect(root.strings("above") == root.strings("root"), "above the root is the root")
        #expect(root.text("proc_1_root") != "done")
        #expect(root.text("sys") == "ENOENT")
        #expect(root.text("cwd") == "/home/sandbox")
        // Its own processes only; the init is hidden (hidepid).
        #expect(root.integers("pids") == [2])
        #expect(!root.strings("mounts").contains { $0.hasPrefix("/mnt") })
    }

    /// The twin: without the private root the zygote's tree is seen, with its whole /proc.
    @Test func withoutTheRootOtherProcessesAreSeen() async throws {
        var options = RunOptions()
        options.without = [LayerSet(.root), LayerSet(.proc)]
        let report = try await Probe.run(Beds.root().client(), .python, ["root"], options).section("root")
        #expect(report.integers("pids").count > 3)
    }

    @Test func aHostNameOfItsOwnThatCannotBeSet() async throws {
        let report = try await Probe.run(Beds.root().client(), .python, ["hostname"]).section("hostname")
        #expect(report.text("name") == "sandbox")
        #expect(report.text("set") == "EPERM")
    }

    @Test(arguments: Probe.Zygote.allCases)
    func processStateIsSetAndNotInherited(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["inherited"]).section("inherited")
        #expect(report["umask"] as? Int == 0o022)
        #expect(report["nice"] as? Int == 0)
        #expect(report.text("blocked") == "0000000000000000")
        #expect(report.text("tty") == "ENXIO", "there is no controlling terminal")
        #expect(report["dumpable"] as? Int == 1)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func resourceLimitsHold(_ zygote: Probe.Zygote) async throws {
        let report = try await Probe.run(Beds.root().client(), zygote, ["limits"]).section("limits")
        #expect(report.integers("RLIMIT_NPROC") == [64, 64])
        #expect(report.integers("RLIMIT_NOFILE") == [1024, 1024])
        #expect(report.integers("RLIMIT_CORE") == [0, 0])
        #expect(report.integers("RLIMIT_FSIZE") == [256 << 20, 256 << 20])
    }

    @Test func withoutTheLayerResourceLimitsAreTheDaemons() async throws {
        var options = RunOptions()
        options.without = [LayerSet(.rlimits)]
        let report = try await Probe.run(Beds.root().client(), .python, ["limits"], options).section("limits")
        #expect(report.integers("RLIMIT_NPROC") != [64, 64])
    }
}
