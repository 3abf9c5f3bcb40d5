import Testing

@testable import HatcheryProtocol

@Suite struct TraceParentTests {
    static let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @Test func anExampleOfTheRecommendationIsTaken() {
        #expect(TraceParent(Self.good)?.description == Self.good)
        // A version to come may say more; what is known of it is kept.
        #expect(TraceParent("cc" + Self.good.dropFirst(2) + "-what-comes")?.description == "cc" + Self.good.dropFirst(2))
    }

    @Test(arguments: [
        "", "00", good.uppercased(), good + "-more", good + "x", String(good.dropLast()), "ff" + good.dropFirst(2),
        "00-" + String(repeating: "0", count: 32) + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + String(repeating: "0", count: 16) + "-01",
        "cc" + good.dropFirst(2) + "-\n", good.replacing("-", with: "_"),
    ])
    func whatIsNoneIsNotTaken(text: String) { #expect(TraceParent(text) == nil) }
}
