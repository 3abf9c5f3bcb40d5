@testable import HatcheryDaemon
import Glibc
import Testing

@Suite struct ProcessMemoryTests {
    @Test func theKernelsTextIsRead() {
        let memory = ProcessMemory(status: "Name:\tpython3\nVmPTE:\t     244 kB\nRssAnon:\t   42584 kB\nRssFile:\t 1 kB\n")
        #expect(memory.pageTableBytes == 244 * 1024)
        #expect(memory.anonymousBytes == 42584 * 1024)
    }

    @Test func aProcessThatIsGoneHasNothing() {
        #expect(ProcessMemory(pid: 0).pageTableBytes == 0)
    }

    @Test func theOwnProcessHasPageTables() {
        #expect(ProcessMemory(pid: getpid()).pageTableBytes > 0)
    }
}
