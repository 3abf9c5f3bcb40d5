/// The outer user and group ids that a daemon started by root gives to sandboxes, so that no two of them share one.
///
/// The default lies above the ids that systemd hands to containers (524,288 to 1,879,048,191).
public struct IDRangeConfiguration: Sendable, Equatable {
    /// The first id.
    public var base: UInt32 = 1_879_048_192
    /// How many.
    public var count: UInt32 = 65_536

    public init() {}

    /// The ids as a range.
    public var range: Range<UInt32> { base..<base + count }

    // SECURITY: below 65,536 live root, the host's users, nobody (65534) and the 16-bit "no id" (65535): a sandbox with one of
    // these would own what they own. Above 2^31 - 1 some file systems and tools read an id as negative, and 2^32 - 1 means
    // "leave unchanged" to chown and setresuid. Test: idsThatBelongToOthersAreRefused.
    static let lowestBase: UInt32 = 65_536
    static let highestID: UInt32 = 2_147_483_647

    /// The first ids of the range are the zygotes' own, and a sandbox takes two, for its init and its payload: with fewer there
    /// would be a daemon without sandboxes. Test: aRangeTooSmallForSandboxesIsRefused.
    static let lowestCount: UInt32 = 64

    static let schema = Schema<IDRangeConfiguration>([
        .value("base", \.base, .number(lowestBase...highestID), "First outer user and group id that sandboxes get, as root"),
        .value("count", \.count, .number(lowestCount...highestID), "Number of such ids, at least 64; a sandbox takes two"),
    ]) { ids, section throws(ConfigurationError) in
        guard UInt64(ids.base) + UInt64(ids.count) - 1 <= UInt64(highestID) else {
            throw section.error(
                section.has("count") ? "count" : "base",
                "the ids \(ids.base) to \(UInt64(ids.base) + UInt64(ids.count) - 1) go beyond \(highestID)")
        }
    }
}
