/// Bytes of a stream as text: UTF-8, invalid bytes dropped, and a code point that the cap split gone without a trace.
package struct StreamText: Sendable, Hashable {
    package let string: String
    /// Whether bytes were dropped for being invalid. A code point that was split at a cap does not count.
    package let hadInvalidBytes: Bool

    package init(_ bytes: [UInt8], isCutAtStart: Bool = false, isCutAtEnd: Bool = false) {
        var whole = bytes[...]
        if isCutAtStart { whole = whole.dropFirst(StreamText.splitAtStart(whole)) }
        if isCutAtEnd { whole = whole.dropLast(StreamText.splitAtEnd(whole)) }
        if let text = String(validating: whole, as: UTF8.self) {
            string = text
            hadInvalidBytes = false
            return
        }
        var valid: [UInt8] = []
        valid.reserveCapacity(whole.count)
        var index = whole.startIndex
        while index < whole.endIndex {
            let length = StreamText.sequenceLength(whole[index...])
            if length > 0 { valid += whole[index..<(index + length)] }
            index += max(1, length)
        }
        string = String(decoding: valid, as: UTF8.self)
        hadInvalidBytes = true
    }

    /// The length of the well-formed sequence that starts here; 0 where none does (Unicode, table 3-7).
    private static func sequenceLength(_ bytes: ArraySlice<UInt8>) -> Int {
        guard let first = bytes.first else { return 0 }
        if first < 0x80 { return 1 }
        let (length, second): (Int, ClosedRange<UInt8>) =
            switch first {
            case 0xC2...0xDF: (2, 0x80...0xBF)
            case 0xE0: (3, 0xA0...0xBF)
            case 0xED: (3, 0x80...0x9F)  // no surrogates
            case 0xE1...0xEF: (3, 0x80...0xBF)
            case 0xF0: (4, 0x90...0xBF)
            case 0xF1...0xF3: (4, 0x80...0xBF)
            case 0xF4: (4, 0x80...0x8F)
            default: (0, 0x80...0xBF)
            }
        guard length > 0, bytes.count >= length, second.contains(bytes[bytes.startIndex + 1]) else { return 0 }
        let rest = bytes[(bytes.startIndex + 2)..<(bytes.startIndex + length)]
        return rest.allSatisfy { isContinuation($0) } ? length : 0
    }

    private static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xC0 == 0x80 }

    /// How many bytes at the start are the rest of a code point that began before.
    private static func splitAtStart(_ bytes: ArraySlice<UInt8>) -> Int {
        let count = bytes.prefix(4).prefix { isContinuation($0) }.count
        return count <= 3 ? count : 0
    }

    /// How many bytes at the end begin a code point that goes on behind the cut.
    private static func splitAtEnd(_ bytes: ArraySlice<UInt8>) -> Int {
        for count in 1...3 where count <= bytes.count {
            let lead = bytes[bytes.endIndex - count]
            if isContinuation(lead) { continue }
            let wanted = lead >= 0xF0 && lead <= 0xF4 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1
            // Whole as it stands, or not the beginning of anything (0xF5 and above): nothing was split.
            guard wanted > count, lead <= 0xF4 else { return 0 }
            // Its second byte must be possible, or the sequence was invalid before the cut.
            var padded = Array(bytes.suffix(count))
            while padded.count < wanted { padded.append(padded.count == 1 ? secondByte(for: lead) : 0x80) }
            return sequenceLength(padded[...]) == wanted ? count : 0
        }
        return 0
    }

    /// A second byte that every lead of its kind accepts.
    private static func secondByte(for lead: UInt8) -> UInt8 {
        switch lead {
        case 0xE0: 0xA0
        case 0xF0: 0x90
        default: 0x80
        }
    }
}
