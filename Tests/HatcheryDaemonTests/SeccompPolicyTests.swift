import Glibc
import Testing

@testable import HatcheryDaemon

@Suite struct SeccompPolicyTests {
    /// A policy with one line of interest, which is line 3.
    private func policy(_ line: String) throws(SeccompPolicyError) -> SeccompPolicy {
        try SeccompPolicy(text: "default errno ENOSYS\nforeign-architecture kill\n\(line)\n", file: "test.policy")
    }

    private func fault(_ line: String) -> SeccompPolicyError? {
        do throws(SeccompPolicyError) { _ = try policy(line) } catch { return error }
        return nil
    }

    @Test func lineIsReadIntoItsParts() throws {
        let rule = try policy("refuse socket EPERM arg0 == AF_INET and arg1 & SOCK_TYPE_MASK == 3 # raw packets").rules[0]
        #expect(rule.line == 3)
        #expect(rule.verb == .refuse)
        #expect(rule.syscall == "socket")
        #expect(rule.errno == EPERM)
        #expect(rule.conditions == [
            .init(argument: 0, test: .equal(2)), .init(argument: 1, test: .masked(mask: 15, equals: 3)),
        ])
        #expect(rule.reason == "raw packets")
    }

    @Test(arguments: [
        ("arg1 == 5", SeccompPolicy.Test.equal(5)),
        ("arg1 != 5", .notEqual(5)),
        ("arg1 < 5", .less(5)),
        ("arg1 <= 5", .lessOrEqual(5)),
        ("arg1 > 5", .greater(5)),
        ("arg1 >= 0x10", .greaterOrEqual(16)),
        ("arg1 & 0xff == 5", .masked(mask: 255, equals: 5)),
        ("arg1 & CLONE_NEWNS|CLONE_NEWUSER != 0", .anyBit(mask: 0x1002_0000)),
        ("low32(arg1) == TIOCSTI", .masked(mask: 0xffff_ffff, equals: 0x5412)),
    ])
    func conditionIsRead(text: String, test: SeccompPolicy.Test) throws {
        #expect(try policy("allow ioctl \(text)").rules[0].conditions == [.init(argument: 1, test: test)])
    }

    @Test(arguments: [
        // line, column, word at fault, nearest right word
        ("alow read", 1, "alow", "allow"),
        ("allow raed", 7, "raed", "read"),
        ("  allow   opne_at  # why", 11, "opne_at", "openat"),
        ("refuse mount EPREM", 14, "EPREM", "EPERM"),
        ("refuse mount", 13, "", nil),
        ("allow", 6, "", nil),
        ("allow read extra", 12, "extra", nil),
        ("allow ioctl arg6 == 1", 13, "arg6", "arg0"),
        ("allow ioctl low32(agr1) == 1", 13, "low32(agr1)", "low32(arg1)"),
        ("allow ioctl arg1 = 1", 18, "=", nil),
        ("allow ioctl arg1 ==", 20, "", nil),
        ("allow ioctl arg1 == TIOCST", 21, "TIOCST", "TIOCSTI"),
        ("allow ioctl arg1 == CLONE_NEWNS|CLONE_NEWUSR", 21, "CLONE_NEWNS|CLONE_NEWUSR", "CLONE_NEWUSER"),
        ("allow ioctl arg1 == 0x", 21, "0x", nil),
        ("allow ioctl arg1 == -1", 21, "-1", nil),
        ("allow ioctl arg1 == 99999999999999999999", 21, "99999999999999999999", nil),
        ("allow ioctl arg1 == 1 or arg2 == 1", 23, "or", nil),
        ("allow ioctl arg1 == 1 and", 26, "", nil),
        ("allow ioctl arg1 > 1 and arg1 < 5", 26, "arg1", nil),
        ("allow ioctl low32(arg1) != 1", 25, "!=", "=="),
        ("allow ioctl low32(arg1) == 0x100000000", 28, "0x100000000", nil),
        ("allow ioctl arg1 & 3 == 4", 25, "4", nil),
        ("allow ioctl arg1 & 0 == 0", 25, "0", nil),
        ("allow ioctl arg1 & 3 != 1", 22, "!=", nil),
        ("allow ioctl arg1 & 3 > 1", 22, ">", nil),
        ("default errno EPERM", 1, "default", nil),
        ("foreign-architecture kill", 1, "foreign-architecture", nil),
    ] as [(String, Int, String, String?)])
    func faultIsNamedByItsPlaceAndWord(line: String, column: Int, word: String, suggestion: String?) throws {
        let error = try #require(fault(line))
        #expect(error.file == "test.policy")
        #expect(error.line == 3)
        #expect(error.column == column)
        #expect(error.word == word)
        #expect(error.suggestion == suggestion)
    }

    @Test func errorPrintsAsPlaceProblemAndRemedy() throws {
        let error = try #require(fault("allow raed"))
        #expect(error.description == "test.policy:3:7: no system call 'raed', did you mean 'read'?")
    }

    @Test func lineThatNeverMatchesIsRefused() throws {
        let error = try #require(fault("allow read\nrefuse read EPERM arg0 == 1"))
        #expect(error.line == 4)
        #expect(error.problem.contains("line 3"))
    }

    @Test(arguments: ["foreign-architecture kill\nallow read", "default errno ENOSYS\nallow read", ""])
    func policyMustSayWhatItDoesWithTheUnknown(text: String) {
        #expect(throws: SeccompPolicyError.self) { try SeccompPolicy(text: text, file: "test.policy") }
    }

    @Test(arguments: ["default allow", "default errno", "default errno ENOSYS kill", "default", "default errno EBOGUS"])
    func defaultIsARefusal(line: String) {
        #expect(throws: SeccompPolicyError.self) {
            try SeccompPolicy(text: "\(line)\nforeign-architecture kill\n", file: "test.policy")
        }
    }

    @Test func foreignArchitectureCannotBeAllowed() {
        #expect(throws: SeccompPolicyError.self) {
            try SeccompPolicy(text: "default kill\nforeign-architecture allow\n", file: "test.policy")
        }
    }

    @Test(arguments: [SeccompPolicies.default, SeccompPolicies.`init`])
    func everyLineHasAReason(policy: SeccompPolicy) {
        #expect(policy.rules.filter(\.reason.isEmpty).map { "\(policy.file):\($0.line): \($0.syscall)" } == [])
    }

    /// The parser's view of reasons must not be the only one: a `#` glued to a word would be lost by both.
    @Test(arguments: [SeccompPolicies.defaultText, SeccompPolicies.initText])
    func everyLineHasAReasonInTheText(text: String) {
        let bare = SeccompTextReading(text).lines.filter { $0.reason.isEmpty && $0.words[0] != "default" }
        #expect(bare.map(\.number) == [])
    }

    /// A call that the text forgets gets ENOSYS, which is safe; but nobody has thought about it.
    @Test func everyCallOfLinuxHasAVerdict() {
        let decided = Set(SeccompPolicies.default.rules.map(\.syscall))
        #expect(SeccompNames.allSyscalls().filter { !decided.contains($0) } == [])
    }

    @Test func constantsAreTheKernels() {
        let constants = SeccompNames.constants
        #expect(constants["AF_UNIX"] == UInt64(AF_UNIX))
        #expect(constants["AF_INET"] == UInt64(AF_INET))
        #expect(constants["AF_INET6"] == UInt64(AF_INET6))
        #expect(constants["SOCK_STREAM"] == UInt64(SOCK_STREAM.rawValue))
        #expect(constants["SOCK_DGRAM"] == UInt64(SOCK_DGRAM.rawValue))
        #expect(constants["SOCK_RAW"] == UInt64(SOCK_RAW.rawValue))
        #expect(constants["MSG_OOB"] == UInt64(MSG_OOB))
        #expect(constants["TIOCSTI"] == UInt64(TIOCSTI))
        #expect(constants["TIOCLINUX"] == UInt64(TIOCLINUX))
        #expect(constants["TIOCSETD"] == UInt64(TIOCSETD))
        #expect(constants["PROT_EXEC"] == UInt64(PROT_EXEC))
        #expect(constants["S_IFMT"] == UInt64(S_IFMT))
        #expect(constants["S_IFCHR"] == UInt64(S_IFCHR))
        #expect(constants["S_IFBLK"] == UInt64(S_IFBLK))
        #expect(constants["MADV_MERGEABLE"] == UInt64(MADV_MERGEABLE))
    }
}
