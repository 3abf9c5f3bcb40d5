import Glibc

/// journald's native protocol: a datagram of fields; one that is too large travels in a sealed memfd.
/// (systemd, "Native Journal Protocol", JOURNAL_NATIVE_PROTOCOL.)
public enum JournalSocket {
    public static let path = "/run/systemd/journal/socket"

    /// - Parameter fields: names of A-Z, 0-9 and `_` that do not begin with `_` or a digit; journald drops others.
    public static func encode(_ fields: [(name: String, value: String)]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, value) in fields {
            let text = Array(value.utf8)
            if text.contains(UInt8(ascii: "\n")) {
                // SECURITY: length first, so that what stands in a value is never read as another field. Test:
                // aValueOfSeveralLinesAddsNoField.
                bytes += Array(name.utf8) + [UInt8(ascii: "\n")]
                withUnsafeBytes(of: UInt64(text.count).littleEndian) { bytes.append(contentsOf: $0) }
            } else {
                bytes += Array(name.utf8) + [UInt8(ascii: "=")]
            }
            bytes += text + [UInt8(ascii: "\n")]
        }
        return bytes
    }

    /// - Parameter socket: of `DatagramSocket.connect`.
    /// - Returns: false where the journal's queue is full.
    public static func send(_ bytes: [UInt8], to socket: Int32) throws(SystemError) -> Bool {
        do throws(SystemError) {
            return try MessageSocket.send(socket, bytes, dontWait: true)
        } catch {
            guard error.errno == EMSGSIZE || error.errno == ENOBUFS else { throw error }
            let memory = try SealedMemory.make(name: "hatchery-journal", bytes: bytes)
            return try MessageSocket.send(socket, [], descriptors: [memory.raw], dontWait: true)
        }
    }
}
