/// The names of zygotes and profiles: `[a-z][a-z0-9_-]{0,62}`. They become parts of cgroup names, process titles, log lines
/// and environment names, so they hold nothing that any of those gives a meaning to.
package enum MemberName {
    /// What is wrong with a name, or nil.
    package static func problem(with name: String) -> String? {
        let bytes = Array(name.utf8)
        let isWord = bytes.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard let first = bytes.first, first >= UInt8(ascii: "a"), first <= UInt8(ascii: "z"), isWord, bytes.count <= 63
        else {
            return "'\(name)' is not a name: a lower-case letter, then up to 62 lower-case letters, digits, '_' or '-'"
        }
        return nil
    }

    package static let codec = ValueCodec<String>.text.refined("a name") { problem(with: $0) }
}
