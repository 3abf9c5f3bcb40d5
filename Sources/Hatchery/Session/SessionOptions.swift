/// The options of a session: the sandbox, and how much of its output is held.
///
/// The sandbox's options are at hand as well: `options.time` is `options.sandbox.time`.
@dynamicMemberLookup
public struct SessionOptions: Sendable, Hashable {
    public var sandbox = SandboxOptions()
    /// Bytes of one line that are kept, the last ones; also about what is read ahead of each stream.
    public var lineLimit = 1 << 20

    /// - Parameter time: the wall clock limit of the whole session; nil takes the profile's.
    public init(time: Duration? = nil) { sandbox.time = time }

    public subscript<Value>(dynamicMember keyPath: WritableKeyPath<SandboxOptions, Value>) -> Value {
        get { sandbox[keyPath: keyPath] }
        set { sandbox[keyPath: keyPath] = newValue }
    }
}
