import HatcheryProtocol
import Testing

@testable import HatcheryDaemon

/// What `hatchery policy` publishes is what the kernel is given.
@Suite struct PolicyListingTests {
    @Test(arguments: [false, true])
    func everyNumberHasOneEntryAndItsLastLineDecidesWhatIsLeft(_ isFatal: Bool) throws {
        let listing = PolicyListing(SeccompPolicies.default, isFatal: isFatal, architecture: .x86_64)
        let program = try SeccompCompiler.compile(
            SeccompPolicies.default, onViolation: isFatal ? .kill : .errno, architecture: .x86_64)
        let interpreter = SeccompInterpreter(program)
        let byNumber = Dictionary(grouping: listing.entries.filter { $0.number != nil }) { $0.number! }
        var checked = 0
        for number in UInt32(0)...600 {
            let verdict = try interpreter.run(SyscallEntry(number: number, architecture: SyscallEntry.x86_64)).verdict
            guard let entries = byNumber[number] else {
                #expect(verdict == 0x0005_0026, "\(number) has no name and is not ENOSYS")
                continue
            }
            #expect(entries.count == 1, "\(number)")
            let lines = entries[0].lines
            #expect(lines.last?.conditions == "")
            guard lines.count == 1 else { continue }
            checked += 1
            switch verdict {
            case 0x7fff_0000: #expect(lines[0].verdict.hasPrefix("allowed"))
            case 0x8000_0000: #expect(lines[0].verdict == "the run ends: syscall_denied")
            default:
                let errno = ErrnoNames.name(Int32(verdict & 0xffff))
                #expect(verdict >> 16 == 5 && lines[0].verdict.hasPrefix(errno), "\(number): \(verdict) \(lines[0].verdict)")
            }
        }
        #expect(checked > 300)
    }

    @Test func oneCallIsShownWithItsConditionsAndAWrongNameHasASuggestion() throws {
        let text = try PolicyListing.of(profile: "default", in: Configuration(), syscall: "prlimit64").text
        #expect(text.contains("allowed"))
        #expect(text.contains("where low32(arg0) == 0"))
        #expect(text.contains("EPERM, and counted"))
        #expect(throws: ConfigurationError.self) {
            try PolicyListing.of(profile: "default", in: Configuration(), syscall: "prlimit46")
        }
        #expect(throws: ConfigurationError.self) { try PolicyListing.of(profile: "defualt", in: Configuration(), syscall: nil) }
    }
}
