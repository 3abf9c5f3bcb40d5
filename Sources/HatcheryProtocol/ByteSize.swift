/// Amounts of bytes as people write them: `4096`, `64K`, `512M`, `4G`.
///
/// Units are powers of 1024, as the kernel and every peer count them; either case is read, because `512m` is what users of
/// other tools type. There are no fractions: a limit that cannot be written exactly is a limit that nobody can check.
public enum ByteSize {
    /// The units, the largest first: `format` takes the first that divides.
    private static let units: [(letter: UInt8, shift: UInt64)] = [
        (UInt8(ascii: "G"), 30), (UInt8(ascii: "M"), 20), (UInt8(ascii: "K"), 10),
    ]

    /// Bytes.
    ///
    /// - Throws: `ValueTextError` if the text is not digits with at most one unit, or does not fit 64 bits.
    public static func parse(_ text: String) throws(ValueTextError) -> UInt64 {
        var digits = text.utf8[...]
        var shift: UInt64 = 0
        if let last = digits.last, let unit = units.first(where: { $0.letter == last & 0xDF }) {
            shift = unit.shift
            digits.removeLast()
        }
        guard let count = DecimalDigits.parse(digits) else {
            throw ValueTextError("'\(text)' is not a size; write bytes, or a number followed by K, M or G, such as 512M")
        }
        let (bytes, overflow) = count.value.multipliedReportingOverflow(by: 1 << shift)
        guard !overflow, !count.overflow else { throw ValueTextError("the size '\(text)' does not fit 64 bits") }
        return bytes
    }

    /// The shortest exact form, which `parse` reads back: `512M` for 536,870,912.
    public static func format(_ bytes: UInt64) -> String {
        for unit in units where bytes != 0 && bytes % (1 << unit.shift) == 0 {
            return "\(bytes >> unit.shift)\(Character(Unicode.Scalar(unit.letter)))"
        }
        return "\(bytes)"
    }
}

/// A text that is not the value it should be; the message is a sentence without its final point.
public struct ValueTextError: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}

enum DecimalDigits {
    /// The number that a non-empty run of ASCII digits writes; nil for anything else, signs and spaces included.
    /// Swift's own `UInt64("+5")` accepts a sign, which no limit should have.
    static func parse(_ digits: some Collection<UInt8>) -> (value: UInt64, overflow: Bool)? {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        var overflow = false
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, carried) = product.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
            overflow = overflow || tooLarge || carried
            value = sum
        }
        return (value, overflow)
    }
}
