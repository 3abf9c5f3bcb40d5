import Hatchery
import HatcheryTestSupport
import Testing

/// What the result says of the layers, and `--require`.
@Suite struct ReceiptTests {
    @Test func aHitAndAMissHaveTheSameReceipt() async throws {
        let client = try await Beds.root().client()
        var miss = RunOptions()
        miss.network = .loopback
        var receipts: [Bool: Receipt] = [:]
        for _ in 0..<50 where receipts.count < 2 {
            let hit = try await client.run(.python(code: "1"))
            receipts[hit.spawn.nurseryHit == true] = hit.receipt
            let other = try await client.run(.python(code: "1"), miss)
            receipts[other.spawn.nurseryHit == true] = other.receipt
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(receipts[true] == receipts[false])
        #expect(receipts[true]?.active.contains(.seccomp) == true)
    }

    @Test func everyLayerIsActiveOrMissingWithAReason() async throws {
        let result = try await Beds.root().client().run(.program("/bin/true"))
        let missing = LayerSet(result.receipt.missing.map { LayerSet($0.layer) })
        #expect(result.receipt.active.union(missing) == .all)
        #expect(result.receipt.active.isDisjoint(with: missing))
        for entry in result.receipt.missing { #expect(!entry.why.isEmpty) }
    }

    /// The virtual machine of Tests/beds has a kernel for every layer, for root and for a user with lent ids and a cgroup.
    @Test(.enabled(if: Beds.isVirtualMachine, "this is not the virtual machine"), arguments: Probe.Zygote.allCases)
    func whereTheHostHasEverythingNothingIsMissing(_ zygote: Probe.Zygote) async throws {
        var options = RunOptions(time: Beds.time(.seconds(20)))
        options.required = .all
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: "print(1)"), options)
        #expect(result.receipt.active == .all)
        #expect(result.receipt.missing.isEmpty)
    }

    @Test func aRequiredLayerThatIsMissingFailsInsteadOfRunning() async throws {
        let client = try await Beds.root().client()
        var options = SandboxOptions()
        options.required = [LayerSet(.seccomp), LayerSet(.caps)]
        let child = try await client.spawn(.program("/bin/true"), options)
        #expect(try await child.wait().exitCode == 0)
        options.required.insert(.proc)
        options.without = [LayerSet(.proc)]
        let error = await #expect(throws: HatcheryError.self) { try await client.spawn(.program("/bin/true"), options) }
        #expect(error?.kind == .layerMissing)
        #expect(error?.description.contains("proc") == true)
    }

    @Test(.enabled(if: Beds.available(Beds.isRoot, "starting a daemon as another user needs root")))
    func asAnOrdinaryUserTheSandboxIsTheSameButForItsID() async throws {
        let root = try await Beds.root().client().run(.program("/bin/true"))
        let user = try UserClient.run(Beds.user(), [], ["/bin/true"])
        // Nothing was delegated to that daemon; CgroupTests has one with a cgroup of its own.
        let expected: Set<String> = CgroupBed.isComplete ? ["distinct_uid", "cgroup"] : ["distinct_uid"]
        #expect(Set(root.receipt.active.layers.map(\.name)).subtracting(UserClient.activeLayers(user)) == expected)
    }
}
