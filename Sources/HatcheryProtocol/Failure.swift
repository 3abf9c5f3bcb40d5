/// The one public error of Hatchery: where, at which step, with which errno, and how to mend it.
///
/// Prints like `child: drop capabilities: EPERM (Operation not permitted)`.
public struct HatcheryError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What kind of failure it is; programs decide by this.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// The message itself was not well-formed, or spoke another version.
        case malformed = 1
        /// A value is impossible or above the profile's maximum.
        case invalidRequest = 2
        /// The peer may not do this.
        case notPermitted = 3
        /// No zygote, profile, sandbox or handler of that name.
        case notFound = 4
        /// A step of the spawn failed; `step` says which.
        case setupFailed = 5
        /// The program does not exist in the sandbox (exit status 127).
        case programNotFound = 6
        /// The program exists and cannot be executed (exit status 126).
        case programNotExecutable = 7
        /// A layer that the request demands is missing.
        case layerMissing = 8
        /// Too much at the moment; come back later.
        case overloaded = 9
        /// The zygote or the daemon is gone.
        case lost = 10
        /// The daemon could not be reached or started.
        case unreachable = 11
        /// The request was given up before it was served.
        case cancelled = 12
    }

    public var kind: Kind
    public var side: Side
    public var step: Step?
    /// 0 where no system call failed.
    public var errno: Int32
    /// What, in words: which value, which name.
    public var detail: String
    /// How to mend it; empty where no usual cause is known.
    public var hint: String
    /// With `overloaded`: after how long asking again makes sense. Nil where nobody can tell.
    public var retryAfterNanoseconds: UInt64?

    public init(
        _ kind: Kind, side: Side, step: Step? = nil, errno: Int32 = 0, detail: String = "", hint: String = "",
        retryAfterNanoseconds: UInt64? = nil
    ) {
        self.kind = kind
        self.side = side
        self.step = step
        self.errno = errno
        self.detail = detail
        self.hint = hint
        self.retryAfterNanoseconds = retryAfterNanoseconds
    }

    /// `retryAfterNanoseconds` as a span of time.
    public var retryAfter: Duration? { retryAfterNanoseconds.map { .nanoseconds(Int64(clamping: $0)) } }

    /// How to mend it: the hint, or what usually helps with errors of this kind.
    public var mend: String { hint.isEmpty ? kind.usualMend : hint }

    public var description: String {
        var parts = [side.name]
        if let step { parts.append(step.name) }
        if !detail.isEmpty { parts.append(detail) }
        if errno != 0 { parts.append(ErrnoNames.describe(errno)) }
        var message = parts.joined(separator: ": ")
        if !hint.isEmpty { message += "\n  " + hint }
        if let retryAfterNanoseconds {
            // Rounded up: who comes a moment too early comes in vain.
            let milliseconds = retryAfterNanoseconds / 1_000_000 + 1
            let seconds = (milliseconds + 999) / 1000
            message += "\n  ask again in \(milliseconds < 10_000 ? "\(milliseconds)ms" : "\(seconds)s")"
        }
        return message
    }
}

extension HatcheryError.Kind {
    /// Empty where only the error itself can tell, and where there is nothing to mend.
    var usualMend: String {
        switch self {
        case .malformed: "client and daemon may be of different versions: compare hatchery --version and hatcheryd --version"
        case .invalidRequest, .layerMissing, .cancelled: ""
        case .notPermitted: "ask the daemon's operator, or start a daemon of your own: hatcheryd --private"
        case .notFound: "hatchery ps and hatchery zygotes list what there is"
        case .setupFailed: "hatchery doctor tells what this host lacks; the daemon's log may say more"
        case .programNotFound: "the path is looked up inside the sandbox, not here; -v and --in bring files in"
        case .programNotExecutable: "the sandbox's user must be able to read and execute it"
        case .overloaded: "ask again in a moment"
        case .lost: "the daemon's log says why, unless it was stopped"
        case .unreachable: "start hatcheryd, or name the socket of a running one with --socket"
        }
    }
}

extension HatcheryError {
    enum Tag {
        static let kind: UInt16 = 1
        static let side: UInt16 = 2
        static let step: UInt16 = 3
        static let errno: UInt16 = 4
        static let detail: UInt16 = 5
        static let hint: UInt16 = 6
        static let retryAfter: UInt16 = 7
    }

    public func encode(into writer: inout FieldWriter) {
        writer.append(tag: Tag.kind, integer: kind.rawValue)
        writer.append(tag: Tag.side, integer: side.rawValue)
        if let step { writer.append(tag: Tag.step, integer: step.rawValue) }
        writer.append(tag: Tag.errno, integer: errno)
        writer.append(tag: Tag.detail, string: detail.prefix(bytes: 16_000))
        writer.append(tag: Tag.hint, string: hint.prefix(bytes: 4_000))
        if let retryAfterNanoseconds { writer.append(tag: Tag.retryAfter, integer: retryAfterNanoseconds) }
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(.lost, side: .front)
        while let field = try reader.next() {
            switch field.tag {
            case Tag.kind: kind = Kind(rawValue: try field.integer()) ?? .lost
            case Tag.side: side = Side(rawValue: try field.integer()) ?? .front
            case Tag.step: step = Step(rawValue: try field.integer())
            case Tag.errno: errno = try field.integer()
            case Tag.detail: detail = try field.string(limit: WireLimits.frameBytes)
            case Tag.hint: hint = try field.string(limit: WireLimits.frameBytes)
            case Tag.retryAfter: retryAfterNanoseconds = try field.integer()
            default: break  // a newer front may say more
            }
        }
    }
}
