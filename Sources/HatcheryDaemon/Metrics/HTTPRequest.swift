/// The head of an HTTP/1.1 request, as far as three read-only pages need it (RFC 9112).
struct HTTPRequest: Equatable {
    enum Outcome: Equatable {
        case incomplete
        case request(HTTPRequest)
        /// The status to answer with.
        case refused(Int)
    }

    /// GET or HEAD.
    var isHead: Bool
    /// Without the query.
    var path: String

    /// A longer head than this is refused; monitoring sends a few hundred bytes.
    static let headLimit = 4096

    static func read(_ bytes: [UInt8]) -> Outcome {
        guard let end = endOfHead(bytes) else { return bytes.count >= headLimit ? .refused(431) : .incomplete }
        guard end <= headLimit else { return .refused(431) }
        guard let head = String(validating: bytes[..<end], as: UTF8.self) else { return .refused(400) }
        // "\r\n" is one Character, so the lines are cut by scalars.
        let line = head.unicodeScalars.prefix { $0 != "\r" && $0 != "\n" }
        let words = String(line).split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[1].hasPrefix("/"), words[2] == "HTTP/1.1" || words[2] == "HTTP/1.0" else {
            return .refused(400)
        }
        guard words[0] == "GET" || words[0] == "HEAD" else { return .refused(405) }
        return .request(HTTPRequest(isHead: words[0] == "HEAD", path: String(words[1].prefix { $0 != "?" })))
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        let mark: [UInt8] = [13, 10, 13, 10]
        guard bytes.count >= mark.count else { return nil }
        return (0...(bytes.count - mark.count)).first { bytes[$0..<($0 + mark.count)].elementsEqual(mark) }
    }
}

/// One answer; the connection ends with it.
struct HTTPResponse {
    var status: Int
    var type = "text/plain; charset=utf-8"
    var body: String

    func encoded(isHead: Bool = false) -> [UInt8] {
        let head =
            "HTTP/1.1 \(status) \(HTTPResponse.reasons[status] ?? "Unknown")\r\nContent-Type: \(type)\r\n"
            + "Content-Length: \(body.utf8.count)\r\nCache-Control: no-store\r\nConnection: close\r\n"
            + (status == 405 ? "Allow: GET, HEAD\r\n" : "") + "\r\n"
        return Array((isHead ? head : head + body).utf8)
    }

    private static let reasons = [
        200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Request Header Fields Too Large",
        503: "Service Unavailable",
    ]
}
