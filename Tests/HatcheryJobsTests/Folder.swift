import Foundation
import Glibc
import Testing

/// A folder of a test's own, gone with it.
final class Folder: Sendable {
    let path: String

    init(mode: mode_t = 0o755) {
        path = "/tmp/hatchery-jobs-\(UUID().uuidString)"
        mkdir(path, mode)
        chmod(path, mode)
    }

    deinit {
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            Issue.record("a test left \(path) behind: \(error)")
        }
    }

    /// Writes a file, with the folders on the way.
    @discardableResult
    func write(_ name: String, _ text: String, mode: mode_t = 0o644) -> String {
        let file = path + "/" + name
        let folder = (file as NSString).deletingLastPathComponent
        try! FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try! Data(text.utf8).write(to: URL(fileURLWithPath: file))
        chmod(file, mode)
        return file
    }

    func makeFolder(_ name: String, mode: mode_t) {
        mkdir(path + "/" + name, mode)
        chmod(path + "/" + name, mode)
    }

    func link(_ name: String, to target: String) { symlink(target, path + "/" + name) }

    func read(_ name: String) -> String { (try? String(contentsOfFile: path + "/" + name, encoding: .utf8)) ?? "" }

    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
}
