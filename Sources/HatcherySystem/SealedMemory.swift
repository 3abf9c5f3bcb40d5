import CHatchery
import Glibc

/// memfds that nobody can change any more: what was checked is what is read.
public enum SealedMemory {
    /// A sealed memfd with these bytes; the file offset stands at the start.
    public static func make(name: String, bytes: [UInt8]) throws(SystemError) -> Descriptor {
        let descriptor = Descriptor(
            owning: try check(hatchery_memfd_create(name, hatchery_mfd_flags), "memfd_create"))
        try writeAll(descriptor.raw, bytes)
        try seal(descriptor)
        _ = lseek(descriptor.raw, 0, SEEK_SET)
        return descriptor
    }

    public static func seal(_ descriptor: borrowing Descriptor) throws(SystemError) {
        try check(
            hatchery_fcntl(descriptor.raw, Int32(hatchery_f_add_seals), hatchery_all_seals), "fcntl(F_ADD_SEALS)")
    }

    /// Whether a descriptor from somebody else is a memfd with every seal and no hole, and how many bytes it holds.
    ///
    /// SECURITY: the kernel fills a hole when it is read, from the memory of whoever reads, and it stays with whoever holds the
    /// file. Test: wrongDescriptorsAreAnswered.
    /// - Returns: nil where it is not.
    public static func sealedSize(_ raw: Int32) -> Int? {
        let seals = hatchery_fcntl(raw, Int32(hatchery_f_get_seals), 0)
        guard seals >= 0, Int(seals) & hatchery_all_seals == hatchery_all_seals else { return nil }
        var status = stat()
        guard fstat(raw, &status) == 0, Int(status.st_blocks) * 512 >= Int(status.st_size) else { return nil }
        return Int(status.st_size)
    }

    /// Maps the whole of a sealed memfd for the time of `body`. A sealed file cannot shrink, so no access can fault.
    public static func withBytes<Result, Failure: Error>(
        _ raw: Int32, size: Int, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        if size == 0 { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
        guard let address = mmap(nil, size, PROT_READ, MAP_PRIVATE, raw, 0), address != hatchery_map_failed() else {
            return nil
        }
        defer { munmap(address, size) }
        return try body(UnsafeRawBufferPointer(start: address, count: size))
    }
}

/// Writes all bytes to a blocking descriptor.
public func writeAll(_ raw: Int32, _ bytes: some RandomAccessCollection<UInt8>) throws(SystemError) {
    var remaining = Array(bytes)[...]
    while !remaining.isEmpty {
        let written = remaining.withUnsafeBytes { write(raw, $0.baseAddress, $0.count) }
        if written < 0 {
            let saved = hatchery_errno()
            if saved == EINTR { continue }
            throw SystemError("write", errno: saved)
        }
        remaining = remaining.dropFirst(written)
    }
}

/// Reads to the end of a blocking descriptor, at most `limit` bytes.
public func readAll(_ raw: Int32, limit: Int) throws(SystemError) -> [UInt8] {
    var collected: [UInt8] = []
    while collected.count < limit {
        let room = min(65536, limit - collected.count)
        var count = 0
        let chunk = [UInt8](unsafeUninitializedCapacity: room) { buffer, initialized in
            count = read(raw, buffer.baseAddress, room)
            initialized = max(0, count)
        }
        if count < 0 {
            let saved = hatchery_errno()
            if saved == EINTR { continue }
            throw SystemError("read", errno: saved)
        }
        if count == 0 { break }
        collected += chunk
    }
    return collected
}
