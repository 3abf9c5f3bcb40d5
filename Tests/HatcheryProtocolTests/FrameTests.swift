import HatcheryProtocol
import Testing

@Suite struct FrameTests {
    static let sample = Frame(kind: .spawn, request: 0x0102_0304, descriptorCount: 2, body: [9, 8, 7])

    private func refusal(_ bytes: [UInt8], descriptors: Int = 2) -> Frame.Malformed? {
        do throws(Frame.Malformed) {
            _ = try Frame(decoding: bytes, descriptors: descriptors)
            return nil
        } catch {
            return error
        }
    }

    private func sample(_ offset: Int, _ value: UInt8) -> [UInt8] {
        var bytes = Self.sample.encoded()
        bytes[offset] = value
        return bytes
    }

    @Test func theBytesAreThoseOfTheContract() {
        #expect(Self.sample.encoded() == [
            0x48, 0x54, 0x43, 0x48, 1, 0, 2, 0, 4, 3, 2, 1, 3, 0, 0, 0, 2, 0, 0, 0, 9, 8, 7,
        ])
    }

    @Test(arguments: FrameKind.allCases)
    func everyKindRoundTrips(kind: FrameKind) throws {
        for body in [[], [0], [UInt8](repeating: 255, count: WireLimits.frameBytes - Frame.headerBytes)] {
            let frame = Frame(kind: kind, request: .max, descriptorCount: 60, body: body)
            #expect(frame.fits)
            #expect(try Frame(decoding: frame.encoded(), descriptors: 60) == frame)
        }
    }

    @Test func everyWayToBeMalformedIsToldApart() {
        #expect(refusal(Array(Self.sample.encoded()[..<19])) == .tooShort(bytes: 19))
        #expect(refusal([]) == .tooShort(bytes: 0))
        let long = [UInt8](repeating: 0, count: WireLimits.frameBytes + 1)
        #expect(refusal(long) == .tooLong(bytes: WireLimits.frameBytes + 1))
        #expect(refusal(sample(0, 0x49)) == .badMagic(0x4843_5449))
        #expect(refusal(sample(4, 2)) == .unknownVersion(2))
        #expect(refusal(sample(6, 99)) == .unknownKind(99))
        #expect(refusal(sample(12, 4)) == .wrongLength(announced: 4, actual: 3))
        #expect(refusal(sample(15, 255)) == .wrongLength(announced: 0xFF00_0003, actual: 3))
        #expect(refusal(Self.sample.encoded() + [0]) == .wrongLength(announced: 3, actual: 4))
        #expect(refusal(sample(18, 1)) == .reservedNotZero(1))
        #expect(refusal(Self.sample.encoded(), descriptors: 1) == .wrongDescriptorCount(announced: 2, actual: 1))
        #expect(refusal(Self.sample.encoded(), descriptors: 3) == .wrongDescriptorCount(announced: 2, actual: 3))
        #expect(refusal(Self.sample.encoded()) == nil)
    }

    @Test func aFrameThatDoesNotFitSaysSo() {
        let body = [UInt8](repeating: 0, count: WireLimits.frameBytes - Frame.headerBytes + 1)
        #expect(!Frame(kind: .listing, request: 0, body: body).fits)
    }

    @Test func everyCutIsAnError() {
        let bytes = Self.sample.encoded()
        for length in 0..<bytes.count { #expect(refusal(Array(bytes[..<length])) != nil) }
    }

    /// What is taken at all was said in exactly these bytes: there is one way to write a frame.
    @Test func mutationsAreRefusedOrMeanThemselves() throws {
        var mutator = Mutator(seed: 1, corpus: [Self.sample.encoded(), Frame(kind: .ping, request: 1).encoded()])
        for _ in 0..<20_000 {
            let bytes = mutator.next()
            for descriptors in [0, 2] {
                guard let frame = try? Frame(decoding: bytes, descriptors: descriptors) else { continue }
                #expect(frame.encoded() == bytes)
            }
        }
    }
}
