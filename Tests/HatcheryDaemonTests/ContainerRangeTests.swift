import Testing

@testable import HatcheryDaemon

/// The ids that a container's root gives its sandboxes.
@Suite struct ContainerRangeTests {
    private let wanted = Rootless.Range(start: 1_879_048_192, count: 65_536)

    @Test func theConfiguredIDsAreTakenWhereTheContainerHasThem() {
        let whole = "         0          0 4294967295\n"
        #expect(Rootless.range(of: wanted, inside: [whole, whole]) == wanted)
    }

    @Test func aContainerOfFewIDsGivesItsLastOnes() {
        let few = "0 100000 65536\n"
        #expect(Rootless.range(of: wanted, inside: [few, few]) == .init(start: 32_768, count: 32_768))
        // The smaller map decides.
        #expect(Rootless.range(of: wanted, inside: [few, "0 100000 20000\n"]) == .init(start: 10_000, count: 10_000))
    }

    @Test func aSingleIDIsNoRange() {
        #expect(Rootless.range(of: wanted, inside: ["0 1000 1\n", "0 1000 1\n"]) == nil)
        #expect(Rootless.range(of: wanted, inside: ["1000 1000 70000\n", "0 0 70000\n"]) == nil)
    }
}
