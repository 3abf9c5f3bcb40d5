import Glibc

/// A TCP socket with bytes that its peer does not take and a linger time of some minutes: the last close(2) of it waits so long.
public final class LingeringSocket {
    public private(set) var raw: Int32
    /// What /proc/PID/fd shows for a copy of it.
    public let link: String
    private let peer: Int32

    public init() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var small = Int32(4096)
        setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        let connection = raw
        let isConnected = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, length) == 0 && listen(listener, 1) == 0
                    && getsockname(listener, address, &length) == 0 && connect(connection, address, length) == 0
            }
        }
        peer = accept(listener, nil, nil)
        guard isConnected, peer >= 0 else { throw TestDaemon.Refused(description: "no TCP connection: \(String(cString: strerror(errno)))") }
        var time = linger(l_onoff: 1, l_linger: 300)
        setsockopt(raw, SOL_SOCKET, SO_LINGER, &time, socklen_t(MemoryLayout<linger>.size))
        let bytes = [UInt8](repeating: 0x78, count: 65536)
        while send(raw, bytes, bytes.count, Int32(MSG_DONTWAIT)) > 0 {}
        var status = stat()
        fstat(raw, &status)
        link = "socket:[\(status.st_ino)]"
    }

    deinit {
        // Where it was never sent, this is the last copy.
        var off = linger(l_onoff: 0, l_linger: 0)
        setsockopt(raw, SOL_SOCKET, SO_LINGER, &off, socklen_t(MemoryLayout<linger>.size))
        close(peer)
        letGo()
    }

    /// Gives up this process's copy, which is not the last one if it was sent.
    public func letGo() {
        if raw >= 0 { close(raw) }
        raw = -1
    }
}
