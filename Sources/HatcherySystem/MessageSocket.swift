import CHatchery
import Glibc

/// SOCK_SEQPACKET sockets: a message is whole or it is not there, and its descriptors come with it.
public enum MessageSocket {
    /// A private connection, close-on-exec.
    @frozen public struct Pair: ~Copyable {
        public var first: Descriptor
        public var second: Descriptor

        public init() throws(SystemError) {
            var ends: [Int32] = [-1, -1]
            try checkErrno(socketpair(AF_UNIX, MessageSocket.type, 0, &ends), "socketpair")
            first = Descriptor(owning: ends[0])
            second = Descriptor(owning: ends[1])
        }
    }

    /// Descriptors that one message can bring (the kernel's SCM_MAX_FD).
    public static let mostDescriptors = Int(HATCHERY_MAX_FDS)

    static let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)

    /// A listening socket at a path. The caller has made sure that nothing is there.
    /// - Parameter mode: the permission bits of the socket's file.
    public static func listen(path: String, mode: UInt32, backlog: Int32 = 256) throws(SystemError) -> Descriptor {
        let socket = try make()
        // The mode must hold from the first moment, so it comes by umask and not by a later chmod.
        let previous = umask(mode_t(0o777 & ~mode))
        let result = withAddress(path) { bind(socket.raw, $0, $1) }
        let saved = hatchery_errno()
        umask(previous)
        guard let result else { throw SystemError("bind", errno: ENAMETOOLONG, subject: path) }
        if result < 0 { throw SystemError("bind", errno: saved, subject: path) }
        try checkErrno(Glibc.listen(socket.raw, backlog), "listen", path)
        try socket.setNonblocking()
        return socket
    }

    public static func connect(path: String) throws(SystemError) -> Descriptor { try connect(path: path, try make()) }

    /// A datagram socket: for a service that is told and does not answer.
    public static func connectDatagram(path: String) throws(SystemError) -> Descriptor {
        let raw = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        return try connect(path: path, Descriptor(owning: try checkErrno(raw, "socket")))
    }

    private static func connect(path: String, _ socket: consuming Descriptor) throws(SystemError) -> Descriptor {
        guard let result = withAddress(path, { Glibc.connect(socket.raw, $0, $1) }) else {
            throw SystemError("connect", errno: ENAMETOOLONG, subject: path)
        }
        try checkErrno(result, "connect", path)
        return socket
    }

    /// The next waiting connection, or nil.
    public static func accept(_ listener: Int32) throws(SystemError) -> Descriptor? {
        let raw = hatchery_accept(listener)
        if raw == -EAGAIN || raw == -ECONNABORTED || raw == -EINTR { return nil }
        try check(raw, "accept4")
        return Descriptor(owning: raw)
    }

    private static func make() throws(SystemError) -> Descriptor {
        let raw = socket(AF_UNIX, type, 0)
        return Descriptor(owning: try checkErrno(raw, "socket"))
    }

    private static func withAddress<Result>(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result? {
        UnixAddress(path: path)?.withPointer(body)
    }

    /// Sends one message with borrowed descriptors.
    /// - Returns: false where the peer's queue is full and `flags` has MSG_DONTWAIT.
    @discardableResult
    public static func send(
        _ socket: Int32, _ bytes: [UInt8], descriptors: [Int32] = [], dontWait: Bool = false
    ) throws(SystemError) -> Bool {
        let result = hatchery_send_message(
            socket, bytes, bytes.count, descriptors, Int32(descriptors.count), dontWait ? Int32(MSG_DONTWAIT) : 0)
        if result == -EAGAIN { return false }
        try check(result, "sendmsg")
        return true
    }

    /// One received message. Empty bytes mean that the peer closed the connection.
    public struct Message: ~Copyable {
        public var bytes: [UInt8]
        public var descriptors: DescriptorBatch
        /// More bytes or descriptors were sent than the room allowed.
        public var truncated: Bool

        public var isEndOfStream: Bool { bytes.isEmpty }
    }

    /// Receives one message, or nil where none is waiting and `dontWait` holds.
    public static func receive(
        _ socket: Int32, capacity: Int, descriptorRoom: Int, dontWait: Bool = false
    ) throws(SystemError) -> Message? {
        var raws = [Int32](repeating: -1, count: descriptorRoom)
        var count = Int32(descriptorRoom)
        var messageFlags: Int32 = 0
        var result: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, initialized in
            // A peer that closes with something unread resets the connection, and the kernel tells that error once, ahead
            // of what the peer had said before (__skb_try_recv_datagram in net/core/datagram.c).
            for _ in 0..<2 where result == 0 || result == -ECONNRESET {
                result = hatchery_receive_message(
                    socket, buffer.baseAddress, capacity, &raws, &count, &messageFlags,
                    dontWait ? Int32(MSG_DONTWAIT) : 0)
                if result == 0 { break }
                if result == -ECONNRESET { count = Int32(descriptorRoom) }
            }
            initialized = max(0, Int(result))
        }
        if result == -EAGAIN { return nil }
        // A reset peer is a closed peer.
        if result == -ECONNRESET { return Message(bytes: [], descriptors: DescriptorBatch(), truncated: false) }
        try check(result, "recvmsg")
        let truncated = messageFlags & Int32(MSG_TRUNC | MSG_CTRUNC) != 0
        return Message(
            bytes: bytes, descriptors: DescriptorBatch(owning: Array(raws.prefix(Int(count)))), truncated: truncated)
    }

    public static func peer(_ socket: Int32) throws(SystemError) -> hatchery_peer {
        var peer = hatchery_peer()
        try check(hatchery_peer_credentials(socket, &peer), "getsockopt(SO_PEERCRED)")
        return peer
    }
}
