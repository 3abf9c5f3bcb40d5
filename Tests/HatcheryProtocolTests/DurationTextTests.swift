import HatcheryProtocol
import Testing

@Suite struct DurationTextTests {
    @Test(arguments: [
        ("250ms", .milliseconds(250)), ("30s", .seconds(30)), ("5m", .seconds(300)), ("1h", .seconds(3600)),
        ("30", .seconds(30)), ("0.25", .milliseconds(250)), ("1.5h", .seconds(5400)), ("0", .zero),
        ("0.000000001", .nanoseconds(1)), ("0.5ms", .microseconds(500)),
    ] as [(String, Duration)])
    func durationsAreRead(text: String, duration: Duration) throws {
        #expect(try DurationText.parse(text) == duration)
    }

    @Test(arguments: ["", "s", "-1s", "+1s", "1.", ".5", "1.5.5", "1 s", "30S", "1d", "5min", "1e3", "nan", "1,5", "0.0000000001"])
    func whatIsNoDurationIsRefused(text: String) {
        #expect(throws: ValueTextError.self) { try DurationText.parse(text) }
    }

    @Test(arguments: ["9223372037", "99999999999999999999h", "2562048h"])
    func whatIsTooLongIsRefused(text: String) {
        #expect(throws: ValueTextError("the duration '\(text)' is too long")) { try DurationText.parse(text) }
    }

    @Test(arguments: [
        (.zero, "0s"), (.seconds(300), "5m"), (.milliseconds(1500), "1500ms"), (.seconds(90), "90s"),
        (.microseconds(250), "0.25ms"), (.nanoseconds(1_000_000_001), "1.000000001s"), (.seconds(7200), "2h"),
    ] as [(Duration, String)])
    func durationsPrintInTheLargestExactUnit(duration: Duration, text: String) throws {
        #expect(DurationText.format(duration) == text)
        #expect(try DurationText.parse(text) == duration)
    }
}
