import CHatchery
import Foundation
import Glibc
import HatcherySystem

/// The programs that the front starts, as open files.
final class Images {
    /// hatchery-zygote, in a sealed memfd.
    ///
    /// SECURITY: a sandbox's processes descend from this image, and /proc/PID/exe is a way to it. A private copy that nobody
    /// can write to leaves the file on disk out of reach (CVE-2019-5736).
    let zygote: Descriptor
    /// libhatchery-python.so, opened, since the zygote's tree does not contain it; -1 where it is not installed.
    let pythonLibrary: Int32

    static let pythonLibraryName = "libhatchery-python.so"

    init() throws(SystemError) {
        let directory = Images.directory()
        zygote = try Images.sealedCopy(of: try Images.find("hatchery-zygote", near: directory))
        let library = try? Images.find(Images.pythonLibraryName, near: directory)
        pythonLibrary = library.map { hatchery_open($0, O_RDONLY | O_CLOEXEC, 0) } ?? -1
    }

    /// Where this very program lies.
    private static func directory() -> String {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return own.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
    }

    /// Beside the program (a build folder), or where a package puts helpers.
    private static func find(_ name: String, near directory: String) throws(SystemError) -> String {
        let places = [directory, directory + "/../libexec/hatchery", directory + "/../lib/hatchery", "/usr/libexec/hatchery"]
        for place in places where access("\(place)/\(name)", R_OK) == 0 { return "\(place)/\(name)" }
        throw SystemError("open", errno: ENOENT, subject: "\(name) (looked in \(places.joined(separator: ", ")))")
    }

    private static func sealedCopy(of path: String) throws(SystemError) -> Descriptor {
        let source = try Files.open(path, flags: O_RDONLY)
        let size = Int(try Files.status(source.raw).st_size)
        let copy = Descriptor(owning: try check(hatchery_memfd_create("hatchery-zygote", hatchery_mfd_flags), "memfd_create"))
        var offset: off_t = 0
        while Int(offset) < size {
            let moved = try checkErrno(sendfile(copy.raw, source.raw, &offset, size - Int(offset)), "sendfile", path)
            if moved == 0 { break }
        }
        try SealedMemory.seal(copy)
        return copy
    }
}
