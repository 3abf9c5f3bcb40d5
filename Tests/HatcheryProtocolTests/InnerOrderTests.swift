import Testing

@testable import HatcheryProtocol

/// The fixed-size messages between front, zygote and child.
@Suite struct InnerOrderTests {
    static let order = CloneOrder(
        serial: 0x0102_0304_0506_0708, namespaces: 0x7E02_0000,
        map: .init(uid: 1000, gid: 1001, payloadID: 17, initID: 16))
    static let report = CloneReport(serial: .max, pid: 4711, errno: 12, step: .idMaps)
    static let record = StatusRecord(step: .ready, errno: -1, layers: .all)

    private static func bytes(_ size: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xAA, count: size)
        bytes.withUnsafeMutableBytes(write)
        return bytes
    }

    private static func order(_ bytes: [UInt8]) -> CloneOrder? { bytes.withUnsafeBytes { CloneOrder($0) } }
    private static func report(_ bytes: [UInt8]) -> CloneReport? { bytes.withUnsafeBytes { CloneReport($0) } }

    @Test func cloneOrdersRoundTrip() {
        var order = Self.order
        #expect(Self.order(Self.bytes(CloneOrder.size, order.write)) == order)
        order.map.initID = nil
        #expect(Self.order(Self.bytes(CloneOrder.size, order.write)) == order)
    }

    @Test func cloneReportsRoundTrip() {
        for report in [Self.report, CloneReport(serial: 0, pid: 0, errno: .min)] {
            #expect(Self.report(Self.bytes(CloneReport.size, report.write)) == report)
        }
    }

    @Test func statusRecordsRoundTrip() {
        for step in Step.allCases {
            let record = StatusRecord(step: step, errno: 13, layers: LayerSet(.caps))
            #expect(StatusRecord(decoding: Self.bytes(StatusRecord.size, record.write)[...]) == record)
        }
        // A slice out of the middle of a longer read.
        let twice = Self.bytes(StatusRecord.size, Self.record.write) + Self.bytes(StatusRecord.size, Self.record.write)
        #expect(StatusRecord(decoding: twice[16...]) == Self.record)
    }

    @Test func initMessagesRoundTrip() {
        for message in [
            InitMessage.payloadForked, .payloadEnded(status: 0), .payloadEnded(status: -1), .payloadEnded(status: 0x8B),
            .refused(syscall: 165, count: 1, isFatal: false), .refused(syscall: .max, count: .max, isFatal: true),
            .sentBadSystemCall,
        ] {
            #expect(InitMessage(decoding: message.encoded()) == message)
            #expect(message.encoded().count <= InitMessage.maximumSize)
        }
        #expect(InitMessage(decoding: [0, 0, 0, 0, 0, 0, 0, 0]) == nil)
        #expect(InitMessage(decoding: [5, 0, 0, 0, 0, 0, 0, 0]) == nil)
        #expect(InitMessage(decoding: [3, 2, 0, 0, 0, 0, 0, 0]) == nil)
    }

    @Test func otherSizesAndMagicsAreRefused() {
        let order = Self.bytes(CloneOrder.size, Self.order.write)
        let report = Self.bytes(CloneReport.size, Self.report.write)
        let record = Self.bytes(StatusRecord.size, Self.record.write)
        for size in 0...64 {
            func sized(_ bytes: [UInt8]) -> [UInt8] { Array((bytes + [UInt8](repeating: 0, count: 64)).prefix(size)) }
            #expect((Self.order(sized(order)) != nil) == (size == CloneOrder.size))
            #expect((Self.report(sized(report)) != nil) == (size == CloneReport.size))
            #expect((StatusRecord(decoding: sized(record)[...]) != nil) == (size == StatusRecord.size))
            #expect((InitMessage(decoding: sized(InitMessage.payloadForked.encoded())) != nil) == (size == 8))
        }
        for index in 0..<4 {
            func spoiled(_ bytes: [UInt8]) -> [UInt8] {
                var bytes = bytes
                bytes[index] ^= 1
                return bytes
            }
            #expect(Self.order(spoiled(order)) == nil)
            #expect(Self.report(spoiled(report)) == nil)
            #expect(StatusRecord(decoding: spoiled(record)[...]) == nil)
        }
    }

    @Test func mutationsAreRefusedOrRoundTrip() {
        let corpus = [
            Self.bytes(CloneOrder.size, Self.order.write), Self.bytes(CloneReport.size, Self.report.write),
            Self.bytes(StatusRecord.size, Self.record.write), InitMessage.payloadEnded(status: 9).encoded(),
        ]
        var mutator = Mutator(seed: 2, corpus: corpus)
        for _ in 0..<20_000 {
            let bytes = mutator.next()
            if let order = Self.order(bytes) { #expect(Self.order(Self.bytes(CloneOrder.size, order.write)) == order) }
            if let report = Self.report(bytes) { #expect(Self.report(Self.bytes(CloneReport.size, report.write)) == report) }
            if let record = StatusRecord(decoding: bytes[...]) {
                #expect(StatusRecord(decoding: Self.bytes(StatusRecord.size, record.write)[...]) == record)
            }
            if let message = InitMessage(decoding: bytes) { #expect(InitMessage(decoding: message.encoded()) == message) }
        }
    }
}

@Suite struct ZygoteMessageTests {
    @Test(arguments: [
        ZygoteMessage.wantsMaps, .wantsRoots, .ready(threads: 1), .ready(threads: .max, heap: .init(bytes: .max, mappings: 7, note: "ü")),
        .failed(message: "a\n\tb"), .failed(message: ""),
    ])
    func messagesRoundTrip(message: ZygoteMessage) throws {
        #expect(try ZygoteMessage(decoding: message.encoded()) == message)
    }

    @Test func aReportedFailureHasNoControlCharacters() throws {
        for value in UInt32(0)...0x9F {
            let scalar = try #require(Unicode.Scalar(value))
            let isKept = scalar == "\n" || scalar == "\t" || (0x20...0x7E).contains(value)
            let digits = String(value, radix: 16)
            let expected = isKept ? String(scalar) : "\\x" + (value < 16 ? "0" : "") + digits
            let message = ZygoteMessage.failed(message: "a\(scalar)b")
            #expect(try ZygoteMessage(decoding: message.encoded()) == .failed(message: "a\(expected)b"))
        }
        let noted = ZygoteMessage.ready(threads: 1, heap: .init(note: "a\u{1B}[2J"))
        #expect(try ZygoteMessage(decoding: noted.encoded()) == .ready(threads: 1, heap: .init(note: "a\\x1b[2J")))
        // Bytes that are no text at all.
        #expect(try ZygoteMessage(decoding: [3, 0, 2, 0, 0, 0, 0xFF, 0]) == .failed(message: "\u{FFFD}\\x00"))
    }

    @Test(arguments: ["x", "ü", "\u{0}", "👩‍👩‍👧‍👦"])
    func aLongFailureIsCutBetweenCharacters(character: String) throws {
        let message = ZygoteMessage.failed(message: String(repeating: character, count: 70_000))
        #expect(message.encoded().count <= ZygoteMessage.maximumSize)
        guard case .failed(let text) = try ZygoteMessage(decoding: message.encoded()) else {
            Issue.record("another message")
            return
        }
        #expect(text.utf8.count <= ZygoteMessage.maximumSize && !text.contains("\u{FFFD}"))
        #expect(text.utf8.count > ZygoteMessage.maximumSize - 80)
    }

    @Test func whatIsNoMessageIsRefused() {
        #expect(throws: FieldError.missing(tag: 1)) { try ZygoteMessage(decoding: []) }
        #expect(throws: FieldError.unknownTag(99)) { try ZygoteMessage(decoding: [99, 0, 0, 0, 0, 0]) }
        #expect(throws: FieldError.wrongSize(tag: 2, expected: 4, actual: 0)) { try ZygoteMessage(decoding: [2, 0, 0, 0, 0, 0]) }
    }
}
