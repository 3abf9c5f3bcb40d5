import Foundation
import Glibc

/// The CLI run as an ordinary user: that user's daemon serves nobody else.
public enum UserClient {
    public static let uid: uid_t = 65534

    /// Runs `hatchery run --json` as the user and decodes the result.
    /// - Parameters:
    ///   - options: of `hatchery run`.
    ///   - program: with its arguments.
    public static func run(_ daemon: TestDaemon, _ options: [String] = [], _ program: [String]) throws -> [String: Any] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments =
            ["--reuid", "\(uid)", "--regid", "\(uid)", "--clear-groups", TestDaemon.binaries + "/hatchery", "run"]
            + ["--socket", daemon.socketPath, "--json"] + options + ["--"] + program
        let output = Foundation.Pipe()
        let errors = Foundation.Pipe()
        process.standardOutput = output
        process.standardError = errors
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        let message = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any] else {
            throw TestDaemon.Refused(description: "hatchery run: \(String(decoding: message, as: UTF8.self))")
        }
        return object
    }

    /// The active layers of a result.
    public static func activeLayers(_ result: [String: Any]) -> Set<String> {
        Set(result.section("receipt").strings("active"))
    }
}
