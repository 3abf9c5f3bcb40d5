import HatcheryProtocol
import HatcherySystem

/// The verdict of a policy for every system call, as it can be published: what each line of the text says, and what happens to
/// all that no line names.
public struct PolicyListing: Sendable {
    public struct Entry: Sendable, Hashable {
        /// nil for a call that this architecture does not have, or for all others.
        public let number: UInt32?
        public let syscall: String
        /// Conditions, verdict and reason of each line, in their order. The last one decides whatever is left.
        public let lines: [Line]
    }

    public struct Line: Sendable, Hashable {
        public let conditions: String
        public let verdict: String
        public let reason: String
    }

    public let file: String
    public private(set) var entries: [Entry]

    /// - Parameter isFatal: `on_violation: kill`.
    public init(_ policy: SeccompPolicy, isFatal: Bool, architecture: SeccompArchitecture = .native) {
        file = policy.file
        let fallback = Line(
            conditions: "", verdict: PolicyListing.verdict(policy.defaultAction), reason: "no line decides it")
        let rules = Dictionary(grouping: policy.rules, by: \.syscall)
        var names = Set(rules.keys)
        for number in UInt32(0)...PolicyListing.lastNumber {
            let name = SeccompNames.name(of: number, on: architecture)
            if name != "\(number)" { names.insert(name) }
        }
        var entries = names.map { name in
            let lines = (rules[name] ?? []).map { rule in
                Line(
                    conditions: rule.conditions.map(\.text).joined(separator: " and "),
                    verdict: PolicyListing.verdict(rule, isFatal: isFatal), reason: rule.reason)
            }
            return Entry(
                number: SeccompNames.number(of: name, on: architecture), syscall: name,
                lines: lines.last?.conditions == "" ? lines : lines + [fallback])
        }
        entries.sort { ($0.number ?? .max, $0.syscall) < ($1.number ?? .max, $1.syscall) }
        self.entries = entries + [
            Entry(number: nil, syscall: "(every other number)", lines: [fallback]),
            Entry(
                number: nil, syscall: "(another architecture, x32)",
                lines: [Line(conditions: "", verdict: "the process is killed", reason: "the same number is another call there")]),
        ]
    }

    private static let lastNumber: UInt32 = 600

    private static func verdict(_ action: SeccompPolicy.DefaultAction) -> String {
        switch action {
        case .errno(let errno): ErrnoNames.name(errno)
        case .kill: "the process is killed"
        }
    }

    private static func verdict(_ rule: SeccompPolicy.Rule, isFatal: Bool) -> String {
        let errno = rule.errno.map { ErrnoNames.name($0) } ?? ""
        switch rule.verb {
        case .allow: return "allowed"
        case .tell: return "allowed, and told to the init"
        case .refuse: return isFatal ? "the run ends: syscall_denied" : "\(errno), and counted"
        case .answer: return errno
        }
    }

    /// One line for each line of the policy: number, call, verdict, condition, reason.
    public var text: String {
        var text = ""
        for entry in entries {
            for line in entry.lines {
                let number = entry.number.map { "\($0)" } ?? "-"
                let condition = line.conditions.isEmpty ? "" : "  where \(line.conditions)"
                text += "\(pad(number, 4)) \(pad(entry.syscall, 24)) \(pad(line.verdict, 28))\(condition)  # \(line.reason)\n"
            }
        }
        return text
    }

    /// An array with one object for each call.
    public var json: String {
        var writer = JSONWriter()
        writer.array(nil) { list in
            for entry in entries {
                list.object { object in
                    object.integer("number", entry.number)
                    object.string("syscall", entry.syscall)
                    object.array("lines") { lines in
                        for line in entry.lines {
                            lines.object {
                                $0.string("where", line.conditions.isEmpty ? nil : line.conditions)
                                $0.string("verdict", line.verdict)
                                $0.string("reason", line.reason)
                            }
                        }
                    }
                }
            }
        }
        return writer.text + "\n"
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.utf8.count))
    }
}

extension SeccompPolicy.Condition {
    /// As a policy's text has it, with numbers for the constants.
    var text: String {
        func hex(_ value: UInt64) -> String { value < 10 ? "\(value)" : "0x" + String(value, radix: 16) }
        switch test {
        case .equal(let value): return "arg\(argument) == \(hex(value))"
        case .notEqual(let value): return "arg\(argument) != \(hex(value))"
        case .less(let value): return "arg\(argument) < \(hex(value))"
        case .lessOrEqual(let value): return "arg\(argument) <= \(hex(value))"
        case .greater(let value): return "arg\(argument) > \(hex(value))"
        case .greaterOrEqual(let value): return "arg\(argument) >= \(hex(value))"
        case .masked(0xffff_ffff, let value): return "low32(arg\(argument)) == \(hex(value))"
        case .masked(let mask, let value): return "arg\(argument) & \(hex(mask)) == \(hex(value))"
        case .anyBit(let mask): return "arg\(argument) & \(hex(mask)) != 0"
        }
    }
}

extension ProfileConfiguration {
    /// The profile's policy, read.
    func seccompPolicy() throws -> SeccompPolicy {
        if seccomp == "default" { return SeccompPolicies.default }
        return try SeccompPolicy(text: try Files.readText(seccomp), file: seccomp)
    }
}

extension PolicyListing {
    /// - Parameter syscall: leaves this call alone.
    /// - Throws: a `ConfigurationError` where there is no such profile or call; else what is wrong with the policy.
    public static func of(profile name: String, in configuration: Configuration, syscall: String?) throws -> PolicyListing {
        guard let profile = configuration.profiles[name] else {
            throw ConfigurationError(
                origin: nil, path: "profiles.\(name)", message: "there is no such profile",
                suggestion: nearestName(to: name, in: configuration.profiles.keys.sorted()))
        }
        var listing = PolicyListing(try profile.seccompPolicy(), isFatal: profile.onViolation == .kill)
        guard let syscall else { return listing }
        guard listing.entries.contains(where: { $0.syscall == syscall }) else {
            throw ConfigurationError(
                origin: nil, path: "--syscall", message: "no system call '\(syscall)'",
                suggestion: SeccompNames.nearest(to: syscall, among: listing.entries.map(\.syscall)))
        }
        listing.entries.removeAll { $0.syscall != syscall }
        return listing
    }
}
