import Glibc

/// Makes a filter of a policy: classic BPF, as seccomp(2) takes it.
///
/// libseccomp gives us the numbers of the calls, and no more. Its generator was tried first: version 2.5.4 made of our
/// own socket lines a program for aarch64 that allowed what the text refuses (two tests shared one comparison, reached
/// with another argument in the accumulator), and it has no order among lines. Docs/Decisions tells the story. So this
/// generator is plain on purpose, and the tests read every verdict back through a BPF machine of their own.
///
/// The program, from top to bottom:
///
///     the architecture is ours, or the process is killed; on x86-64 the x32 bit is not set, or it is killed
///     a binary search over the numbers: neighbours with the same verdict are one range
///     at each end of the search: a verdict, or the lines of one call, tested from top to bottom
public enum SeccompCompiler {
    public static func compile(
        _ policy: SeccompPolicy, onViolation: ViolationAction = .errno, architecture: SeccompArchitecture = .native
    ) throws(SeccompPolicyError) -> SeccompProgram {
        let verdicts = Verdicts(policy, onViolation: onViolation, architecture: architecture)
        let program = SeccompProgram(
            instructions: entryChecks(architecture) + search(verdicts.ranges[...], fallback: verdicts.fallback))
        guard program.instructionCount <= SeccompProgram.maximumInstructionCount else {
            throw SeccompPolicyError(
                file: policy.file,
                problem: "\(program.instructionCount) instructions: the kernel takes at most "
                    + "\(SeccompProgram.maximumInstructionCount)")
        }
        return program
    }

    /// SECURITY: the same number is another call for i386 and x32 entry, so nothing below would hold. Tests:
    /// foreignArchitecturesAreKilled, x32NumbersAreKilled.
    private static func entryChecks(_ architecture: SeccompArchitecture) -> [SeccompInstruction] {
        var checks: [SeccompInstruction] = [
            .load(offset: SeccompInstruction.architectureOffset),
            .jump(.equal, architecture.token, yes: 1, no: 0),
            .result(SeccompVerdict.kill),
            .load(offset: SeccompInstruction.numberOffset),
        ]
        if let foreignBit = architecture.foreignNumberBit {
            checks += [.jump(.anyBit, foreignBit, yes: 0, no: 1), .result(SeccompVerdict.kill)]
        }
        return checks
    }

    /// The number is in the accumulator. The kernel walks the filter once for each number when it is loaded (its cache
    /// of calls that are always allowed), so a short way makes spawns faster, not only calls.
    private static func search(_ ranges: ArraySlice<Verdicts.Range>, fallback: UInt32) -> [SeccompInstruction] {
        if ranges.count == 1 { return decide(ranges.first!.lines, fallback: fallback) }
        let middle = ranges.startIndex + ranges.count / 2
        let low = search(ranges[..<middle], fallback: fallback)
        let high = search(ranges[middle...], fallback: fallback)
        let first = ranges[middle].first
        // Conditional jumps reach 255 instructions; a plain one reaches everything.
        if low.count <= SeccompInstruction.farthestBranch {
            return [.jump(.greaterOrEqual, first, yes: UInt8(low.count), no: 0)] + low + high
        }
        return [.jump(.greaterOrEqual, first, yes: 0, no: 1), .always(UInt32(low.count))] + low + high
    }

    /// The lines of one call: the first that matches returns, each other one jumps to the next.
    private static func decide(_ lines: [Verdicts.Line], fallback: UInt32) -> [SeccompInstruction] {
        var code: [SeccompInstruction] = []
        var rest = lines[...]
        while let line = rest.first {
            let values = switchValues(rest)
            if values.count > 1 {
                code += switchOver(argument: line.conditions[0].argument, values, verdict: line.verdict)
                rest = rest.dropFirst(values.count)
                continue
            }
            var body: [SeccompInstruction] = [.result(line.verdict)]
            for condition in line.conditions.reversed() {
                body = SeccompConditionCode.test(condition, skipWhenFalse: body.count) + body
            }
            code += body
            if line.conditions.isEmpty { return code }
            rest = rest.dropFirst()
        }
        return code + [.result(fallback)]
    }

    /// prctl has forty lines like `allow prctl low32(arg0) == X`. Where several lines in a row test only the low half
    /// of one argument, for the same verdict, one load serves all.
    private static func switchValues(_ lines: ArraySlice<Verdicts.Line>) -> [UInt32] {
        guard let first = lines.first, first.lowHalfTest != nil else { return [] }
        return lines
            .prefix { $0.verdict == first.verdict && $0.lowHalfTest?.argument == first.lowHalfTest?.argument }
            .prefix(SeccompInstruction.farthestBranch)
            .map { $0.lowHalfTest!.value }
    }

    private static func switchOver(argument: Int, _ values: [UInt32], verdict: UInt32) -> [SeccompInstruction] {
        var code: [SeccompInstruction] = [.load(offset: SeccompInstruction.lowHalfOffset(argument))]
        for (index, value) in values.enumerated() {
            let toResult = UInt8(values.count - 1 - index)
            let isLast = index == values.count - 1
            code.append(.jump(.equal, value, yes: toResult, no: isLast ? 1 : 0))
        }
        return code + [.result(verdict)]
    }
}

/// What the filter returns to the kernel (SECCOMP_RET_…).
enum SeccompVerdict {
    static let allow: UInt32 = 0x7fff_0000
    static let kill: UInt32 = 0x8000_0000

    static func errno(_ errno: Int32) -> UInt32 { 0x0005_0000 | UInt32(errno) }
    /// SECCOMP_RET_USER_NOTIF; the kernel does not look at the low half.
    static func listen(_ errno: Int32) -> UInt32 { 0x7fc0_0000 | UInt32(errno) }
}

/// A policy's lines, sorted by the numbers of one architecture.
private struct Verdicts {
    struct Line: Equatable {
        let verdict: UInt32
        let conditions: [SeccompPolicy.Condition]

        /// The one condition, where it is `low32(argN) == VALUE`.
        var lowHalfTest: (argument: Int, value: UInt32)? {
            guard conditions.count == 1, case .masked(0xffff_ffff, let value) = conditions[0].test else { return nil }
            return (conditions[0].argument, UInt32(value))
        }
    }

    /// All numbers from this one to the next range.
    struct Range {
        let first: UInt32
        let lines: [Line]
    }

    let fallback: UInt32
    /// The first starts at 0, the last one ends with the last number there is.
    private(set) var ranges: [Range] = []

    init(_ policy: SeccompPolicy, onViolation: ViolationAction, architecture: SeccompArchitecture) {
        fallback =
            switch policy.defaultAction {
            case .kill: SeccompVerdict.kill
            case .errno(let errno): SeccompVerdict.errno(errno)
            }
        var lines: [UInt32: [Line]] = [:]
        for rule in policy.rules {
            // A name that this architecture does not have (open, on aarch64) needs no line: no number leads there.
            guard let number = SeccompNames.number(of: rule.syscall, on: architecture) else { continue }
            let verdict = Verdicts.verdict(rule, onViolation: onViolation)
            lines[number, default: []].append(Line(verdict: verdict, conditions: rule.conditions))
        }
        let beyond = (lines.keys.max() ?? 0) + 1
        for number in 0...beyond {
            let here = lines[number] ?? [Line(verdict: fallback, conditions: [])]
            if here != ranges.last?.lines { ranges.append(Range(first: number, lines: here)) }
        }
    }

    private static func verdict(_ rule: SeccompPolicy.Rule, onViolation: ViolationAction) -> UInt32 {
        switch (rule.verb, onViolation) {
        case (.allow, _), (.tell, .errno), (.tell, .kill): SeccompVerdict.allow
        case (.tell, .listen): SeccompVerdict.listen(0)
        case (.refuse, .kill): SeccompVerdict.kill
        case (.refuse, .listen): SeccompVerdict.listen(rule.errno ?? EPERM)
        case (.refuse, .errno), (.answer, _): SeccompVerdict.errno(rule.errno ?? EPERM)
        }
    }
}
