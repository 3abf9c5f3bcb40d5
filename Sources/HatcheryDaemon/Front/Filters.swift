import Glibc
import HatcheryProtocol
import HatcherySystem

/// The compiled seccomp filters of one profile, in sealed memfds that every child of the profile is given.
final class Filters {
    private let payloadFile: Descriptor
    private let initFile: Descriptor

    /// Whether the payload's filter is to be listened to, and whether a refusal ends the sandbox.
    let countsRefusals: Bool
    let refusalsAreFatal: Bool

    var payload: Int32 { payloadFile.raw }
    var initFilter: Int32 { initFile.raw }

    init(profile: ProfileConfiguration) throws {
        let policy = try profile.seccompPolicy()
        payloadFile = try SealedMemory.make(
            name: "seccomp-payload", bytes: try SeccompCompiler.compile(policy, onViolation: .listen).bytes)
        // The payload sends the listener by a call that its own policy must allow; a policy that does not is loaded without one.
        countsRefusals = policy.allows("sendmsg")
        refusalsAreFatal = profile.onViolation == .kill
        initFile = try SealedMemory.make(
            name: "seccomp-init", bytes: try SeccompCompiler.compile(SeccompPolicies.`init`).bytes)
    }
}
