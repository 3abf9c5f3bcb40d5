import CSeccomp
import Testing

@testable import HatcheryDaemon

/// The compiled program against the text: two readings of the same lines must agree on every call.
@Suite struct SeccompCompilerTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let text: String
        let policy: SeccompPolicy
        let architecture: SeccompArchitecture
        let onViolation: ViolationAction

        var testDescription: String { "\(name) \(architecture) \(onViolation)" }
        var token: UInt32 { architecture == .x86_64 ? SyscallEntry.x86_64 : SyscallEntry.aarch64 }

        func interpreter() throws -> SeccompInterpreter {
            SeccompInterpreter(
                try SeccompCompiler.compile(policy, onViolation: onViolation, architecture: architecture))
        }

        static let all: [Case] = SeccompArchitecture.allCases.flatMap { architecture in
            [ViolationAction.errno, .kill, .listen].flatMap { onViolation in
                [
                    Case(
                        name: "default", text: SeccompPolicies.defaultText, policy: SeccompPolicies.default,
                        architecture: architecture, onViolation: onViolation),
                    Case(
                        name: "init", text: SeccompPolicies.initText, policy: SeccompPolicies.`init`,
                        architecture: architecture, onViolation: onViolation),
                ]
            }
        }
    }

    static let killed: UInt32 = 0x8000_0000

    @Test(arguments: Case.all)
    func everyNumberGetsTheVerdictOfTheText(of subject: Case) throws {
        let reading = SeccompTextReading(subject.text)
        let interpreter = try subject.interpreter()
        var disagreements: [String] = []
        for number in UInt32(0)...600 {
            let name = SeccompTextReading.name(of: number, architecture: subject.token)
            let expected = reading.verdict(
                name: name, arguments: [0, 0, 0, 0, 0, 0], onViolation: subject.onViolation)
            let actual = try interpreter.run(SyscallEntry(number: number, architecture: subject.token)).verdict
            if actual != expected {
                disagreements.append("\(number) \(name ?? "?"): \(hex(actual)), the text says \(hex(expected))")
            }
        }
        #expect(disagreements == [])
    }

    @Test(arguments: Case.all)
    func everyArgumentConditionHoldsOnBothSides(of subject: Case) throws {
        let reading = SeccompTextReading(subject.text)
        let interpreter = try subject.interpreter()
        var disagreements: [String] = []
        var probes = 0
        for name in reading.byName.keys.sorted() {
            guard let number = SeccompNames.number(of: name, on: subject.architecture) else { continue }
            try reading.forEachInterestingEntry(name: name) { arguments in
                probes += 1
                let expected = reading.verdict(
                    name: name, arguments: arguments, onViolation: subject.onViolation)
                let entry = SyscallEntry(number: number, architecture: subject.token, arguments: arguments)
                let actual = try interpreter.run(entry).verdict
                if actual != expected {
                    disagreements.append("\(name) \(arguments.map(hex)): \(hex(actual)), the text says \(hex(expected))")
                }
            }
        }
        #expect(disagreements.prefix(20) == [])
        // The counter can see: there were argument conditions to probe.
        #expect(probes > reading.byName.count)
    }

    @Test(arguments: Case.all)
    func foreignArchitecturesAreKilled(by subject: Case) throws {
        let interpreter = try subject.interpreter()
        let others = [SyscallEntry.x86_64, SyscallEntry.aarch64, SyscallEntry.i386, SyscallEntry.arm, 0]
        for architecture in others where architecture != subject.token {
            for number in UInt32(0)...600 {
                #expect(try interpreter.run(SyscallEntry(number: number, architecture: architecture)).verdict == Self.killed)
            }
        }
    }

    @Test(arguments: Case.all.filter { $0.architecture == .x86_64 })
    func x32NumbersAreKilled(by subject: Case) throws {
        let interpreter = try subject.interpreter()
        for number in UInt32(0x4000_0000)...0x4000_0258 {
            #expect(try interpreter.run(SyscallEntry(number: number, architecture: subject.token)).verdict == Self.killed)
        }
    }

    @Test func numberOfNoCallIsNotAllowed() throws {
        for subject in Case.all {
            let interpreter = try subject.interpreter()
            for number: UInt32 in [601, 0xffff, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
                let verdict = try interpreter.run(SyscallEntry(number: number, architecture: subject.token)).verdict
                #expect(verdict != 0x7fff_0000)
            }
        }
    }

    @Test func firstLineThatMatchesDecides() throws {
        let policy = try SeccompPolicy(
            text: """
                default errno ENOSYS
                foreign-architecture kill
                refuse ioctl EPERM low32(arg1) == 7
                allow ioctl arg1 > 5 and arg2 != 0
                answer ioctl EINVAL arg2 <= 9
                allow ioctl
                """, file: "test.policy")
        let interpreter = SeccompInterpreter(try SeccompCompiler.compile(policy, architecture: .x86_64))
        func verdict(_ second: UInt64, _ third: UInt64) throws -> UInt32 {
            try interpreter.run(
                SyscallEntry(number: 16, architecture: SyscallEntry.x86_64, arguments: [0, second, third, 0, 0, 0])
            ).verdict
        }
        #expect(try verdict(7, 1) == 0x0005_0001)
        #expect(try verdict(7 | 1 << 32, 1) == 0x0005_0001)
        #expect(try verdict(6, 1) == 0x7fff_0000)
        #expect(try verdict(6, 0) == 0x0005_0016)
        #expect(try verdict(5, 9) == 0x0005_0016)
        #expect(try verdict(5, 10) == 0x7fff_0000)
    }

    @Test func killModeKillsForRefuseAndNotForAnswer() throws {
        let interpreter = SeccompInterpreter(
            try SeccompCompiler.compile(SeccompPolicies.default, onViolation: .kill, architecture: .x86_64))
        func verdict(_ number: UInt32, _ first: UInt64 = 0) throws -> UInt32 {
            try interpreter.run(
                SyscallEntry(number: number, architecture: SyscallEntry.x86_64, arguments: [first, 0, 0, 0, 0, 0])).verdict
        }
        #expect(try verdict(165) == Self.killed)  // mount
        #expect(try verdict(56, 0x1000_0000) == Self.killed)  // clone, CLONE_NEWUSER
        #expect(try verdict(56, 17) == 0x7fff_0000)  // clone, a plain child
        #expect(try verdict(435) == 0x0005_0026)  // clone3: libc must fall back
        #expect(try verdict(41, 16) == 0x0005_0061)  // socket, AF_NETLINK: getaddrinfo goes on
    }

    /// Every comparison, with each half of its argument at, below and above the limit.
    @Test(arguments: [
        "arg1 == 0x500000007", "arg1 != 0x500000007", "arg1 < 0x500000007", "arg1 <= 0x500000007", "arg1 > 0x500000007",
        "arg1 >= 0x500000007", "arg1 < 7", "arg1 >= 7", "arg1 & 0xf0000000f == 0x500000007", "arg1 & 0xf == 7",
        "arg1 & 0xf00000000 == 0x500000000", "arg1 & 0x300000003 != 0", "arg1 & 3 != 0", "arg1 & 0x300000000 != 0",
        "low32(arg1) == 7", "low32(arg1) == 7 and arg2 > 5 and arg0 & 1 == 0",
    ])
    func comparisonHoldsOnBothSides(condition: String) throws {
        let text = "default errno ENOSYS\nforeign-architecture kill\nallow ioctl \(condition) # test"
        let reading = SeccompTextReading(text)
        let policy = try SeccompPolicy(text: text, file: "test.policy")
        let interpreter = SeccompInterpreter(try SeccompCompiler.compile(policy, architecture: .x86_64))
        var verdicts: Set<UInt32> = []
        let halves: [UInt64] = [0, 1, 4, 5, 6, 7, 8, 0xffff_ffff]
        for high in halves {
            for low in halves {
                for third: UInt64 in [0, 5, 6, 7] {
                    let arguments = [low ^ third, high << 32 | low, third, 0, 0, 0]
                    let verdict = try interpreter.run(
                        SyscallEntry(number: 16, architecture: SyscallEntry.x86_64, arguments: arguments)).verdict
                    #expect(verdict == reading.verdict(name: "ioctl", arguments: arguments, onViolation: .errno))
                    verdicts.insert(verdict)
                }
            }
        }
        #expect(verdicts.count == 2)
    }

    /// libseccomp 2.5.4 made of these lines a program that allowed (2, 1, 1) on aarch64: the last test of arg2 ran into
    /// the comparison of another line, with arg2 in the accumulator instead of arg0.
    @Test(arguments: SeccompArchitecture.allCases)
    func protocolNumberIsNotTakenForAFamily(on architecture: SeccompArchitecture) throws {
        let interpreter = SeccompInterpreter(
            try SeccompCompiler.compile(SeccompPolicies.default, architecture: architecture))
        let entry = SyscallEntry(
            number: SeccompNames.number(of: "socket", on: architecture)!, architecture: architecture.token,
            arguments: [2, 1, 1, 0, 0, 0])
        #expect(try interpreter.run(entry).verdict == 0x0005_005d)
    }

    /// More instructions than a conditional jump reaches, on both sides of the search.
    @Test func longProgramsKeepTheirJumps() throws {
        var text = "default errno ENOSYS\nforeign-architecture kill\n"
        for name in ["read", "ioctl", "prctl", "openat2"] {
            for value in 0..<300 { text += "allow \(name) low32(arg0) == \(value * 2) # test\n" }
        }
        let interpreter = SeccompInterpreter(
            try SeccompCompiler.compile(try SeccompPolicy(text: text, file: "test.policy"), architecture: .x86_64))
        for number: UInt32 in [0, 16, 157, 437] {
            for value in UInt64(0)...600 {
                let verdict = try interpreter.run(
                    SyscallEntry(
                        number: number, architecture: SyscallEntry.x86_64, arguments: [value, 0, 0, 0, 0, 0])).verdict
                #expect(verdict == (value % 2 == 0 && value < 600 ? 0x7fff_0000 : 0x0005_0026))
            }
        }
    }

    @Test func programThatTheKernelWouldNotTakeIsAnError() throws {
        var text = "default errno ENOSYS\nforeign-architecture kill\n"
        for value in 0..<2000 { text += "allow ioctl arg1 == \(value) # test\n" }
        let policy = try SeccompPolicy(text: text, file: "test.policy")
        #expect(throws: SeccompPolicyError.self) { try SeccompCompiler.compile(policy) }
    }

    /// What costs time: a filter is walked for every number when it is loaded.
    @Test(arguments: Case.all)
    func programsAreShort(of subject: Case) throws {
        let interpreter = try subject.interpreter()
        #expect(interpreter.instructions.count < 500)
        for number in UInt32(0)...600 {
            let steps = try interpreter.run(SyscallEntry(number: number, architecture: subject.token)).steps
            #expect(steps < 75)
        }
        let read = SeccompNames.number(of: "read", on: subject.architecture)!
        #expect(try interpreter.run(SyscallEntry(number: read, architecture: subject.token)).steps <= 16)
    }

    @Test func sameTextGivesSameProgram() throws {
        #expect(try SeccompCompiler.compile(SeccompPolicies.default) == SeccompCompiler.compile(SeccompPolicies.default))
    }

    private func hex(_ value: some BinaryInteger) -> String { "0x" + String(value, radix: 16) }
}
