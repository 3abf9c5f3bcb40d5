import Glibc
import HatcheryProtocol
import HatcherySystem

/// A connection to a Hatchery daemon.
///
/// ```swift
/// let client = try await HatcheryClient.connect()
/// let result = try await client.run(.python(code: "print(6 * 7)"), .init(time: .seconds(2)))
/// print(result.stdout, result.verdict.name)
/// ```
///
/// Any number of tasks may use one client at once; requests share the connection and do not wait for each other. The
/// connection holds the lease of everything that was spawned through it: when the client and all its children are gone, or
/// this process is, the daemon ends what is left, except sandboxes that were spawned detached.
public final class HatcheryClient: Sendable {
    /// Where the system's daemon listens, unless its configuration says otherwise.
    public static let defaultSocketPath = "/run/hatchery/hatchery.sock"

    package let connection: Connection
    /// What the daemon said about itself.
    public let welcome: Welcome

    package init(connection: Connection, welcome: Welcome) {
        self.connection = connection
        self.welcome = welcome
    }

    /// Connects to a daemon and greets it.
    ///
    /// - Parameter socketPath: nil takes `$HATCHERY_SOCKET`, or else `defaultSocketPath`. Nothing is started where nothing
    ///   listens: that is the command line's part.
    /// - Throws: `.unreachable` where nothing listens, access is denied, or no greeting comes within 10 seconds;
    ///   `.malformed` where something else than a daemon of this version answers.
    public static func connect(socketPath: String? = nil) async throws(HatcheryError) -> HatcheryClient {
        let path = socketPath ?? getenv("HATCHERY_SOCKET").map { String(cString: $0) } ?? defaultSocketPath
        return try await connect(socketPath: path, reactor: try Reactor.shared())
    }

    package static func connect(socketPath: String, reactor: Reactor) async throws(HatcheryError) -> HatcheryClient {
        let connection = try Connection.open(socketPath: socketPath, reactor: reactor)
        let greeting = await withCheckedContinuation { continuation in
            connection.greet { continuation.resume(returning: $0) }
        }
        return HatcheryClient(connection: connection, welcome: try greeting.get())
    }

    /// Ends the connection, and with it every sandbox that it holds the lease of. Outstanding requests fail with `.lost`.
    public func close() { connection.close() }

    /// Whether the daemon answers.
    public func ping() async throws(HatcheryError) {
        try await ask(.ping).expect(.done).get()
    }

    /// The living sandboxes that this user may see.
    public func sandboxes() async throws(HatcheryError) -> [SandboxListing] {
        try await ask(.list).sandboxes().get()
    }

    /// One living sandbox, with what it uses at this moment; nil where nothing of that id lives, or it is another user's.
    public func sandbox(id: String) async throws(HatcheryError) -> SandboxListing? {
        try await ask(.list, body: Connection.listBody(id: id)).sandboxes().get().first
    }

    /// The zygotes of the daemon.
    public func zygotes() async throws(HatcheryError) -> [ZygoteListing] {
        try await ask(.zygotes).zygotes().get()
    }

    /// Has the daemon read its configuration again and replace its zygotes; comes back when the new ones serve.
    ///
    /// - Parameter zygote: that one alone; nil for the whole configuration.
    /// - Throws: `.notPermitted` to others than root and the daemon's own user; `.invalidRequest` where the configuration is
    ///   wrong, `.setupFailed` where a zygote cannot serve, `.overloaded` while another reload is under way. Nothing was changed
    ///   then.
    public func reload(zygote: String? = nil) async throws(HatcheryError) -> Reloaded {
        try await ask(.reload, body: Connection.reloadBody(zygote: zygote)).reloaded().get()
    }

    /// The last lines of the daemon's log. For root and the daemon's own user.
    ///
    /// - Parameter number: only those that came after the line of this number.
    public func logs(after number: UInt64 = 0) async throws(HatcheryError) -> [LogLine] {
        try await ask(.logs, body: Connection.logsBody(after: number)).logLines().get()
    }

    /// The daemon's figures under the names and labels of /metrics, without buckets. For root and the daemon's own user.
    public func statistics() async throws(HatcheryError) -> [Statistic] {
        try await ask(.statistics).statistics().get()
    }

    /// Ends a sandbox, or sends a signal to its program.
    ///
    /// - Parameters:
    ///   - id: as `Spawned.id` and `sandboxes()` tell it.
    ///   - signal: 9 (SIGKILL) ends everything in the sandbox (verdict `cancelled`); another one goes to the program alone.
    /// - Throws: `.notFound` where nothing of that id lives, `.notPermitted` where it is another user's.
    public func kill(id: String, signal: Int32 = 9) async throws(HatcheryError) {
        try await ask(.kill, body: Connection.killBody(id: id, signal: signal)).expect(.done).get()
    }

    private func ask(_ kind: FrameKind, body: [UInt8] = []) async -> Connection.Reply {
        await withCheckedContinuation { continuation in
            connection.request(kind, body: body) { continuation.resume(returning: $0) }
        }
    }
}

/// What came of a reload.
public struct Reloaded: Sendable, Hashable {
    /// Those that serve now, and old ones that are leaving.
    public var zygotes: [ZygoteListing]
    /// What did not change although the configuration did.
    public var notes: [String]
}

extension Connection {
    package static func listBody(id: String) -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: 1, string: id)
        return writer.bytes
    }

    package static func reloadBody(zygote: String?) -> [UInt8] {
        var writer = FieldWriter()
        if let zygote { writer.append(tag: 1, string: zygote) }
        return writer.bytes
    }

    package static func killBody(id: String, signal: Int32) -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: 1, string: id)
        if signal != SIGKILL { writer.append(tag: 3, integer: signal) }
        return writer.bytes
    }
}

extension Connection {
    package static func logsBody(after number: UInt64) -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: 1, integer: number)
        return writer.bytes
    }
}

extension Connection.Reply {
    package func logLines() -> Result<[LogLine], HatcheryError> {
        decoded(as: .logLines) { reader throws(FieldError) in
            try ListCoding.decode(reader) { record throws(FieldError) in try LogLine(decoding: record) }
        }
    }

    package func statistics() -> Result<[Statistic], HatcheryError> {
        decoded(as: .statisticsListing) { reader throws(FieldError) in
            try ListCoding.decode(reader) { record throws(FieldError) in try Statistic(decoding: record) }
        }
    }

    package func sandboxes() -> Result<[SandboxListing], HatcheryError> {
        decoded(as: .listing) { reader throws(FieldError) in
            try ListCoding.decode(reader) { record throws(FieldError) in try SandboxListing(decoding: record) }
        }
    }

    package func reloaded() -> Result<Reloaded, HatcheryError> {
        zygotes().flatMap { zygotes in
            decoded(as: .zygoteListing) { reader throws(FieldError) in
                Reloaded(zygotes: zygotes, notes: try ListCoding.notes(reader))
            }
        }
    }

    package func zygotes() -> Result<[ZygoteListing], HatcheryError> {
        decoded(as: .zygoteListing) { reader throws(FieldError) in
            try ListCoding.decode(reader) { record throws(FieldError) in try ZygoteListing(decoding: record) }
        }
    }
}
