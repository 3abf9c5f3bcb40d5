import Glibc
import HatcheryProtocol
import HatcherySystem

/// The files that go into sandboxes, found beside the running program or where a package puts them.
public struct ProbePrograms: Sendable {
    static let programName = "hatchery-probe"
    static let libraryName = "libhatchery-probes.so"

    public let program: String
    /// nil where it is not installed: the Python zygote is then left out.
    public let library: String?

    /// - Throws: `.notFound`, with the places that were looked at.
    public static func find() throws(HatcheryError) -> ProbePrograms {
        let places = ProbePrograms.places()
        func look(_ name: String) -> String? { places.map { $0 + "/" + name }.first { access($0, R_OK) == 0 } }
        guard let program = look(programName) else {
            throw HatcheryError(
                .notFound, side: .client, detail: "\(programName) is not installed",
                hint: "build it with `swift build`, or put it beside hatchery; looked at " + places.joined(separator: ", "))
        }
        return ProbePrograms(program: program, library: look(libraryName))
    }

    private static func places() -> [String] {
        var buffer = [CChar](repeating: 0, count: 4097)
        let length = readlink("/proc/self/exe", &buffer, 4096)
        var places: [String] = []
        if length > 0 {
            let path = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let directory = path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
            places = [directory, directory + "/../libexec/hatchery", directory + "/../lib/hatchery"]
        }
        return places + ["/usr/libexec/hatchery"]
    }
}
