import CHatchery
import Glibc
import HatcheryProtocol

/// The frozen heap: the last thing a zygote does before it serves. Sources/CHatchery/freeze.c does the work.
enum HeapFreezer {
    /// Freezes the heap where that is wanted, and tells the front that the zygote is ready and what came of it.
    ///
    /// The message is put together without an allocation: its memory would be a page of the frozen heap, written again, and
    /// so copied into every child.
    static func sayReady(_ socket: Int32, threads: UInt32, freeze: Bool) {
        var result = hatchery_freeze_result()
        withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) { buffer in
            // Once for practice: at the first call of anything generic the Swift runtime writes down its types.
            _ = write(result, threads, into: buffer)
            if freeze { _ = hatchery_freeze_heap(&result) }
            let length = write(result, threads, into: buffer)
            _ = hatchery_send_message(socket, buffer.baseAddress, length, nil, 0, 0)
        }
    }

    private static func write(
        _ result: hatchery_freeze_result, _ threads: UInt32, into buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        withUnsafeBytes(of: result.note) { room in
            let length = strnlen(room.baseAddress!.assumingMemoryBound(to: CChar.self), room.count)
            return ZygoteMessage.writeReady(
                threads: threads, frozenBytes: result.bytes, mappings: result.mappings,
                note: UnsafeRawBufferPointer(start: room.baseAddress, count: length), into: buffer)
        }
    }
}
