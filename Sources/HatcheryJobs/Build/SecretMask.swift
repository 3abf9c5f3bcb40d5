/// Takes secrets out of a stream as it passes, also where one is split over several reads.
///
/// Of a secret of several lines each line of eight bytes or more is masked as well, since tools print lines.
package struct SecretMask: Sendable {
    package static let replacement = Array("***".utf8)
    /// Shorter ones would make an output unreadable, and show themselves by that.
    package static let shortest = 4

    /// The longest first: of two that begin alike the longer one is looked for.
    private let secrets: [[UInt8]]
    private let firstBytes: Set<UInt8>
    /// What may be the beginning of a secret.
    private var held: [UInt8] = []

    package init(_ values: some Collection<String>) {
        var all: Set<[UInt8]> = []
        for value in values {
            all.insert(Array(value.utf8))
            let lines = value.utf8.split(separator: UInt8(ascii: "\n"))
            for line in lines where lines.count > 1 && line.count >= 8 { all.insert(Array(line)) }
        }
        secrets = all.filter { !$0.isEmpty }.sorted { $0.count > $1.count }
        firstBytes = Set(secrets.compactMap(\.first))
    }

    package mutating func pass(_ bytes: [UInt8]) -> [UInt8] {
        if secrets.isEmpty { return bytes }
        return scan(held + bytes, isEnd: false)
    }

    /// What was held back, at the end of the stream.
    package mutating func finish() -> [UInt8] { scan(held, isEnd: true) }

    /// A whole text.
    package static func masked(_ text: String, _ values: some Collection<String>) -> String {
        var mask = SecretMask(values)
        let passed = mask.pass(Array(text.utf8))
        return String(decoding: passed + mask.finish(), as: UTF8.self)
    }

    private mutating func scan(_ bytes: [UInt8], isEnd: Bool) -> [UInt8] {
        var passed: [UInt8] = []
        passed.reserveCapacity(bytes.count)
        var index = 0
        held = []
        next: while index < bytes.count {
            guard firstBytes.contains(bytes[index]) else {
                passed.append(bytes[index])
                index += 1
                continue
            }
            let rest = bytes[index...]
            for secret in secrets {
                if rest.starts(with: secret) {
                    passed += SecretMask.replacement
                    index += secret.count
                    continue next
                }
                if !isEnd, rest.count < secret.count, secret.starts(with: rest) {
                    held = Array(rest)
                    return passed
                }
            }
            passed.append(bytes[index])
            index += 1
        }
        return passed
    }
}
