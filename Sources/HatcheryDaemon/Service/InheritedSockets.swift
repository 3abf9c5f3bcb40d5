import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The sockets that a service manager opened for us: sd_listen_fds(3), taken over without its library.
public struct InheritedSockets: ~Copyable {
    /// Where clients connect.
    public var listener: Descriptor?
    /// Where metrics are asked for.
    public var metrics: Descriptor?

    /// systemd.socket(5) names a descriptor after its unit unless FileDescriptorName= says otherwise;
    /// systemd-socket-activate(1) says nothing.
    static let metricsNames = ["metrics", "hatcheryd-metrics.socket"]

    private static let first: Int32 = 3
    private static let most = 16

    /// Takes them over: close-on-exec, nonblocking, and each is what it should be. Must come before anything is opened or
    /// started.
    /// - Throws: `.invalidRequest` where a descriptor is not a listening socket of the right type.
    public static func take(environment: [String: String]) throws(HatcheryError) -> InheritedSockets {
        var sockets = InheritedSockets()
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
        // Meant for another process: a shell between the manager and us, for example.
        guard environment["LISTEN_PID"] == "\(getpid())", let count = environment["LISTEN_FDS"].flatMap({ Int($0) }), count > 0
        else { return sockets }
        guard count <= most else { throw refuse("\(count) sockets were passed; at most \(most) make sense", 0) }
        let names = (environment["LISTEN_FDNAMES"] ?? "").split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        for index in 0..<count {
            let descriptor = Descriptor(owning: first + Int32(index))
            let name = index < names.count ? names[index] : ""
            let isMetrics = metricsNames.contains(name)
            try check(descriptor.raw, name, type: isMetrics ? Int32(SOCK_STREAM.rawValue) : Int32(SOCK_SEQPACKET.rawValue))
            if isMetrics && sockets.metrics == nil {
                sockets.metrics = consume descriptor
            } else if !isMetrics && sockets.listener == nil {
                sockets.listener = consume descriptor
            } else {
                throw refuse("the socket \"\(name)\" is one too many", 0)
            }
        }
        return sockets
    }

    private static func check(_ raw: Int32, _ name: String, type: Int32) throws(HatcheryError) {
        // First of all: what is started from here on must not have them.
        guard hatchery_fcntl(raw, F_SETFD, Int(FD_CLOEXEC)) >= 0 else {
            throw refuse("descriptor \(raw) was announced by LISTEN_FDS and is not open", EBADF)
        }
        let flags = hatchery_fcntl(raw, F_GETFL, 0)
        _ = hatchery_fcntl(raw, F_SETFL, Int(flags | O_NONBLOCK))
        guard option(raw, SO_TYPE) == type, option(raw, SO_ACCEPTCONN) == 1 else {
            let wanted = type == Int32(SOCK_STREAM.rawValue) ? "ListenStream=" : "ListenSequentialPacket="
            throw refuse("descriptor \(raw) (\"\(name)\") is not a listening socket of \(wanted)", 0)
        }
    }

    private static func option(_ raw: Int32, _ name: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(raw, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }

    private static func refuse(_ detail: String, _ errno: Int32) -> HatcheryError {
        HatcheryError(
            .invalidRequest, side: .front, errno: errno, detail: detail,
            hint: "see packaging/systemd/hatcheryd.socket for a unit that fits")
    }

    /// The path of a listening socket, for messages; empty where it has none.
    public static func path(of raw: Int32) -> String {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(raw, $0, &length) }
        }
        guard result == 0, address.sun_family == sa_family_t(AF_UNIX) else { return "" }
        return withUnsafeBytes(of: address.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
