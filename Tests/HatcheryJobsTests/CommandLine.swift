import Foundation
import HatcheryTestSupport

/// The CLI as its users call it.
enum CommandLineRun {
    struct Ended: Sendable {
        var status: Int32
        var stdout: String
        var stderr: String
    }

    /// - Parameters:
    ///   - words: verb, options and the rest.
    ///   - folder: the working directory.
    static func hatchery(
        _ words: [String], in folder: String = TestDaemon.sources, stdin: String? = nil, environment: [String: String] = [:]
    ) async throws -> Ended {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: TestDaemon.binaries + "/hatchery")
        process.arguments = words
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.environment = ["PATH": "/usr/bin:/bin"].merging(environment) { $1 }
        let (output, errors, input) = (Foundation.Pipe(), Foundation.Pipe(), Foundation.Pipe())
        process.standardOutput = output
        process.standardError = errors
        process.standardInput = stdin == nil ? FileHandle.nullDevice : input
        // Threads of their own: the pool of Swift has two, and must not be blocked.
        return try await withCheckedThrowingContinuation { continuation in
            Thread {
                do {
                    try process.run()
                    if let stdin {
                        try input.fileHandleForWriting.write(contentsOf: Data(stdin.utf8))
                        try input.fileHandleForWriting.close()
                    }
                    let second = Reading(errors.fileHandleForReading)
                    let first = output.fileHandleForReading.readDataToEndOfFile()
                    let message = second.wait()
                    process.waitUntilExit()
                    let status = process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
                    continuation.resume(
                        returning: Ended(
                            status: status, stdout: String(decoding: first, as: UTF8.self),
                            stderr: String(decoding: message, as: UTF8.self)))
                } catch {
                    continuation.resume(throwing: error)
                }
            }.start()
        }
    }

    /// Reads one pipe while another is read.
    private final class Reading: @unchecked Sendable {
        private var data = Data()
        private let done = DispatchSemaphore(value: 0)

        init(_ handle: FileHandle) {
            Thread { [self] in
                data = handle.readDataToEndOfFile()
                done.signal()
            }.start()
        }

        func wait() -> Data {
            done.wait()
            return data
        }
    }
}
