import Testing

@testable import HatcheryProtocol

@Suite struct SpawnRequestTests {
    private func refusal(_ build: (inout FieldWriter) -> Void) -> FieldError? {
        var writer = FieldWriter()
        writer.append(tag: 1, string: "exec")
        writer.append(tag: 2, string: "default")
        build(&writer)
        return refusal(of: writer.bytes)
    }

    private func refusal(of bytes: [UInt8]) -> FieldError? {
        do throws(FieldError) {
            _ = try decode(bytes)
            return nil
        } catch {
            return error
        }
    }

    private func decode(_ bytes: [UInt8]) throws(FieldError) -> SpawnRequest {
        try FieldReader.reading(bytes) { reader throws(FieldError) in try SpawnRequest(decoding: reader) }
    }

    @Test func everyPropertyRoundTrips() throws {
        let full = Samples().spawnRequest
        #expect(try decode(full.encoded()) == full)
        #expect(full.descriptorCount == 5)
        let least = SpawnRequest(zygote: "a")
        #expect(try decode(least.encoded()) == least)
        #expect(least.descriptorCount == 1)
    }

    @Test(arguments: ["\n", "\t", "\r", "\u{1B}", "\u{1}", "\u{1F}", "\u{7F}", "\u{80}", "\u{9B}", "\u{9F}"])
    func aTitleWithControlCharactersIsRefused(character: String) {
        #expect(refusal { $0.append(tag: 3, string: "a\(character)[2Jb") } == .containsControl(tag: 3))
    }

    @Test func titlesAreTextOfOneLine() throws {
        #expect(refusal { $0.append(tag: 3, string: "a\u{0}") } == .containsNUL(tag: 3))
        #expect(refusal { $0.append(tag: 3, string: String(repeating: "a", count: 129)) } == .tooLong(tag: 3, limit: 128))
        #expect(refusal { $0.append(tag: 3, string: "größe ✓ 👩‍👧 ~") } == nil)
    }

    @Test func whatIsMissingTwiceOrUnknownIsRefused() {
        #expect(refusal(of: []) == .missing(tag: 1))
        #expect(refusal { $0.append(tag: 1, string: "exec") } == .duplicate(tag: 1))
        #expect(refusal { $0.append(tag: 99, bytes: []) } == .unknownTag(99))
        #expect(refusal { $0.append(tag: 16) { $0.append(tag: 2, integer: UInt8(1)) } } == .missing(tag: 1))
        #expect(refusal { $0.append(tag: 16) { $0.append(tag: 9, integer: UInt8(1)) } } == .unknownTag(9))
    }

    @Test func impossibleValuesAreRefused() {
        for tag in [UInt16](6...11) + [22] {
            #expect(refusal { $0.append(tag: tag, integer: UInt64(0)) } == .outOfRange(tag: tag, value: 0))
            #expect(refusal { $0.append(tag: tag, integer: UInt64.max) } == .outOfRange(tag: tag, value: .max))
            #expect(refusal { $0.append(tag: tag, integer: UInt32(1)) } == .wrongSize(tag: tag, expected: 8, actual: 4))
            #expect(refusal { $0.append(tag: tag, integer: UInt64(1)) } == nil)
        }
        #expect(refusal { $0.append(tag: 23, integer: UInt64(0)) } == nil)
        #expect(refusal { $0.append(tag: 23, integer: UInt64.max) } == .outOfRange(tag: 23, value: .max))
        #expect(refusal { $0.append(tag: 4, integer: UInt8(3)) } == .outOfRange(tag: 4, value: 3))
        #expect(refusal { $0.append(tag: 5, integer: UInt8(2)) } == .outOfRange(tag: 5, value: 2))
        let unknownLayer = LayerSet.all.rawValue + 1
        #expect(refusal { $0.append(tag: 13, integer: unknownLayer) } == .outOfRange(tag: 13, value: UInt64(unknownLayer)))
        #expect(refusal { $0.append(tag: 20, integer: UInt16(99)) } == .outOfRange(tag: 20, value: 99))
    }

    @Test func listsEndAtTheirLimits() {
        let limits: [(tag: UInt16, limit: Int)] = [
            (16, WireLimits.mounts), (17, WireLimits.temporaryFileSystems), (18, WireLimits.filesIn), (19, WireLimits.filesOut),
        ]
        for (tag, limit) in limits {
            func entries(_ count: Int) -> FieldError? {
                refusal { writer in
                    for _ in 0..<count {
                        if tag == 19 {
                            writer.append(tag: tag, string: "/x")
                        } else {
                            writer.append(tag: tag) { $0.append(tag: 1, string: "/x") }
                        }
                    }
                }
            }
            #expect(entries(limit) == nil)
            #expect(entries(limit + 1) == .tooMany(tag: tag, limit: limit))
        }
        let path = String(repeating: "x", count: WireLimits.pathBytes)
        #expect(refusal { $0.append(tag: 19, string: path + "x") } == .tooLong(tag: 19, limit: WireLimits.pathBytes))
        #expect(refusal { writer in for _ in 0..<9 { writer.append(tag: 19, string: path) } }
            == .tooLong(tag: 19, limit: WireLimits.filesOutBytes))
    }
}
