/// JSON, written in the order in which it is told. Small on purpose: Foundation's encoder would cost the command line more
/// time than a whole spawn.
package struct JSONWriter {
    private var bytes: [UInt8] = []
    /// Whether the next value of the current object or array needs a comma before it.
    private var needsComma = false

    package init() {}

    package var text: String { String(decoding: bytes, as: UTF8.self) }

    package mutating func object(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) {
        container(key, "{", "}", body)
    }

    package mutating func array(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) {
        container(key, "[", "]", body)
    }

    package mutating func string(_ key: String? = nil, _ value: String?) {
        begin(key)
        if let value { quote(value) } else { raw("null") }
    }

    package mutating func integer(_ key: String? = nil, _ value: (some BinaryInteger)?) {
        begin(key)
        raw(value.map { String($0) } ?? "null")
    }

    package mutating func number(_ key: String? = nil, _ value: Double?) {
        begin(key)
        // JSON has no infinities. Swift's shortest form of a finite number is JSON's as well.
        raw(value.map { $0.isFinite ? $0.description : "null" } ?? "null")
    }

    package mutating func bool(_ key: String? = nil, _ value: Bool?) {
        begin(key)
        raw(value.map { $0 ? "true" : "false" } ?? "null")
    }

    /// A value that is JSON already.
    package mutating func verbatim(_ key: String? = nil, _ json: String) {
        begin(key)
        raw(json)
    }

    private mutating func container(_ key: String?, _ open: String, _ close: String, _ body: (inout JSONWriter) -> Void)
    {
        begin(key)
        raw(open)
        needsComma = false
        body(&self)
        raw(close)
        needsComma = true
    }

    private mutating func begin(_ key: String?) {
        if needsComma { raw(", ") }
        if let key {
            quote(key)
            raw(": ")
        }
        needsComma = true
    }

    private mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

    /// RFC 8259: quotation mark, backslash and the control characters must be escaped; DEL and the rest need not. A Swift
    /// string holds no surrogates, so every text has a form.
    private mutating func quote(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): raw("\\\"")
            case UInt8(ascii: "\\"): raw("\\\\")
            case 0x0A: raw("\\n")
            case 0x0D: raw("\\r")
            case 0x09: raw("\\t")
            case 0..<0x20:
                raw("\\u00")
                bytes.append(hexadecimal(byte >> 4))
                bytes.append(hexadecimal(byte & 15))
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private func hexadecimal(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
}

/// RFC 4648, with padding.
package enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    package static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var word: UInt32 = 0
            for index in 0..<3 { word = word << 8 | (index < group.count ? UInt32(group[start + index]) : 0) }
            for index in 0..<4 {
                let isPadding = index > group.count
                text.append(isPadding ? UInt8(ascii: "=") : alphabet[Int(word >> UInt32(18 - 6 * index) & 63)])
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
