import Testing

@testable import HatcheryProtocol

@Suite struct FieldCodingTests {
    @Test(arguments: Codec.all)
    func aValueWithEverythingSetRoundTrips(codec: Codec) throws {
        #expect(try codec.recode(codec.sample) == codec.sample)
    }

    /// Replies may lack fields, so that a message cut between two fields can be a value; but it is never one that was
    /// misread, and a cut inside a field is always an error.
    @Test(arguments: Codec.all)
    func aMessageCutOffIsAnErrorOrAShorterMessage(codec: Codec) {
        let boundaries = Codec.boundaries(of: codec.sample)
        #expect(boundaries.contains(codec.sample.count) && boundaries.count > 1)
        for length in 0..<codec.sample.count {
            let cut = Array(codec.sample[..<length])
            do throws(FieldError) {
                let recoded = try codec.recode(cut)
                #expect(boundaries.contains(length), "\(codec.name), cut at \(length) inside a field, was taken")
                #expect(try codec.recode(recoded) == recoded)
            } catch {
                #expect(!error.description.isEmpty)
            }
        }
    }

    @Test(arguments: Codec.all)
    func lengthsBeyondTheEndAreErrors(codec: Codec) {
        for start in Codec.boundaries(of: codec.sample) where start < codec.sample.count {
            for length in [UInt32.max, 0x8000_0000, 0x7FFF_FFFF, UInt32(codec.sample.count)] {
                var spoiled = codec.sample
                for index in 0..<4 { spoiled[start + 2 + index] = UInt8(truncatingIfNeeded: length >> UInt32(8 * index)) }
                #expect(throws: FieldError.self) { try codec.recode(spoiled) }
            }
        }
    }

    /// A trap ends the whole test run, so arriving here is most of the proof.
    @Test(arguments: Codec.all)
    func noMutationTraps(codec: Codec) {
        let foreign = Codec.all.map(\.sample)
        var mutator = Mutator(seed: 0x4843_5448, corpus: [codec.sample, codec.sample] + foreign)
        var taken = 0
        for number in 0..<20_000 {
            let bytes = mutator.next()
            guard let recoded = try? codec.recode(bytes) else { continue }
            taken += 1
            #expect((try? codec.recode(recoded)) == recoded, "\(codec.name), mutation \(number): \(bytes)")
        }
        #expect(taken > 0, "every mutation was refused: the mutator spoils too much to test anything behind the first check")
    }

    @Test func fieldsSayWhatIsWrongWithThem() {
        func refusal(_ bytes: [UInt8], _ read: (FieldReader.Field) throws(FieldError) -> Void) -> FieldError? {
            do throws(FieldError) {
                try FieldReader.reading(bytes) { reader throws(FieldError) in
                    var reader = reader
                    while let field = try reader.next() { try read(field) }
                }
                return nil
            } catch {
                return error
            }
        }
        func bytes(_ value: [UInt8]) -> [UInt8] {
            var writer = FieldWriter()
            writer.append(tag: 9, bytes: value)
            return writer.bytes
        }
        #expect(refusal([9, 0, 1], { _ in }) == .truncatedHeader(offset: 0))
        #expect(refusal(bytes([1]) + [9], { _ in }) == .truncatedHeader(offset: 7))
        #expect(refusal([9, 0, 2, 0, 0, 0, 1], { _ in }) == .truncatedValue(tag: 9, announced: 2, available: 1))
        #expect(refusal(bytes([1, 2, 3])) { f throws(FieldError) in _ = try f.integer(UInt16.self) }
            == .wrongSize(tag: 9, expected: 2, actual: 3))
        #expect(refusal(bytes([2])) { f throws(FieldError) in _ = try f.bool() } == .outOfRange(tag: 9, value: 2))
        #expect(refusal(bytes([0xC3])) { f throws(FieldError) in _ = try f.string(limit: 9) } == .notUTF8(tag: 9))
        #expect(refusal(bytes([0xED, 0xA0, 0x80])) { f throws(FieldError) in _ = try f.string(limit: 9) } == .notUTF8(tag: 9))
        #expect(refusal(bytes([65, 0])) { f throws(FieldError) in _ = try f.string(limit: 9) } == .containsNUL(tag: 9))
        #expect(refusal(bytes([65, 66])) { f throws(FieldError) in _ = try f.string(limit: 1) } == .tooLong(tag: 9, limit: 1))
        #expect(refusal(bytes([65, 66])) { f throws(FieldError) in _ = try f.string(limit: 2) } == nil)
        #expect(refusal([], { _ in }) == nil)
    }

    @Test func integersAreLittleEndianAndUnaligned() throws {
        var writer = FieldWriter()
        writer.append(tag: 0x0102, bytes: [7])
        writer.append(tag: 3, integer: UInt32(0x0A0B_0C0D))
        #expect(writer.bytes == [2, 1, 1, 0, 0, 0, 7, 3, 0, 4, 0, 0, 0, 0x0D, 0x0C, 0x0B, 0x0A])
        let value: UInt32? = try FieldReader.reading(writer.bytes) { reader throws(FieldError) in
            var reader = reader
            _ = try reader.next()
            return try reader.next()?.integer()
        }
        #expect(value == 0x0A0B_0C0D)
    }

    @Test func anErrorWithLongTextsFitsItsFrame() throws {
        // 25 bytes are one character to Swift's String: counted in characters, this would not fit.
        let family = String(repeating: "👩‍👩‍👧‍👦", count: 20_000)
        var writer = FieldWriter()
        HatcheryError(.lost, side: .zygote, detail: family, hint: family).encode(into: &writer)
        #expect(Frame(kind: .failure, request: 1, body: writer.bytes).fits)
        let error = try FieldReader.reading(writer.bytes) { reader throws(FieldError) in try HatcheryError(decoding: reader) }
        #expect(error.detail.utf8.count > 15_990 && family.utf8.starts(with: error.detail.utf8))
    }
}
