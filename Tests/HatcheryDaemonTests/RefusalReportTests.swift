@testable import HatcheryDaemon
import Glibc
import HatcheryProtocol
import Testing

/// What the front makes of the init's words about refused calls.
@Suite struct RefusalReportTests {
    private func report(_ prepare: (inout SandboxState) -> Void) -> Ended {
        var state = SandboxState()
        prepare(&state)
        return state.verdict(id: "", cpuLimitNanoseconds: 1, usage: rusage())
    }

    private func number(_ name: String) -> UInt16 { UInt16(SeccompNames.number(of: name, on: .native)!) }

    @Test func theLastWordCountsAndCallsAreSorted() {
        let report = report {
            $0.refused(syscall: number("unshare"), count: 1, isFatal: false)
            $0.refused(syscall: number("mount"), count: 1, isFatal: false)
            $0.refused(syscall: number("mount"), count: 7, isFatal: false)
            $0.refused(syscall: 999, count: 2, isFatal: false)
            $0.payloadEnded(.exited(code: 0))
        }
        #expect(report.violations.map(\.syscall) == ["999", "mount", "unshare"])
        #expect(report.violations.map(\.count) == [2, 7, 1])
        #expect(report.verdict == .exited)
    }

    @Test func aRehearsalsAreTakenOff() {
        let report = report {
            $0.refused(syscall: number("mount"), count: 3, isFatal: false)
            $0.refused(syscall: number("reboot"), count: 2, isFatal: false)
            $0.rehearsed()
            $0.refused(syscall: number("mount"), count: 4, isFatal: false)
        }
        #expect(report.violations == [.init(syscall: "mount", count: 1)])
    }

    @Test func aFatalOneIsTheVerdictUnlessAnotherCauseCameFirst() {
        let fatal = report { $0.refused(syscall: number("mount"), count: 1, isFatal: true) }
        #expect(fatal.verdict == .syscallDenied)
        #expect(fatal.signal == SIGSYS)
        let late = report {
            $0.ending(because: .timedOut)
            $0.refused(syscall: number("mount"), count: 1, isFatal: true)
        }
        #expect(late.verdict == .timedOut)
    }

    @Test func aSignalOfItsOwnIsNoDeniedCall() {
        #expect(report { $0.payloadEnded(.signaled(signal: SIGSYS)) }.verdict == .syscallDenied)
        let own = report {
            $0.sentBadSystemCallSignal()
            $0.payloadEnded(.signaled(signal: SIGSYS))
        }
        #expect(own.verdict == .signaled)
    }

    @Test func everyNumberOfThePolicyHasItsName() {
        for rule in SeccompPolicies.default.rules {
            guard let number = SeccompNames.number(of: rule.syscall, on: .native) else { continue }
            #expect(SeccompNames.number(of: SeccompNames.name(of: number), on: .native) == number)
        }
    }
}
