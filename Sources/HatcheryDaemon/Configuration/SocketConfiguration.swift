/// Where clients knock.
public struct SocketConfiguration: Sendable, Equatable {
    /// Absolute, at most 107 bytes: what fits `sockaddr_un` with its NUL.
    public var path = "/run/hatchery/hatchery.sock"
    /// The permission bits of the socket.
    public var mode: UInt32 = 0o660
    /// The group that owns the socket, by name or number; nil leaves the daemon's own.
    public var group: String?

    public init() {}

    static let schema = Schema<SocketConfiguration>([
        .value("path", \.path, socketPath, "The socket on which clients connect"),
        .value("mode", \.mode, .fileMode, "Permission bits of the socket"),
        .value("group", \.group, groupName.optional(absence: "none"), "Group that owns the socket, by name or number"),
    ])

    private static let socketPath = ValueCodec<String>.absolutePath.refined("an absolute path") { path in
        path.utf8.count <= 107 ? nil : "a socket's path has at most 107 bytes, this one has \(path.utf8.count)"
    }

    private static let groupName = ValueCodec<String>.text.refined("a group") { name in
        let isName = !name.isEmpty && name.utf8.count <= 32 && !name.hasPrefix("-")
            && name.utf8.allSatisfy { isWordByte($0) || "-.$".utf8.contains($0) }
        return isName ? nil : "'\(name)' is not the name of a group"
    }
}
