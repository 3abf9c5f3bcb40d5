/// One line of the daemon's log.
public struct LogLine: Sendable, Hashable {
    /// Counts from 1 and never comes twice in one life of a daemon.
    public var number: UInt64
    public var unixNanoseconds: UInt64
    /// As swift-log orders them: 0 trace, 1 debug, 2 info, 3 notice, 4 warning, 5 error, 6 critical.
    public var level: UInt8
    public var text: String

    public init(number: UInt64, unixNanoseconds: UInt64, level: UInt8, text: String) {
        self.number = number
        self.unixNanoseconds = unixNanoseconds
        self.level = level
        self.text = text
    }

    public static let levels = ["trace", "debug", "info", "notice", "warning", "error", "critical"]

    public func encode(into writer: inout FieldWriter) {
        writer.append(tag: 1, integer: number)
        writer.append(tag: 2, integer: unixNanoseconds)
        writer.append(tag: 3, integer: level)
        writer.append(tag: 4, string: text)
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(number: 0, unixNanoseconds: 0, level: 0, text: "")
        while let field = try reader.next() {
            switch field.tag {
            case 1: number = try field.integer()
            case 2: unixNanoseconds = try field.integer()
            case 3: level = try field.integer()
            case 4: text = try field.string(limit: WireLimits.frameBytes)
            default: break
            }
        }
    }
}

/// One figure of the daemon, under the name and labels that /metrics has.
public struct Statistic: Sendable, Hashable {
    public var name: String
    public var value: Double

    public init(name: String, value: Double) {
        self.name = name
        self.value = value
    }

    public func encode(into writer: inout FieldWriter) {
        writer.append(tag: 1, string: name)
        writer.append(tag: 2, integer: value.bitPattern)
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(name: "", value: 0)
        while let field = try reader.next() {
            switch field.tag {
            case 1: name = try field.string(limit: WireLimits.frameBytes)
            case 2: value = Double(bitPattern: try field.integer())
            default: break
            }
        }
    }
}
