import Foundation
import HatcheryFuzzing
import Testing

/// Every input that a fuzzer kept, once more: what it found stays mended.
@Suite struct CorpusTests {
    private static let corpus = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Fuzz/Corpus")

    @Test(arguments: FuzzTarget.all.map(\.name))
    func keptInputsAndSeedsBreakNoPromise(_ name: String) throws {
        let target = try #require(FuzzTarget.named(name))
        let folder = Self.corpus.appendingPathComponent(name)
        // Written by hand once: HATCHERY_WRITE_SEEDS=1 swift test --filter CorpusTests
        if ProcessInfo.processInfo.environment["HATCHERY_WRITE_SEEDS"] == "1" {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            for (number, seed) in target.seeds().enumerated() {
                try Data(seed).write(to: folder.appendingPathComponent("seed-\(number)"))
            }
        }
        let kept = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        #expect(!kept.isEmpty, "\(folder.path) holds nothing: Fuzz/README.md")
        for file in kept { target.run(Array(try Data(contentsOf: file))) }
        for seed in target.seeds() {
            target.run(seed)
            // Cut at every place, which no fuzzer needs to find first.
            for length in 0..<min(seed.count, 512) { target.run(Array(seed.prefix(length))) }
        }
    }

    @Test func everyFolderHasATarget() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.corpus.path)
        #expect(Set(folders) == Set(FuzzTarget.all.map(\.name)))
    }
}
