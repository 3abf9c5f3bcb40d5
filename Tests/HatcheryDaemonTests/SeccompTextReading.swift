@testable import HatcheryDaemon
import CSeccomp
import Glibc

/// A second reading of a policy's text, written without the parser or the compiler: what a person would say who reads the
/// lines of one call from top to bottom.
struct SeccompTextReading {
    struct Line {
        let number: Int
        let words: [String]
        let reason: String
    }

    let lines: [Line]
    let byName: [String: [Line]]

    init(_ text: String) {
        var lines: [Line] = []
        for (index, raw) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let halves = raw.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            let words = (halves.first ?? "").split(separator: " ").map(String.init)
            guard !words.isEmpty else { continue }
            let reason = halves.count > 1 ? halves[1].split(separator: " ").joined(separator: " ") : ""
            lines.append(Line(number: index + 1, words: words, reason: reason))
        }
        self.lines = lines
        byName = Dictionary(grouping: lines.filter { ["allow", "refuse", "answer", "tell"].contains($0.words[0]) }) { $0.words[1] }
    }

    /// The verdict that the text gives: as the filter's return value.
    func verdict(name: String?, arguments: [UInt64], onViolation: ViolationAction) -> UInt32 {
        for line in name.flatMap({ byName[$0] }) ?? [] {
            let isAllow = Self.hasNoErrno(line)
            let conditions = line.words.dropFirst(isAllow ? 2 : 3).split(separator: "and").map(Array.init)
            guard conditions.allSatisfy({ holds($0, arguments) }) else { continue }
            if isAllow { return line.words[0] == "tell" && onViolation == .listen ? 0x7fc0_0000 : 0x7fff_0000 }
            let errno = number(ofErrno: line.words[2])
            switch (line.words[0], onViolation) {
            case ("refuse", .kill): return 0x8000_0000
            case ("refuse", .listen): return 0x7fc0_0000 | errno
            default: return 0x0005_0000 | errno
            }
        }
        let fallback = lines.first { $0.words[0] == "default" }!
        return fallback.words[1] == "kill" ? 0x8000_0000 : 0x0005_0000 | number(ofErrno: fallback.words[2])
    }

    private static func hasNoErrno(_ line: Line) -> Bool { ["allow", "tell"].contains(line.words[0]) }

    /// Argument lists at which the text could change its mind. One argument at a time goes through its limits, their
    /// neighbours on both sides, each bit of a mask and a dirty high half, while the others go through their limits.
    func forEachInterestingEntry(name: String, _ body: ([UInt64]) throws -> Void) rethrows {
        var limits: [Set<UInt64>] = (0..<6).map { _ in [0] }
        var details: [Set<UInt64>] = (0..<6).map { _ in [0] }
        for line in byName[name] ?? [] {
            for condition in line.words.dropFirst(Self.hasNoErrno(line) ? 2 : 3).split(separator: "and").map(Array.init) {
                let argument = argumentIndex(condition[0])
                let limit = value(condition.last!)
                var points = [limit, 0xffff_ffff, UInt64.max]
                if condition[1] == "&" {
                    let mask = value(condition[2])
                    points += (0..<64).map { UInt64(1) << $0 }.filter { mask & $0 != 0 } + [mask, ~mask]
                }
                limits[argument].formUnion([limit, 77])
                for point in points {
                    details[argument].formUnion([point, point &+ 1, point &- 1, point | 1 << 32, point | 1 << 63])
                }
            }
        }
        for varied in 0..<6 {
            let values = (0..<6).map { Array($0 == varied ? details[$0] : limits[$0]) }
            var number = 0
            let total = values.reduce(1) { $0 * $1.count }
            while number < total {
                var rest = number
                try body(values.map { choices in defer { rest /= choices.count }; return choices[rest % choices.count] })
                number += 1
            }
        }
    }

    /// For a number, its name on an architecture; nil where there is none.
    static func name(of number: UInt32, architecture: UInt32) -> String? {
        if number < 600, let name = seccomp_syscall_resolve_num_arch(architecture, Int32(number)) {
            defer { free(name) }
            return String(cString: name)
        }
        // Linux 6.5 and later, from the kernel's syscall tables: libseccomp of the build machine may not know them.
        let common = [
            "cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue", "statmount",
            "listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat",
            "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr", "file_setattr", "listns",
        ]
        if (451..<(451 + UInt32(common.count))).contains(number) { return common[Int(number) - 451] }
        if architecture == SyscallEntry.x86_64, number == 335 { return "uretprobe" }
        if architecture == SyscallEntry.x86_64, number == 336 { return "uprobe" }
        return nil
    }

    private func holds(_ condition: [String], _ arguments: [UInt64]) -> Bool {
        let isLow = condition[0].hasPrefix("low32(")
        let argument = arguments[argumentIndex(condition[0])]
        var left = isLow ? argument & 0xffff_ffff : argument
        var rest = condition.dropFirst()
        if rest.first == "&" {
            left &= value(rest.dropFirst().first!)
            rest = rest.dropFirst(2)
        }
        let right = value(rest.last!)
        switch rest.first! {
        case "==": return left == right
        case "!=": return left != right
        case "<": return left < right
        case "<=": return left <= right
        case ">": return left > right
        case ">=": return left >= right
        default: fatalError("comparison \(rest.first!)")
        }
    }

    /// Of `arg3` and of `low32(arg3)`.
    private func argumentIndex(_ word: String) -> Int { (0...5).first { word.contains("arg\($0)") }! }

    private func value(_ word: String) -> UInt64 {
        word.split(separator: "|").reduce(0) { sum, part in
            if let constant = SeccompNames.constants[String(part)] { return sum | constant }
            return sum | (part.hasPrefix("0x") ? UInt64(part.dropFirst(2), radix: 16)! : UInt64(part)!)
        }
    }

    private func number(ofErrno name: String) -> UInt32 {
        let numbers: [String: UInt32] = [
            "EPERM": 1, "EACCES": 13, "EINVAL": 22, "ENOTTY": 25, "ENOSYS": 38, "ENOPROTOOPT": 92, "EPROTONOSUPPORT": 93, "EOPNOTSUPP": 95,
            "EAFNOSUPPORT": 97,
        ]
        return numbers[name]!
    }
}
