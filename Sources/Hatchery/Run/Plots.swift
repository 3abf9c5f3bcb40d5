import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Figures that a Python program leaves open: its bootstrap saves them in a directory of the sandbox, and they come out from there.
enum Plots {
    /// In the sandbox. The program may put there what it likes; only what is named like a figure is taken.
    static let directory = "/tmp/.hatchery-plots"
    static let most = 1000
    static let mostBytes: UInt64 = 256 << 20

    /// - Parameter destination: a directory of the caller's, made where it is missing; figures of the same name are replaced.
    static func collect(_ source: Result<Int32, FilesOut.Absence>, to destination: String) -> [RunResult.File] {
        switch source {
        // No figure was left open: nothing to tell.
        case .failure(let absence) where absence.errno == ENOENT: return []
        case .failure(let absence): return [failure(destination, absence.why)]
        case .success(let directory):
            do throws(SystemError) {
                return try collect(from: directory, to: destination)
            } catch {
                return [failure(destination, error.description)]
            }
        }
    }

    private static func failure(_ destination: String, _ why: String) -> RunResult.File {
        RunResult.File(path: directory, destination: destination, bytes: 0, error: why)
    }

    private static func collect(from directory: Int32, to destination: String) throws(SystemError) -> [RunResult.File] {
        if mkdir(destination, 0o755) != 0 && hatchery_errno() != EEXIST {
            throw SystemError("mkdir", errno: hatchery_errno(), subject: destination)
        }
        let reader = try DirectoryReader(try Files.openUntrusted(at: directory, [0x2E, 0]))
        var numbers: [Int] = []
        while let name = reader.next(), numbers.count < most {
            if let number = number(of: name) { numbers.append(number) }
        }
        var left = mostBytes
        return numbers.sorted().map { number in
            let name = "figure-\(number).png"
            let target = destination + "/" + name
            var file = RunResult.File(path: Plots.directory + "/" + name, destination: target, bytes: 0, error: nil)
            do throws(SystemError) {
                let figure = try Files.openUntrusted(at: reader.raw, Array(name.utf8CString))
                guard Files.isRegular(figure.raw) else { throw SystemError("openat2", errno: EINVAL, subject: name) }
                file.bytes = try FilesOut.copyFile(from: figure.raw, to: target, limit: left)
                left -= file.bytes
            } catch {
                file.error = error.description
            }
            return file
        }
    }

    /// The N of `figure-N.png`.
    private static func number(of name: [CChar]) -> Int? {
        let text = FileName.text(name)
        guard text.hasPrefix("figure-"), text.hasSuffix(".png") else { return nil }
        let digits = text.dropFirst(7).dropLast(4)
        guard let number = Int(digits), number >= 0, String(number) == digits else { return nil }
        return number
    }
}
