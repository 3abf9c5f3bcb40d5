import HatcheryProtocol

extension HatcheryClient {
    /// Starts a program to talk with, line by line.
    ///
    /// - Throws: `HatcheryError` naming the step and the errno where the set-up failed; `.invalidRequest` for a detached sandbox,
    ///   since a session ends with its handle.
    public func session(
        _ payload: Payload, _ options: SessionOptions = SessionOptions()
    ) async throws(HatcheryError) -> Session {
        try Session(try await attached(payload, options.sandbox, stdinPipe: true), lineLimit: options.lineLimit)
    }

    /// Starts a program and gives its output line by line.
    ///
    /// ```swift
    /// let lines = try await client.lines(.program("/usr/bin/make"))
    /// for try await line in lines { print(line.stream, line.text) }
    /// print(try await lines.wait().verdict.name)
    /// ```
    ///
    /// About `lineLimit` bytes of each stream are read ahead; then the program waits at its pipe. A line that is longer keeps
    /// its last bytes. An unfinished last line comes once.
    ///
    /// - Throws: as `session`.
    public func lines(
        _ payload: Payload, _ options: StreamOptions = StreamOptions()
    ) async throws(HatcheryError) -> OutputLines {
        OutputLines(try await source(payload, options, .lines, limit: options.lineLimit)) { $0 }
    }

    /// Starts a program and gives its output in pieces, as they come: at most 128 KiB each, nothing left out.
    ///
    /// - Throws: as `session`.
    public func bytes(
        _ payload: Payload, _ options: StreamOptions = StreamOptions()
    ) async throws(HatcheryError) -> OutputBytes {
        OutputBytes(try await source(payload, options, .bytes, limit: OutputPump.chunkBytes)) { OutputChunk($0.stream, $0.bytes) }
    }

    private func source(
        _ payload: Payload, _ options: StreamOptions, _ unit: OutputReader.Unit, limit: Int
    ) async throws(HatcheryError) -> OutputSource {
        let child = try await attached(payload, options.sandbox, stdinPipe: options.stdin != .none)
        return try OutputSource(child, unit, limit: limit, stdin: options.stdin)
    }

    private func attached(
        _ payload: Payload, _ sandbox: SandboxOptions, stdinPipe: Bool
    ) async throws(HatcheryError) -> Child {
        if sandbox.detached {
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "a detached sandbox has no streams",
                hint: "spawn it, or leave `detached` out")
        }
        return try await spawn(payload, sandbox, stdinPipe: stdinPipe)
    }
}
