import CHatchery
import Glibc
import HatcherySystem

/// Files that only one test has, so that its descriptors can be counted while other tests open and close theirs.
struct Marker {
    let name = "hatchery-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"

    /// A new descriptor of a new file.
    func make(flags: UInt32 = hatchery_mfd_flags) throws -> Descriptor {
        Descriptor(owning: try check(hatchery_memfd_create(name, flags), "memfd_create"))
    }

    /// How many descriptors of this process lead to such files.
    func count() throws -> Int { try numbers().count }

    func numbers() throws -> [Int32] {
        let directory = try Files.open("/proc/self/fd", flags: O_RDONLY | O_DIRECTORY)
        return try Files.names(in: directory.raw, limit: 65_536).compactMap { entry in
            var target = [CChar](repeating: 0, count: 512)
            let length = readlink("/proc/self/fd/\(entry)", &target, target.count)
            guard length > 0 else { return nil }  // it was closed meanwhile, by another test
            let text = String(decoding: target[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
            return text.contains(name) ? Int32(entry) : nil
        }
    }
}

/// A directory of one test, gone with it.
final class ScratchDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/hatchery-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp", errno: hatchery_errno()) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { remove(path) }

    /// Never follows a link: what it points to is not ours.
    private func remove(_ path: String) {
        if unlink(path) == 0 { return }
        if let directory = try? Files.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW) {
            for name in (try? Files.names(in: directory.raw, limit: 1000)) ?? [] { remove(path + "/" + name) }
        }
        rmdir(path)
    }
}
