import HatcheryProtocol

/// The lines of a program's stdout and stderr, as they come: made by `HatcheryClient.lines`.
public typealias OutputLines = OutputSequence<OutputLine>

/// The bytes of a program's stdout and stderr, as they come: made by `HatcheryClient.bytes`.
public typealias OutputBytes = OutputSequence<OutputChunk>

/// What a program writes to stdout and stderr, as it comes.
///
/// The sequence ends when both streams are at their ends and the program has ended, so also at a limit; `wait` then tells how.
/// It can be iterated once. Breaking off early (dropping the iterator), cancelling the task that iterates, and dropping the
/// sequence kill everything in the sandbox. Between the two streams no order is promised.
public struct OutputSequence<Element: Sendable>: AsyncSequence, Sendable {
    public typealias Failure = HatcheryError

    private let source: OutputSource
    private let make: @Sendable (OutputLine) -> Element

    init(_ source: OutputSource, _ make: @escaping @Sendable (OutputLine) -> Element) {
        self.source = source
        self.make = make
    }

    /// Identity, receipt, time of the spawn, and the limits in force.
    public var spawned: Spawned { source.child.spawned }

    /// Waits until the program has ended and the whole sandbox is gone; see `Child.wait`. Meant for after the last element: a
    /// program whose output nobody takes waits at its pipe.
    ///
    /// - Throws: `.lost` where the daemon is gone, so that nothing is known.
    public func wait() async throws(HatcheryError) -> Ended { try await source.child.wait() }

    /// Ends the whole sandbox (verdict `cancelled`), or sends another signal to the program itself. Does not wait.
    public func kill(signal: Int32 = 9) async throws(HatcheryError) { try await source.child.kill(signal: signal) }

    public func makeAsyncIterator() -> Iterator { Iterator(lease: source.lease(), make: make) }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let lease: OutputSource.Lease?
        fileprivate let make: @Sendable (OutputLine) -> Element

        /// - Throws: `.cancelled` where the task was cancelled, which kills; `.lost` where the daemon is gone; `.invalidRequest`
        ///   for a second iteration.
        public mutating func next(
            isolation actor: isolated (any Actor)? = #isolation
        ) async throws(HatcheryError) -> Element? {
            guard let lease else {
                throw HatcheryError(
                    .invalidRequest, side: .client, detail: "this sequence was iterated before",
                    hint: "collect what is needed twice, or run the program again")
            }
            return try await lease.next().map(make)
        }
    }
}
