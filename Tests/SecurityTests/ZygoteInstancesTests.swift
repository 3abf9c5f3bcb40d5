import Hatchery
import HatcheryTestSupport
import Testing

/// Several processes of one zygote.
@Suite struct ZygoteInstancesTests {
    @Test func everyInstanceServesAndIsListed() async throws {
        let daemon = try TestDaemon(
            """
            zygotes: [{name: exec, kind: exec, instances: 3, nursery: {min: 0, max: 0}}]
            """)
        defer { daemon.stop() }
        let client = try await daemon.client()
        for _ in 0..<9 { #expect(try await client.run(.program("/bin/true")).exitCode == 0) }
        let listed = try await client.zygotes()
        #expect(listed.count == 3)
        #expect(Set(listed.map(\.pid)).count == 3)
        #expect(listed.allSatisfy { $0.spawned == 3 })
    }
}
