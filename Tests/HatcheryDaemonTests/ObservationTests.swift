import Glibc
import HatcheryProtocol
import HatcherySystem
import Testing

@testable import HatcheryDaemon

@Suite struct HTTPRequestTests {
    private func read(_ text: String) -> HTTPRequest.Outcome { HTTPRequest.read(Array(text.utf8)) }

    @Test func aRequestIsReadWhenItsHeadIsWhole() {
        let whole = "GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
        for length in 1..<whole.utf8.count { #expect(HTTPRequest.read(Array(whole.utf8.prefix(length))) == .incomplete) }
        #expect(read(whole) == .request(HTTPRequest(isHead: false, path: "/metrics")))
        #expect(read("HEAD / HTTP/1.0\r\n\r\n") == .request(HTTPRequest(isHead: true, path: "/")))
    }

    @Test(arguments: [
        ("POST / HTTP/1.1\r\n\r\n", 405), ("GET / HTTP/2\r\n\r\n", 400), ("GET  / HTTP/1.1\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\n\r\n", 400), ("\r\n\r\n", 400), ("GET /\u{0}\r\n\r\n", 400),
        (String(repeating: "x", count: HTTPRequest.headLimit), 431),
        ("GET / HTTP/1.1\r\n" + String(repeating: "a: b\r\n", count: 1000) + "\r\n", 431),
    ])
    func anythingElseHasItsStatus(text: String, status: Int) { #expect(read(text) == .refused(status)) }
}

@Suite struct MetricsTextTests {
    @Test func histogramsAddUpAndLabelsAreEscaped() {
        var histogram = Histogram(bounds: [0.1, 1])
        for value in [0.1, 0.05, 0.5, 7] { histogram.observe(value) }
        var page = MetricsText()
        page.histograms("h", "Help.", [([("name", "a\"b\\c\nd")], histogram)])
        #expect(
            page.text == """
                # HELP h Help.
                # TYPE h histogram
                h_bucket{name="a\\"b\\\\c\\nd",le="0.1"} 2
                h_bucket{name="a\\"b\\\\c\\nd",le="1"} 3
                h_bucket{name="a\\"b\\\\c\\nd",le="+Inf"} 4
                h_sum{name="a\\"b\\\\c\\nd"} 7.65
                h_count{name="a\\"b\\\\c\\nd"} 4

                """)
        #expect(page.samples.map(\.value) == [7.65, 4])
    }

    @Test func denialsDoNotGrowWithoutEnd() {
        let metrics = Metrics()
        for number in 0..<5000 { metrics.denied("syscall\(number)", count: 2) }
        #expect(metrics.denials.count == 512)
        #expect(metrics.denials["syscall0"] == 2)
    }
}

@Suite struct LogRingTests {
    @Test func theLastLinesAreKeptAndNumbersNeverComeTwice() {
        var ring = LogRing()
        #expect(ring.lines(after: 0).isEmpty)
        for number in 1...LogRing.lineLimit + 10 { ring.append(time: UInt64(number), level: 2, text: "line \(number)") }
        let all = ring.lines(after: 0)
        #expect(all.count == LogRing.lineLimit)
        #expect(all.first?.number == 11)
        #expect(all.last?.text == "line \(LogRing.lineLimit + 10)")
        #expect(ring.lines(after: ring.last - 3).map(\.number) == [ring.last - 2, ring.last - 1, ring.last])
        #expect(ring.lines(after: ring.last).isEmpty)
        #expect(ring.lines(after: .max - 1).isEmpty)
    }

    @Test func aLineOfTheLogIsOneLine() {
        #expect("a\nb\u{1B}[2J\u{9B}c".oneLine == "a b [2J c")
        let log = DaemonLog()
        log.logger(level: .error).error("two\nlines", metadata: ["id": "x\ny"])
        #expect(log.lines(after: 0).map(\.text) == ["two lines id=x y"])
        #expect(log.counts.first { $0.level == "error" }?.count == 1)
        // Below the level nothing is kept.
        log.logger(level: .error).info("x")
        #expect(log.lines(after: 0).count == 1)
    }

    @Test func aStatusIsOneLine() { #expect(ServiceManager.status("a\nREADY=1") == "STATUS=a READY=1") }

    @Test func aWatchdogForAnotherProcessIsNotOurs() {
        #expect(ServiceManager.watchdog(["WATCHDOG_USEC": "5"], pid: 7) == 5000)
        #expect(ServiceManager.watchdog(["WATCHDOG_USEC": "5", "WATCHDOG_PID": "7"], pid: 7) == 5000)
        #expect(ServiceManager.watchdog(["WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"], pid: 7) == nil)
        for text in ["", "0", "-1", "x", "99999999999999999999"] {
            #expect(ServiceManager.watchdog(["WATCHDOG_USEC": text], pid: 7) == nil)
        }
    }
}

@Suite struct JournalSocketTests {
    @Test func aValueOfSeveralLinesAddsNoField() {
        let bytes = JournalSocket.encode([("MESSAGE", "a\nPRIORITY=0"), ("PRIORITY", "6")])
        let expected =
            Array("MESSAGE\n".utf8) + [12, 0, 0, 0, 0, 0, 0, 0] + Array("a\nPRIORITY=0\n".utf8) + Array("PRIORITY=6\n".utf8)
        #expect(bytes == expected)
    }
}

@Suite struct ObservationConfigurationTests {
    @Test(arguments: ["0.0.0.0:1", "127.0.0.1:0", "127.0.0.1:65536", "localhost:1", "[::]:1", "x", "/a/../b"])
    func metricsAreServedOnLoopbackOnly(text: String) {
        #expect(ConfigurationErrorTests.refusal(of: "metrics: {listen: \"\(text)\"}")?.path == "metrics.listen")
    }

    @Test func endpointsAreRead() throws {
        func endpoint(_ text: String) throws -> MetricsConfiguration.Endpoint {
            try Configuration(yaml: "metrics: {listen: \"\(text)\"}", file: "h.yaml").metrics.listen
        }
        #expect(try endpoint("127.0.0.1:9464") == .loopback(port: 9464, isIPv6: false))
        #expect(try endpoint("[::1]:80") == .loopback(port: 80, isIPv6: true))
        #expect(try endpoint("/run/m.sock") == .socket("/run/m.sock"))
        #expect(try Configuration(yaml: "audit: {to: /var/log/a}", file: "h.yaml").audit.to == .file("/var/log/a"))
        #expect(ConfigurationErrorTests.refusal(of: "audit: {to: somewhere}")?.path == "audit.to")
    }
}
