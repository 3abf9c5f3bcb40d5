import CHatchery
import Foundation
import Glibc
import HatcheryProtocol
import Testing

@testable import HatcherySystem

/// What the kernel says it answers for itself, in network namespaces of the tests' own.
@Suite struct LocalRoutesTests {
    /// In a thread of its own, which the namespace ends with.
    private func inNamespace<Outcome: Sendable>(_ body: @escaping @Sendable () throws -> Outcome) async throws -> Outcome {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result {
                        try check(hatchery_unshare(Int32(hatchery_clone_newnet)), "unshare(CLONE_NEWNET)")
                        return try body()
                    })
            }
        }
    }

    @Test(.enabled(if: geteuid() == 0, "network namespaces need root"))
    func everyAddressIsThereOnceAndNothingElse() async throws {
        let (before, after) = try await inNamespace {
            let before = try LocalRoutes.blocks()
            try NetlinkSocket().perform([
                Links.pair(
                    .init(index: 2, name: "one", linkAddress: [2, 0, 0, 0, 0, 1]),
                    .init(index: 3, name: "other", linkAddress: [2, 0, 0, 0, 0, 2]), mtu: 1500),
                Links.bringUp(1), Links.bringUp(2), Links.bringUp(3),
                Links.address(IPAddress("203.0.113.7")!, prefix: 24, on: 2),
            ])
            return (before, try LocalRoutes.blocks())
        }
        #expect(before == [])
        // 203.0.113.0/24 is reached by a route, and not the host itself.
        #expect(after.map(\.description).filter { !$0.contains(":") } == [
            "127.0.0.0/8", "127.0.0.1/32", "127.255.255.255/32", "203.0.113.7/32", "203.0.113.255/32",
        ])
        #expect(Set(after).count == after.count)
        #expect(!after.contains { $0.prefix == 0 })
    }

    @Test(.enabled(if: geteuid() == 0, "network namespaces need root"))
    func anAddressThatComesIsToldOf() async throws {
        let (before, after) = try await inNamespace {
            let changes = try LocalRoutes.changes()
            var buffer = [UInt8](repeating: 0, count: 4096)
            func hear() -> Bool {
                var any = false
                while read(changes.raw, &buffer, buffer.count) > 0 { any = true }
                return any
            }
            try NetlinkSocket().perform([Links.bringUp(1)])
            _ = hear()
            let before = hear()
            try NetlinkSocket().perform([Links.address(IPAddress("203.0.113.7")!, prefix: 32, on: 1)])
            return (before, hear())
        }
        #expect(!before)
        #expect(after)
    }
}
