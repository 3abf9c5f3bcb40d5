import Glibc

/// Where this program lies, and the programs that were installed with it.
enum OwnProgram {
    /// Its path, or an empty text where /proc does not tell.
    static func path() -> String {
        var buffer = [CChar](repeating: 0, count: 4097)
        let length = readlink("/proc/self/exe", &buffer, 4096)
        return length > 0 ? String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
    }

    /// Where a companion is looked for, in this order: beside (a build folder), then where install.sh and the package put it.
    static func places(of name: String) -> [String] {
        let directory = path().split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
        return [directory + "/" + name, directory + "/../libexec/hatchery/" + name, "/usr/libexec/hatchery/" + name]
    }
}
