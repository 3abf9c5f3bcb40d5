import Testing

@testable import Hatchery

struct LineBufferTests {
    private func buffer(_ limit: Int, _ texts: String...) -> LineBuffer {
        var buffer = LineBuffer(limit: limit)
        for text in texts { Array(text.utf8).withUnsafeBytes { buffer.append($0) } }
        return buffer
    }

    private func show(_ cut: LineBuffer.Cut?) -> String? {
        cut.map { "\(String(decoding: $0.bytes, as: UTF8.self))/\($0.droppedBytes)/\($0.isTerminated)" }
    }

    @Test func linesComeWholeHoweverTheyWereRead() {
        var lines = buffer(100, "a", "b\n\nc", "\nd")
        #expect(show(lines.takeLine()) == "ab/0/true")
        #expect(show(lines.takeLine()) == "/0/true")
        #expect(show(lines.takeLine()) == "c/0/true")
        #expect(lines.takeLine() == nil)
        #expect(show(lines.takeRest()) == "d/0/false")
        #expect(lines.takeRest() == nil)
    }

    @Test func aLongLineKeepsItsLastBytesAndCountsTheRest() {
        var lines = buffer(4, "0123456789\nab\n")
        #expect(show(lines.takeLine()) == "6789/6/true")
        #expect(show(lines.takeLine()) == "ab/0/true")
        // The same in pieces, trimmed while it grows.
        lines = buffer(4, "012345")
        #expect(lines.takeLine() == nil)
        #expect(lines.count == 4)
        Array("6789\nx".utf8).withUnsafeBytes { lines.append($0) }
        #expect(show(lines.takeLine()) == "6789/6/true")
        #expect(show(lines.takeRest()) == "x/0/false")
    }

    @Test func theOldestBytesGoAndTheNextLineTellsHowMany() {
        var lines = buffer(5, "one\ntwo\nthree\n")
        lines.dropOldest()
        #expect(show(lines.takeLine()) == "hree/9/true")
        #expect(lines.takeRest() == nil)
    }

    @Test func aLimitOfZeroKeepsNothingAndStillTellsLines() {
        var lines = buffer(0, "abc\n\nd")
        #expect(show(lines.takeLine()) == "/3/true")
        #expect(show(lines.takeLine()) == "/0/true")
        #expect(lines.takeLine() == nil)
        #expect(show(lines.takeRest()) == "/1/false")
        #expect(lines.takeRest() == nil)
    }

    @Test func manyLinesPassThroughASmallBuffer() {
        var lines = LineBuffer(limit: 1000)
        var taken = 0
        for _ in 0..<100 {
            Array(String(repeating: "0123456789\n", count: 1000).utf8).withUnsafeBytes { lines.append($0) }
            while let line = lines.takeLine() { taken += line.bytes.count == 10 ? 1 : 0 }
        }
        #expect(taken == 100_000)
        #expect(lines.count == 0)
    }
}
