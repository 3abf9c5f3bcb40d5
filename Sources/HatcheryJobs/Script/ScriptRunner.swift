import Hatchery
import HatcheryProtocol
import HatcherySystem

/// Runs scripts that somebody else supplied, in sandboxes of their own.
///
/// ```swift
/// let scripts = ScriptRunner(client, policy: ScriptPolicy(baseDirectory: "/srv/scripts"))
/// let result = try await scripts.run("report.py", arguments: Array(#"{"year": 2026}"#.utf8))
/// print(result.value?["total"] ?? .null, result.run.verdict.name)
/// ```
///
/// A script is named below a base directory, reached through no link, and read once: what was checked is what runs. Its
/// arguments are one JSON value on its stdin. There is no shell. A Python script goes to the daemon's zygote `python`, where it
/// has one, every other one to its interpreter.
public struct ScriptRunner: Sendable {
    private let client: HatcheryClient
    private let policy: ScriptPolicy
    private let audit: AuditLog?
    private let user: String?

    /// - Parameters:
    ///   - audit: gets one record for every call of `run`, refused ones included.
    ///   - user: on whose behalf this is; nil is this process's own user.
    public init(_ client: HatcheryClient, policy: ScriptPolicy, audit: AuditLog? = nil, user: String? = nil) {
        self.client = client
        self.policy = policy
        self.audit = audit
        self.user = user
    }

    /// Runs a script to its end.
    ///
    /// - Parameters:
    ///   - name: below the base directory, such as `reports/daily.py`.
    ///   - arguments: one JSON value, at most 10 MiB.
    ///   - options: limits and the like. 30 seconds unless said otherwise, and 600 at most; at most 10 MiB of stdout and 1 MiB of
    ///     stderr are kept. `stdin` must be left out.
    /// - Throws: `.programNotFound` where there is no such script, `.notPermitted` where the policy refuses it, `.invalidRequest`
    ///   for impossible values, and as `HatcheryClient.run`.
    public func run(
        _ name: String, arguments: [UInt8]? = nil, options: RunOptions = RunOptions()
    ) async throws(HatcheryError) -> ScriptResult {
        var record = AuditRecord(.script, name: name.plain(limitBytes: 4096), user: user)
        do throws(HatcheryError) {
            if let arguments { try ScriptRun.check(arguments) }
            let file = try ScriptFile(name, policy: policy)
            let zygotes = file.isPython ? try await client.zygotes() : []
            let run = try ScriptRun(file, arguments: arguments, options: options, policy: policy, zygotes: zygotes)
            record = run.record(user: user)
            let result = ScriptResult(try await client.run(run.payload, run.options), file)
            record.ended(result.run)
            try audit?.write(record)
            return result
        } catch {
            if record.verdict == "refused" {
                record.error = error.description
                try audit?.write(record)
            }
            throw error
        }
    }
}
