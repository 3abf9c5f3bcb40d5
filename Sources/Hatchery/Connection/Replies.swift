import Glibc
import HatcheryProtocol

/// What a front says about itself when it is greeted.
public struct Welcome: Sendable, Hashable {
    public var version = ""
    /// Whether this daemon takes switches that leave layers out; never true in production.
    public var hasTestSwitches = false
    /// Whose ids sandboxes get: `root`, `lent range` or `single id`.
    public var identity = ""
    public var pid: UInt32 = 0

    init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        while let field = try reader.next() {
            switch field.tag {
            case 1: version = try field.string(limit: WireLimits.frameBytes)
            case 2: hasTestSwitches = try field.bool()
            case 3: identity = try field.string(limit: WireLimits.frameBytes)
            case 4: pid = try field.integer()
            default: break  // a newer front may say more
            }
        }
    }
}

extension Connection.Reply {
    /// The body of the expected kind of answer; anything else is an error.
    func decoded<Value>(
        as kind: FrameKind, _ decode: (FieldReader) throws(FieldError) -> Value
    ) -> Result<Value, HatcheryError> {
        switch self {
        case .failure(let error): return .failure(error)
        case .frame(let frame, _):
            guard frame.kind == kind else {
                return .failure(
                    HatcheryError(
                        .malformed, side: .client, detail: "the daemon answered \(frame.kind) instead of \(kind)"))
            }
            do throws(FieldError) {
                return .success(try FieldReader.reading(frame.body, decode))
            } catch {
                return .failure(HatcheryError(.malformed, side: .client, detail: "the daemon's \(kind): \(error)"))
            }
        }
    }

    package func acknowledged() -> Result<Void, HatcheryError> { expect(.done) }

    /// For answers whose body says nothing.
    func expect(_ kind: FrameKind) -> Result<Void, HatcheryError> {
        decoded(as: kind) { _ throws(FieldError) in }
    }
}

extension HatcheryError {
    init(decodingFailure body: [UInt8]) {
        do throws(FieldError) {
            self = try FieldReader.reading(body) { reader throws(FieldError) in try HatcheryError(decoding: reader) }
        } catch {
            self.init(.malformed, side: .client, detail: "the daemon's failure: \(error)")
        }
    }
}

enum ConnectHints {
    static func hint(_ errno: Int32) -> String {
        switch errno {
        case ENOENT: "no daemon listens there; start hatcheryd, or give another --socket"
        case ECONNREFUSED: "the socket is a leftover of a daemon that is gone; start hatcheryd"
        case EACCES, EPERM: "this user may not use that daemon; its socket's group or mode decides"
        case ENAMETOOLONG: "a socket's path has at most 107 bytes"
        default: ""
        }
    }
}
