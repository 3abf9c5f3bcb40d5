import HatcheryProtocol
import Testing

@Suite struct ByteSizeTests {
    @Test(arguments: [
        ("0", 0), ("4096", 4096), ("1K", 1024), ("512M", 512 << 20), ("4G", 4 << 30), ("64k", 65536), ("512m", 512 << 20),
        ("18446744073709551615", UInt64.max),
    ] as [(String, UInt64)])
    func sizesAreBytes(text: String, bytes: UInt64) throws {
        #expect(try ByteSize.parse(text) == bytes)
    }

    @Test(arguments: ["", "M", "-1", "+1", "1.5G", " 1", "1 ", "1KB", "1T", "0x10", "١", "1_000", "\u{0}1"])
    func whatIsNoSizeIsRefused(text: String) {
        #expect(throws: ValueTextError.self) { try ByteSize.parse(text) }
    }

    @Test(arguments: ["18446744073709551616", "17179869184G", "99999999999999999999999"])
    func whatDoesNotFitIsRefused(text: String) {
        #expect(throws: ValueTextError("the size '\(text)' does not fit 64 bits")) { try ByteSize.parse(text) }
    }

    @Test(arguments: [0, 1, 1023, 1024, 1536, 512 << 20, 4 << 30, UInt64.max])
    func aFormattedSizeReadsBack(bytes: UInt64) throws {
        #expect(try ByteSize.parse(ByteSize.format(bytes)) == bytes)
    }

    @Test func sizesPrintInTheLargestExactUnit() {
        #expect(ByteSize.format(512 << 20) == "512M")
        #expect(ByteSize.format(1536) == "1536")
        #expect(ByteSize.format(0) == "0")
    }
}
