import CHatchery
import Glibc

/// The names in a directory, one at a time and as the bytes that they are.
public final class DirectoryReader {
    private let stream: OpaquePointer
    /// The directory, to open entries below.
    public let raw: Int32

    /// - Parameter directory: open for reading; its offset moves.
    public init(_ directory: consuming Descriptor) throws(SystemError) {
        raw = directory.raw
        guard let stream = fdopendir(directory.raw) else { throw SystemError("fdopendir", errno: hatchery_errno()) }
        self.stream = stream
        _ = directory.release()
        // The descriptor may be shared with somebody who has read from it.
        rewinddir(stream)
    }

    deinit { closedir(stream) }

    /// The next name with its NUL, without `.` and `..`; nil at the end, or where the directory cannot be read further.
    public func next() -> [CChar]? {
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { pointer in
                    Array(UnsafeBufferPointer(start: pointer, count: strlen(pointer) + 1))
                }
            }
            if name != [0x2E, 0] && name != [0x2E, 0x2E, 0] { return name }
        }
        return nil
    }
}

/// Names of files for the eyes of a reader. A name may hold any byte but `/` and NUL.
public enum FileName {
    /// UTF-8 as it is; what is none, and what a terminal would take for a command, as `\xNN`.
    ///
    /// SECURITY: programs choose names, and whoever lists them reads them on a terminal. Test: oddNamesAreCopiedAndShownPlainly.
    public static func text(_ name: [CChar]) -> String {
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        var text = ""
        var index = 0
        while index < bytes.count {
            let longest = min(4, bytes.count - index)
            let character = (1...longest).lazy.compactMap { String(validating: bytes[index..<(index + $0)], as: UTF8.self) }.first
            if let character, let scalar = character.unicodeScalars.first, scalar.properties.generalCategory != .control {
                text += character
                index += character.utf8.count
            } else {
                text += escape(bytes[index])
                index += 1
            }
        }
        return text
    }

    private static func escape(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return "\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
    }
}
