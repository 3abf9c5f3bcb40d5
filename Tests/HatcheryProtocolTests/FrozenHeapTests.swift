import HatcheryProtocol
import Testing

@Suite struct FrozenHeapTests {
    @Test(arguments: [
        FrozenHeap(), FrozenHeap(bytes: 1 << 40, mappings: 250), FrozenHeap(note: "not frozen: memfd: ENOSPC"),
        FrozenHeap(bytes: 4096, mappings: 1, note: String(repeating: "ü", count: 150)),
    ])
    func readyCarriesTheHeap(heap: FrozenHeap) throws {
        let message = ZygoteMessage.ready(threads: 1, heap: heap)
        #expect(try ZygoteMessage(decoding: message.encoded()) == message)
    }

    @Test func readyWithoutAHeapIsReadyStill() throws {
        var writer = FieldWriter()
        writer.append(tag: 2, integer: UInt32(1))
        #expect(try ZygoteMessage(decoding: writer.bytes) == .ready(threads: 1))
    }

    @Test func aNoteThatDoesNotFitIsLeftOut() throws {
        let note = [UInt8](repeating: 0x61, count: 100)
        let bytes = [UInt8](unsafeUninitializedCapacity: 128) { buffer, count in
            count = note.withUnsafeBytes {
                ZygoteMessage.writeReady(
                    threads: 1, frozenBytes: 2, mappings: 3, note: $0, into: UnsafeMutableRawBufferPointer(buffer))
            }
        }
        #expect(try ZygoteMessage(decoding: bytes) == .ready(threads: 1, heap: FrozenHeap(bytes: 2, mappings: 3)))
    }

    @Test func theListingCarriesWhatACloneCopies() throws {
        var listing = ZygoteListing(name: "python", kind: "python", state: .ready, generation: 3, pid: 77)
        listing.heap = FrozenHeap(bytes: 44_000_000, mappings: 241, note: "256 KiB left out")
        listing.pageTableBytes = 237_568
        listing.anonymousBytes = 36_864
        var writer = FieldWriter()
        listing.encode(into: &writer)
        let decoded = try FieldReader.reading(writer.bytes) { reader throws(FieldError) in try ZygoteListing(decoding: reader) }
        #expect(decoded == listing)
    }
}
