import Hatchery
import HatcheryProtocol

/// Runs commands that come as text: what a careful wrapper around system() would be.
///
/// ```swift
/// var policy = CommandPolicy(paths: ["/usr/bin/wc", "/usr/bin/sort"])
/// policy.argumentPattern = "[A-Za-z0-9._/-]+"
/// let result = try await CommandRunner(client, policy: policy).run("wc -l 'data/names.txt'")
/// ```
///
/// The text is split by the quoting rules of POSIX and never seen by a shell; what only a shell could do is refused.
public struct CommandRunner: Sendable {
    private let client: HatcheryClient
    private let policy: CommandPolicy
    private let audit: AuditLog?
    private let user: String?

    /// - Parameters:
    ///   - audit: gets one record for every command, with its exit code, refused ones included.
    ///   - user: on whose behalf this is; nil is this process's own user.
    public init(_ client: HatcheryClient, policy: CommandPolicy, audit: AuditLog? = nil, user: String? = nil) {
        self.client = client
        self.policy = policy
        self.audit = audit
        self.user = user
    }

    /// Runs one command line to its end.
    ///
    /// - Throws: as `CommandPolicy.check`, and as `HatcheryClient.run`.
    public func run(_ line: String, _ options: RunOptions = RunOptions()) async throws(HatcheryError) -> RunResult {
        let words: [String]
        do throws(CommandLineText.Malformed) {
            words = try CommandLineText.split(line)
        } catch {
            let failure = HatcheryError(
                .invalidRequest, side: .client, detail: "the command line has \(error)", hint: "quote it, or leave it out")
            try refuse(AuditRecord(.command, name: "", user: user), failure)
            throw failure
        }
        return try await run(words: words, options)
    }

    /// The same for words that were split already.
    public func run(words: [String], _ options: RunOptions = RunOptions()) async throws(HatcheryError) -> RunResult {
        var record = AuditRecord(.command, name: (words.first ?? "").plain(limitBytes: 200), user: user)
        record.sha256 = AuditRecord.digest(of: words)
        record.limited(by: options.sandbox, stdout: options.outputLimit, stderr: options.stderrLimit ?? options.outputLimit)
        let result: RunResult
        do throws(HatcheryError) {
            let (program, arguments) = try policy.check(words)
            record.name = program
            result = try await client.run(.program(program, arguments), options)
        } catch {
            try refuse(record, error)
            throw error
        }
        record.ended(result)
        try audit?.write(record)
        return result
    }

    private func refuse(_ record: AuditRecord, _ error: HatcheryError) throws(HatcheryError) {
        var record = record
        record.error = error.description
        try audit?.write(record)
    }
}
