/// SplitMix64: a failure is found again by its seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// Spoils well-formed messages the way that finds trapping decoders: lengths, tags, cuts, repetitions, and pieces of others.
struct Mutator {
    private var random: SeededGenerator
    private let corpus: [[UInt8]]

    init(seed: UInt64, corpus: [[UInt8]]) {
        random = SeededGenerator(seed: seed)
        self.corpus = corpus
    }

    mutating func next() -> [UInt8] {
        var bytes = corpus.randomElement(using: &random) ?? []
        for _ in 0..<Int.random(in: 1...4, using: &random) { spoil(&bytes) }
        return bytes
    }

    private mutating func spoil(_ bytes: inout [UInt8]) {
        let other = corpus.randomElement(using: &random) ?? []
        let range = self.range(in: bytes)
        switch Int.random(in: 0..<8, using: &random) {
        case 0 where !bytes.isEmpty: bytes[position(in: bytes)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1 where !bytes.isEmpty: bytes[position(in: bytes)] = UInt8.random(in: 0...255, using: &random)
        case 2 where bytes.count >= 4:
            // A length, where one may stand.
            let lengths: [UInt32] = [0, 1, 2, 4, 6, 8, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF9, .max, UInt32(bytes.count)]
            let length = lengths.randomElement(using: &random) ?? 0
            let start = Int.random(in: 0...bytes.count - 4, using: &random)
            for index in 0..<4 { bytes[start + index] = UInt8(truncatingIfNeeded: length >> UInt32(8 * index)) }
        case 3: bytes.removeSubrange(range)
        case 4: bytes.insert(contentsOf: bytes[range], at: range.upperBound)
        case 5: bytes.removeLast(bytes.count - position(in: bytes + [0]))
        case 6: bytes.insert(contentsOf: other[self.range(in: other)], at: range.lowerBound)
        default: bytes += other
        }
        if bytes.count > 8192 { bytes.removeLast(bytes.count - 8192) }
    }

    private mutating func position(in bytes: [UInt8]) -> Int { Int.random(in: 0..<bytes.count, using: &random) }

    private mutating func range(in bytes: [UInt8]) -> Range<Int> {
        let ends = [Int.random(in: 0...bytes.count, using: &random), Int.random(in: 0...bytes.count, using: &random)].sorted()
        return ends[0]..<ends[1]
    }
}
