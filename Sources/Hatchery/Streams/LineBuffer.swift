import Glibc

/// Bytes of one stream on their way to becoming lines. A value: bytes in, lines out, no input or output inside.
///
/// Memory stays near `limit` plus what one read brings, as long as the owner stops reading while `count` is at the limit and
/// a line is there, or lets go of the oldest bytes with `dropOldest`.
struct LineBuffer: Sendable {
    struct Cut: Hashable {
        var bytes: [UInt8]
        var droppedBytes: UInt64
        var isTerminated: Bool
    }

    /// Bytes of one line that are kept: the last ones.
    let limit: Int
    private var storage: [UInt8] = []
    private var head = 0
    /// No newline stands between `head` and here.
    private var scanned = 0
    private var dropped: UInt64 = 0

    init(limit: Int) { self.limit = max(0, limit) }

    var count: Int { storage.count - head }

    mutating func append(_ bytes: UnsafeRawBufferPointer) { storage.append(contentsOf: bytes) }

    mutating func hasLine() -> Bool { newline() != nil }

    /// The next finished line; nil where there is none. What is there then of a line that is too long is cut to its end.
    mutating func takeLine() -> Cut? {
        guard let end = newline() else {
            dropOldest()
            return nil
        }
        return cut(at: end, isTerminated: true)
    }

    /// What is left at the end of the stream, once.
    mutating func takeRest() -> Cut? {
        count > 0 || dropped > 0 ? cut(at: storage.count, isTerminated: false) : nil
    }

    /// Everything that is there, whether or not it makes a line; nil where nothing is.
    mutating func takeBytes() -> [UInt8]? {
        guard count > 0 else { return nil }
        let bytes = Array(storage[head...])
        skip(to: storage.count)
        return bytes
    }

    /// Lets go of all but the last `limit` bytes, and counts the rest as missing from the line that then comes first.
    mutating func dropOldest() {
        guard count > limit else { return }
        let start = storage.count - limit
        dropped += UInt64(start - head)
        skip(to: start)
    }

    private mutating func newline() -> Int? {
        let found = storage.withUnsafeBytes { bytes -> Int? in
            guard scanned < bytes.count, let base = bytes.baseAddress,
                let place = memchr(base + scanned, 0x0A, bytes.count - scanned)
            else { return nil }
            return UnsafeRawPointer(place) - base
        }
        scanned = found ?? storage.count
        return found
    }

    private mutating func cut(at end: Int, isTerminated: Bool) -> Cut {
        let start = max(head, end - limit)
        let cut = Cut(
            bytes: Array(storage[start..<end]), droppedBytes: dropped + UInt64(start - head),
            isTerminated: isTerminated)
        dropped = 0
        skip(to: isTerminated ? end + 1 : end)
        return cut
    }

    private mutating func skip(to index: Int) {
        head = index
        scanned = max(scanned, head)
        // Moved now and then, not at every line: each byte is moved once on average.
        if head == storage.count {
            storage.removeAll(keepingCapacity: storage.capacity <= 1 << 20)
            (head, scanned) = (0, 0)
        } else if head > 65_536 && head > count {
            storage.removeFirst(head)
            scanned -= head
            head = 0
        }
    }
}
