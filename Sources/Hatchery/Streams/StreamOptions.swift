/// The options of a stream of lines or bytes: the sandbox, what goes in, and how much is held.
///
/// The sandbox's options are at hand as well: `options.time` is `options.sandbox.time`.
@dynamicMemberLookup
public struct StreamOptions: Sendable, Hashable {
    public var sandbox = SandboxOptions()
    /// What the program reads on its stdin. A descriptor is borrowed until the program has ended.
    public var stdin = RunOptions.Input.none
    /// Bytes of one line that are kept, the last ones; also about what is read ahead of each stream.
    public var lineLimit = 1 << 20

    /// - Parameter time: the wall clock limit; nil takes the profile's.
    public init(time: Duration? = nil) { sandbox.time = time }

    public subscript<Value>(dynamicMember keyPath: WritableKeyPath<SandboxOptions, Value>) -> Value {
        get { sandbox[keyPath: keyPath] }
        set { sandbox[keyPath: keyPath] = newValue }
    }
}
