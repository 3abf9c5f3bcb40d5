/// One reader of bytes that others chose, as a fuzzer and the tests of the corpora call it.
public struct FuzzTarget: Sendable {
    public let name: String
    /// Well-formed inputs to begin from.
    public let seeds: @Sendable () -> [[UInt8]]
    /// Traps where a promise is broken. To refuse an input is right.
    public let run: @Sendable ([UInt8]) -> Void

    public static let all: [FuzzTarget] = protocolTargets + textTargets + buildTargets

    public static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}
