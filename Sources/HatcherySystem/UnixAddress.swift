import CHatchery
import Glibc

/// Where a Unix socket is: a path, or a name of the abstract namespace, unix(7).
struct UnixAddress {
    private var address = sockaddr_un()
    private var length: socklen_t
    private static let room = MemoryLayout.size(ofValue: sockaddr_un().sun_path)

    /// - Returns: nil where the path does not fit `sun_path` with its NUL.
    init?(path: String) {
        let bytes = Array(path.utf8)
        guard bytes.count < UnixAddress.room else { return nil }
        self.init(bytes, length: MemoryLayout<sockaddr_un>.size)
    }

    /// - Parameter name: without the NUL in front. An abstract name is as long as its bytes, so the length is exact.
    init?(abstract name: String) {
        let bytes = [0] + Array(name.utf8)
        guard bytes.count > 1, bytes.count <= UnixAddress.room else { return nil }
        self.init(bytes, length: MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + bytes.count)
    }

    private init(_ bytes: [UInt8], length: Int) {
        self.length = socklen_t(length)
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    }

    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}

/// Datagrams to a service of this machine: the service manager, the journal.
public enum DatagramSocket {
    /// A connected, nonblocking socket. What is sent with `MessageSocket.send` is whole or not there.
    /// - Parameter address: an absolute path, or `@` and an abstract name, as `NOTIFY_SOCKET` has it.
    public static func connect(_ address: String) throws(SystemError) -> Descriptor {
        let place = address.hasPrefix("@") ? UnixAddress(abstract: String(address.dropFirst())) : UnixAddress(path: address)
        guard let place else { throw SystemError("connect", errno: ENAMETOOLONG, subject: address) }
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let socket = Descriptor(owning: try checkErrno(Glibc.socket(AF_UNIX, kind, 0), "socket"))
        try checkErrno(place.withPointer { Glibc.connect(socket.raw, $0, $1) }, "connect", address)
        return socket
    }
}
