/// The code of one condition. Where it holds, the program goes on behind it; where not, it leaves out as many more
/// instructions as told.
///
/// BPF has words of 32 bits, arguments have 64: most tests look at both halves. Every half is loaded right before it is
/// tested, and nothing is taken over from code before: what is in the accumulator is never a question.
enum SeccompConditionCode {
    static func test(_ condition: SeccompPolicy.Condition, skipWhenFalse: Int) -> [SeccompInstruction] {
        let steps = steps(condition.test, argument: condition.argument)
        return steps.enumerated().map { index, step in
            let toEnd = steps.count - 1 - index
            func distance(_ target: Target) -> UInt8 {
                switch target {
                case .next: 0
                case .holds: UInt8(toEnd)
                case .fails: UInt8(toEnd + skipWhenFalse)
                }
            }
            switch step {
            case .plain(let instruction): return instruction
            case .branch(let comparison, let constant, let yes, let no):
                return .jump(comparison, constant, yes: distance(yes), no: distance(no))
            }
        }
    }

    private enum Target { case next, holds, fails }

    private enum Step {
        case plain(SeccompInstruction)
        case branch(SeccompInstruction.Comparison, UInt32, yes: Target, no: Target)
    }

    private static func steps(_ test: SeccompPolicy.Test, argument: Int) -> [Step] {
        let loadLow = Step.plain(.load(offset: SeccompInstruction.lowHalfOffset(argument)))
        let loadHigh = Step.plain(.load(offset: SeccompInstruction.highHalfOffset(argument)))
        switch test {
        case .equal(let value):
            return [
                loadHigh, .branch(.equal, value.high, yes: .next, no: .fails),
                loadLow, .branch(.equal, value.low, yes: .holds, no: .fails),
            ]
        case .notEqual(let value):
            return [
                loadHigh, .branch(.equal, value.high, yes: .next, no: .holds),
                loadLow, .branch(.equal, value.low, yes: .fails, no: .holds),
            ]
        case .greater(let value):
            return order(.greater, value, loadHigh, loadLow, whenTrue: .holds, whenFalse: .fails)
        case .greaterOrEqual(let value):
            return order(.greaterOrEqual, value, loadHigh, loadLow, whenTrue: .holds, whenFalse: .fails)
        case .less(let value):
            return order(.greaterOrEqual, value, loadHigh, loadLow, whenTrue: .fails, whenFalse: .holds)
        case .lessOrEqual(let value):
            return order(.greater, value, loadHigh, loadLow, whenTrue: .fails, whenFalse: .holds)
        case .masked(let mask, let value):
            return maskedHalf(loadHigh, mask.high, value.high) + maskedHalf(loadLow, mask.low, value.low)
        case .anyBit(let mask):
            return [
                loadHigh, .branch(.anyBit, mask.high, yes: .holds, no: .next),
                loadLow, .branch(.anyBit, mask.low, yes: .holds, no: .fails),
            ]
        }
    }

    /// The high halves decide unless they are equal.
    private static func order(
        _ comparison: SeccompInstruction.Comparison, _ value: UInt64, _ loadHigh: Step, _ loadLow: Step,
        whenTrue: Target, whenFalse: Target
    ) -> [Step] {
        [
            loadHigh,
            .branch(.greater, value.high, yes: whenTrue, no: .next),
            .branch(.equal, value.high, yes: .next, no: whenFalse),
            loadLow,
            .branch(comparison, value.low, yes: whenTrue, no: whenFalse),
        ]
    }

    private static func maskedHalf(_ load: Step, _ mask: UInt32, _ value: UInt32) -> [Step] {
        if mask == 0 { return [] }
        let compare = Step.branch(.equal, value, yes: .next, no: .fails)
        return mask == UInt32.max ? [load, compare] : [load, .plain(.mask(mask)), compare]
    }
}

extension UInt64 {
    fileprivate var high: UInt32 { UInt32(self >> 32) }
    fileprivate var low: UInt32 { UInt32(truncatingIfNeeded: self) }
}
