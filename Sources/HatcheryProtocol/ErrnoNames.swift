import CHatchery

/// How an errno is printed everywhere: `EPERM (Operation not permitted)`.
public enum ErrnoNames {
    /// `EPERM`; `errno 4711` for one without a name.
    public static func name(_ errno: Int32) -> String {
        hatchery_errno_name(errno).map { String(cString: $0) } ?? "errno \(errno)"
    }

    public static func describe(_ errno: Int32) -> String {
        "\(name(errno)) (\(String(cString: hatchery_errno_text(errno))))"
    }
}
