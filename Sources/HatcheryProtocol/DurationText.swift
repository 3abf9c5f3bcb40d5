/// Spans of time as people write them: `250ms`, `30s`, `5m`, `1h`, or a bare number of seconds; `1.5s` and `0.25` too.
public enum DurationText {
    /// The units, the largest first: `format` takes the first that divides.
    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000),
    ]

    /// The span: not negative, exact to the nanosecond, at most some 292 years.
    ///
    /// - Throws: `ValueTextError` for anything else. A fraction finer than a nanosecond is an error, not rounded.
    public static func parse(_ text: String) throws(ValueTextError) -> Duration {
        let number = text.utf8.prefix { !isLetter($0) }
        let suffix = String(text.utf8.dropFirst(number.count)) ?? ""
        let unit: UInt64? = suffix.isEmpty ? 1_000_000_000 : units.first { $0.name == suffix }?.nanoseconds
        let parts = number.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard let unit, let whole = DecimalDigits.parse(parts[0]) else { throw malformed(text) }

        let (nanoseconds, tooLarge) = whole.value.multipliedReportingOverflow(by: unit)
        var total = nanoseconds
        var overflow = whole.overflow || tooLarge
        if parts.count == 2 {
            guard let fraction = nanosecondsOfFraction(parts[1], unit: unit) else { throw malformed(text) }
            let (sum, carried) = total.addingReportingOverflow(fraction)
            total = sum
            overflow = overflow || carried
        }
        guard !overflow, total <= UInt64(Int64.max) else { throw ValueTextError("the duration '\(text)' is too long") }
        return .nanoseconds(Int64(total))
    }

    /// The shortest exact form, which `parse` reads back: `5m` for 300 seconds, `1.5s`, `0.25ms`.
    ///
    /// - Precondition: what `parse` can return: not negative, whole nanoseconds.
    public static func format(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let nanoseconds = UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
        if nanoseconds == 0 { return "0s" }
        for unit in units where nanoseconds % unit.nanoseconds == 0 {
            return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
        }
        let unit = nanoseconds > 1_000_000_000 ? units[2] : units[3]
        var fraction = String(nanoseconds % unit.nanoseconds + unit.nanoseconds).dropFirst()
        while fraction.last == "0" { fraction.removeLast() }
        return "\(nanoseconds / unit.nanoseconds).\(fraction)\(unit.name)"
    }

    /// `digits` as decimal places of `unit`; nil if they are no digits or finer than a nanosecond.
    private static func nanosecondsOfFraction(_ digits: Substring.UTF8View, unit: UInt64) -> UInt64? {
        // Twelve places are finer than a nanosecond of an hour can need, and keep the product below in 128 bits.
        guard digits.count <= 12, let places = DecimalDigits.parse(digits) else { return nil }
        let scale = (0..<digits.count).reduce(UInt64(1)) { power, _ in power * 10 }
        let product = places.value.multipliedFullWidth(by: unit)
        let (quotient, remainder) = scale.dividingFullWidth(product)
        return remainder == 0 ? quotient : nil
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        let lowercase = byte | 0x20
        return lowercase >= UInt8(ascii: "a") && lowercase <= UInt8(ascii: "z")
    }

    private static func malformed(_ text: String) -> ValueTextError {
        ValueTextError("'\(text)' is not a duration; write seconds, or a number followed by ms, s, m or h, such as 30s")
    }
}
