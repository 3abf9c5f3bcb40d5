@testable import HatcheryDaemon
import Glibc
import HatcheryProtocol
import Testing

@Suite struct SandboxCgroupTests {
    @Test func onlyCgroupsOfDaemonsAreLeftovers() {
        #expect(CgroupTree.isOurs("hatchery-4711-b6ff") && CgroupTree.isOurs("hatchery-1-0"))
        for name in ["hatchery-batch", "hatchery-soak-5417ff35", "hatchery-4711", "hatchery-4711-b6ff-x", "other-1-a"] {
            #expect(!CgroupTree.isOurs(name), "\(name)")
        }
    }

    /// The kernel takes quotas from 1 ms and periods up to 1 s.
    @Test(arguments: [
        (1000, "100000 100000"), (500, "50000 100000"), (10, "1000 100000"), (9, "9000 1000000"), (1, "1000 1000000"),
        (1500, "150000 100000"), (2000, "max 100000"), (64_000, "max 100000"),
    ] as [(UInt64, String)])
    func aShareOfProcessorsIsAQuotaThatTheKernelTakes(_ milliCPUs: UInt64, _ text: String) {
        #expect(SandboxCgroup.quota(milliCPUs, processors: 2) == text)
    }

    @Test func memoryIsTheVerdictUnlessTheProgramEndedByItself() {
        func verdict(_ prepare: (inout SandboxState) -> Void) -> Verdict {
            var state = SandboxState()
            prepare(&state)
            state.ranOutOfMemory()
            return state.verdict(id: "", cpuLimitNanoseconds: 1, usage: rusage()).verdict
        }
        #expect(verdict { _ in } == .memoryLimit)
        #expect(verdict { $0.payloadEnded(.signaled(signal: SIGKILL)) } == .memoryLimit)
        #expect(verdict { $0.payloadEnded(.exited(code: 0)) } == .exited)
        #expect(verdict { $0.payloadEnded(.signaled(signal: SIGTERM)) } == .signaled)
        #expect(verdict { $0.ending(because: .timedOut) } == .timedOut)
    }
}
