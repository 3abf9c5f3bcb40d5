/// Paths inside of a sandbox, as requests name them.
public enum SandboxPath {
    /// What is walked through, one name after the other. Whoever judges a path and whoever walks it must see the same names.
    public static func components(_ path: String) -> [String] {
        path.split(separator: "/").filter { $0 != "." }.map(String.init)
    }
}
