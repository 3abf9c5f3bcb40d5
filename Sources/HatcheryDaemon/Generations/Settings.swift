import HatcheryProtocol

/// A configuration with what was made of it. What began under one set of settings (a request, a parked child, a zygote) holds
/// on to it, so that a reload in the middle changes nothing for it.
final class Settings {
    let configuration: Configuration
    let admission: Admission
    let rules: PeerRules
    private let filters: [String: Filters]

    /// Compiles the seccomp policies of every profile, and looks up the users that the rules name.
    init(_ configuration: Configuration) throws {
        self.configuration = configuration
        admission = Admission(configuration: configuration)
        rules = try PeerRules(configuration.rules)
        filters = try configuration.profiles.mapValues { try Filters(profile: $0) }
    }

    /// - Parameter profile: one that this configuration has; admission has seen to that.
    func filters(for profile: String) -> Filters { filters[profile]! }
}
