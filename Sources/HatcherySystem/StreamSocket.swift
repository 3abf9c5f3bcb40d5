import CHatchery
import Glibc

/// Listening stream sockets of this machine alone.
public enum StreamSocket {
    /// At a path. The caller has made sure that nothing is there.
    /// - Parameter mode: the permission bits of the socket's file.
    public static func listen(path: String, mode: UInt32, backlog: Int32 = 64) throws(SystemError) -> Descriptor {
        guard let address = UnixAddress(path: path) else { throw SystemError("bind", errno: ENAMETOOLONG, subject: path) }
        let socket = try make(AF_UNIX)
        // The mode must hold from the first moment, so it comes by umask and not by a later chmod.
        let previous = umask(mode_t(0o777 & ~mode))
        let result = address.withPointer { bind(socket.raw, $0, $1) }
        let saved = hatchery_errno()
        umask(previous)
        if result < 0 { throw SystemError("bind", errno: saved, subject: path) }
        try checkErrno(Glibc.listen(socket.raw, backlog), "listen", path)
        return socket
    }

    /// At a port of the loopback interface, of IPv4 or IPv6.
    public static func listen(loopbackPort port: UInt16, isIPv6: Bool, backlog: Int32 = 64) throws(SystemError) -> Descriptor {
        let socket = try make(isIPv6 ? AF_INET6 : AF_INET)
        var one: Int32 = 1
        setsockopt(socket.raw, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var storage = sockaddr_storage()
        let length = withUnsafeMutablePointer(to: &storage) { pointer -> Int in
            if isIPv6 {
                return pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    $0.pointee.sin6_family = sa_family_t(AF_INET6)
                    $0.pointee.sin6_port = port.bigEndian
                    $0.pointee.sin6_addr = in6addr_loopback
                    return MemoryLayout<sockaddr_in6>.size
                }
            }
            return pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                $0.pointee.sin_family = sa_family_t(AF_INET)
                $0.pointee.sin_port = port.bigEndian
                $0.pointee.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
                return MemoryLayout<sockaddr_in>.size
            }
        }
        let result = withUnsafePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket.raw, $0, socklen_t(length)) }
        }
        try checkErrno(result, "bind", "port \(port)")
        try checkErrno(Glibc.listen(socket.raw, backlog), "listen", "port \(port)")
        return socket
    }

    private static func make(_ family: Int32) throws(SystemError) -> Descriptor {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        return Descriptor(owning: try checkErrno(socket(family, kind, 0), "socket"))
    }
}
