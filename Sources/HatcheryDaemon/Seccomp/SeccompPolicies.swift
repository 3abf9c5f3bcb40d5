/// The policies that are part of Hatchery. Their texts are built into the program, so that neither a missing file nor a
/// sandbox that could write to one (firejail's old bug) changes what is loaded.
public enum SeccompPolicies {
    /// For payloads.
    public static let defaultText = String(decoding: PackageResources.default_policy, as: UTF8.self)
    /// For the init inside a sandbox, once it is sealed.
    public static let initText = String(decoding: PackageResources.init_policy, as: UTF8.self)

    public static let `default` = builtin(defaultText, file: "seccomp/default.policy")
    public static let `init` = builtin(initText, file: "seccomp/init.policy")

    private static func builtin(_ text: String, file: String) -> SeccompPolicy {
        // A fault here is our own bug, and a test reads both texts: there is no way to go on without a policy.
        do { return try SeccompPolicy(text: text, file: file) } catch { fatalError("built-in policy: \(error)") }
    }
}
