import HatcheryProtocol

/// Where the daemon's own log goes.
public struct LogConfiguration: Sendable, Equatable {
    public enum Level: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error, critical }
    public enum Target: String, Sendable, CaseIterable { case auto, stderr, journald }
    public enum Format: String, Sendable, CaseIterable { case text, json }

    public var level = Level.info
    public var to = Target.auto
    public var format = Format.text

    public init() {}

    static let schema = Schema<LogConfiguration>([
        .value("level", \.level, .choice, "The least level that is written"),
        .value("to", \.to, .choice, "Where to; auto: journald where it holds our stderr, else stderr"),
        .value("format", \.format, .choice, "How lines on stderr look"),
    ])
}

/// Where the audit goes.
public struct AuditConfiguration: Sendable, Equatable {
    public enum Target: Sendable, Equatable {
        case none, stderr, journald
        case file(String)
    }

    public var to = Target.none

    public init() {}

    static let schema = Schema<AuditConfiguration>([
        .value("to", \.to, target, "Where a line of every spawn and of every end goes")
    ])

    private static let target = ValueCodec<Target>(
        type: "none, stderr, journald or an absolute path",
        format: { target in
            switch target {
            case .none: "none"
            case .stderr: "stderr"
            case .journald: "journald"
            case .file(let path): quoted(path)
            }
        }
    ) { node throws(ValueTextError) in
        guard case .scalar(let text, _) = node.content else { return nil }
        switch text {
        case "none": return Target.none
        case "stderr": return .stderr
        case "journald": return .journald
        default:
            guard text.hasPrefix("/"), !text.split(separator: "/").contains("..") else {
                throw ValueTextError("'\(text)' is neither none, stderr, journald nor an absolute path")
            }
            return .file(text)
        }
    }
}

/// Where metrics, health and readiness are asked for.
public struct MetricsConfiguration: Sendable, Equatable {
    public enum Endpoint: Sendable, Equatable {
        case none
        case socket(String)
        case loopback(port: UInt16, isIPv6: Bool)
    }

    public var listen = Endpoint.none
    public var mode: UInt32 = 0o660

    public init() {}

    static let schema = Schema<MetricsConfiguration>([
        .value("listen", \.listen, endpoint, "Where metrics are served by HTTP: a Unix socket, or a port of this machine alone"),
        .value("mode", \.mode, .fileMode, "Permission bits of that socket"),
    ])

    // SECURITY: never another address: what a daemon of root says is for this machine. Test: metricsAreServedOnLoopbackOnly.
    private static let endpoint = ValueCodec<Endpoint>(
        type: "none, an absolute path, 127.0.0.1:PORT or [::1]:PORT",
        format: { endpoint in
            switch endpoint {
            case .none: "none"
            case .socket(let path): quoted(path)
            case .loopback(let port, let isIPv6): quoted("\(isIPv6 ? "[::1]" : "127.0.0.1"):\(port)")
            }
        }
    ) { node throws(ValueTextError) in
        guard case .scalar(let text, _) = node.content else { return nil }
        if text == "none" { return Endpoint.none }
        if text.hasPrefix("/") {
            guard text.utf8.count <= 107, !text.split(separator: "/").contains("..") else {
                throw ValueTextError("'\(text)' is not the path of a socket: at most 107 bytes, without '..'")
            }
            return .socket(text)
        }
        for (host, isIPv6) in [("127.0.0.1:", false), ("[::1]:", true)] where text.hasPrefix(host) {
            if let port = UInt16(text.dropFirst(host.count)), port > 0 { return .loopback(port: port, isIPv6: isIPv6) }
        }
        throw ValueTextError("'\(text)' is neither none, an absolute path, 127.0.0.1:PORT nor [::1]:PORT")
    }
}
