import Foundation

/// What of an ELF file the dynamic linker looks at first: the libraries that it needs, and where it says they are (elf(5)).
/// Read and not run: with ldd, the file would run with the front's rights.
struct ELFImage {
    private(set) var needed: [String] = []
    /// DT_RUNPATH, or the older DT_RPATH; may begin with $ORIGIN.
    private(set) var searchPath: [String] = []

    /// nil where this is no 64-bit little-endian ELF file. One that is linked statically needs nothing.
    init?(_ data: Data) {
        func integer<Value: FixedWidthInteger>(_ offset: UInt64, _: Value.Type) -> Value? {
            let size = UInt64(MemoryLayout<Value>.size)
            guard offset <= UInt64(data.count), size <= UInt64(data.count) - offset else { return nil }
            return data.withUnsafeBytes {
                Value(littleEndian: $0.loadUnaligned(fromByteOffset: Int(offset), as: Value.self))
            }
        }
        guard data.prefix(6).elementsEqual([0x7F, 0x45, 0x4C, 0x46, 2, 1]),
            let table = integer(32, UInt64.self), let count = integer(56, UInt16.self)
        else { return nil }
        var segments: [(offset: UInt64, address: UInt64, size: UInt64)] = []
        var dynamic: (offset: UInt64, size: UInt64)?
        for index in 0..<UInt64(count) {
            let (entry, overflow) = table.addingReportingOverflow(index * 56)
            guard !overflow, let kind = integer(entry, UInt32.self), let offset = integer(entry &+ 8, UInt64.self),
                let address = integer(entry &+ 16, UInt64.self), let size = integer(entry &+ 32, UInt64.self)
            else { return nil }
            if kind == 1 { segments.append((offset, address, size)) }
            if kind == 2 { dynamic = (offset, size) }
        }
        guard let dynamic else { return }
        var names: [UInt64] = []
        var paths: [(tag: Int64, offset: UInt64)] = []
        var strings: UInt64?
        for index in 0..<min(dynamic.size / 16, 4096) {
            let (entry, overflow) = dynamic.offset.addingReportingOverflow(index * 16)
            guard !overflow, let tag = integer(entry, Int64.self), let value = integer(entry &+ 8, UInt64.self), tag != 0 else { break }
            switch tag {
            case 1: names.append(value)
            case 5:
                // An address; the file has it at another place.
                strings = segments.first { value >= $0.address && value - $0.address < $0.size }.map { value - $0.address &+ $0.offset }
            case 15, 29: paths.append((tag, value))
            default: break
            }
        }
        guard let strings else { return }
        func text(_ offset: UInt64) -> String? {
            let (start, overflow) = strings.addingReportingOverflow(offset)
            guard !overflow, start < UInt64(data.count) else { return nil }
            let bytes = data[data.startIndex.advanced(by: Int(start))...].prefix(4096).prefix { $0 != 0 }
            return String(decoding: bytes, as: UTF8.self)
        }
        needed = names.compactMap(text)
        // Where there is a RUNPATH, an RPATH does not count (ld.so(8)).
        let path = paths.first { $0.tag == 29 } ?? paths.first
        searchPath = path.flatMap { text($0.offset) }?.split(separator: ":").map(String.init) ?? []
    }
}

/// The directories outside of the usual tree in which a program's libraries lie.
enum LibraryDirectories {
    static func of(_ program: String) -> [String] {
        var directories: [String] = []
        var pending = [program]
        var seen: Set<String> = []
        while let file = pending.popLast() {
            guard seen.insert(file).inserted, seen.count < 512,
                let data = try? Data(contentsOf: URL(fileURLWithPath: file), options: .mappedIfSafe), let image = ELFImage(data)
            else { continue }
            let origin = (file as NSString).deletingLastPathComponent
            let places = image.searchPath.map {
                ($0.replacingOccurrences(of: "${ORIGIN}", with: origin).replacingOccurrences(of: "$ORIGIN", with: origin)
                    as NSString).standardizingPath
            }
            for name in image.needed {
                guard let place = places.first(where: { FileManager.default.fileExists(atPath: $0 + "/" + name) }) else { continue }
                pending.append(place + "/" + name)
                if !RootTree.isBelow(place, "/usr"), !directories.contains(place) { directories.append(place) }
            }
        }
        return directories
    }
}
