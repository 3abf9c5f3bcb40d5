import CHatchery
import Glibc
import HatcherySystem
import Testing

@Suite struct SealedMemoryTests {
    @Test(arguments: [0, 1, 4096, 100_000])
    func whatWasWrittenIsRead(size: Int) throws {
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        let memory = try SealedMemory.make(name: "test", bytes: bytes)
        #expect(SealedMemory.sealedSize(memory.raw) == size)
        #expect(try readAll(memory.raw, limit: 1 << 20) == bytes)
        let mapped: [UInt8]? = SealedMemory.withBytes(memory.raw, size: size) { Array($0) }
        #expect(mapped == bytes)
    }

    @Test func sealedMemoryCannotBeChanged() throws {
        let memory = try SealedMemory.make(name: "test", bytes: [1, 2, 3])
        #expect(write(memory.raw, [9], 1) == -1)
        #expect(ftruncate(memory.raw, 0) == -1)
        #expect(ftruncate(memory.raw, 9) == -1)
        #expect(mmap(nil, 3, PROT_READ | PROT_WRITE, MAP_SHARED, memory.raw, 0) == hatchery_map_failed())
        // F_SEAL_FUTURE_WRITE: no further seals either.
        #expect(hatchery_fcntl(memory.raw, Int32(hatchery_f_add_seals), 0x10) == -EPERM)
        #expect(try readAll(memory.raw, limit: 9) == [1, 2, 3])
    }

    @Test func whatIsNotWhollySealedIsRefused() throws {
        let complete = hatchery_all_seals
        for seals in 0..<complete {
            let memory = try Marker().make()
            try writeAll(memory.raw, [1])
            #expect(hatchery_fcntl(memory.raw, Int32(hatchery_f_add_seals), seals) >= 0)
            #expect(SealedMemory.sealedSize(memory.raw) == nil, "seals \(seals)")
        }
        // The twin: the same memory with all of them.
        let memory = try Marker().make()
        try SealedMemory.seal(memory)
        #expect(SealedMemory.sealedSize(memory.raw) == 0)
    }

    @Test func whatIsNoMemoryIsRefused() throws {
        let pipe = try Pipe()
        #expect(SealedMemory.sealedSize(pipe.readEnd.raw) == nil)
        #expect(SealedMemory.sealedSize(try Files.open("/proc/self/exe", flags: O_RDONLY).raw) == nil)
        #expect(SealedMemory.sealedSize(-1) == nil)
        // A memfd made without MFD_ALLOW_SEALING has F_SEAL_SEAL alone.
        #expect(SealedMemory.sealedSize(try Marker().make(flags: 1).raw) == nil)
    }
}
