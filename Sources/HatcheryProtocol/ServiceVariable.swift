/// What the daemon tells a Swift zygote that it starts: one variable of its environment.
public struct ServiceVariable: Sendable, Hashable {
    public static let name = "HATCHERY_ZYGOTE"

    /// The number of the control connection.
    public var control: Int32
    /// Whether the heap is to be frozen.
    public var freeze: Bool
    /// What the audit may find without refusing the preload.
    public var allow: [AuditKind]

    public init(control: Int32, freeze: Bool, allow: [AuditKind] = []) {
        self.control = control
        self.freeze = freeze
        self.allow = allow
    }

    /// `NAME=CONTROL:FREEZE:ALLOW:ROOM`. The room is for the title of a child, which overwrites this area: the arguments of a service
    /// alone may be shorter than a title.
    public var assignment: String {
        "\(ServiceVariable.name)=\(control):\(freeze ? 1 : 0):" + allow.map(\.rawValue).joined(separator: ",") + ":"
            + String(repeating: ".", count: WireLimits.titleBytes)
    }

    /// - Parameter value: what stands behind the equals sign.
    public init?(_ value: String) {
        let parts = value.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 4, let control = Int32(parts[0]), parts[1] == "0" || parts[1] == "1" else { return nil }
        self.init(
            control: control, freeze: parts[1] == "1",
            allow: parts[2].split(separator: ",").compactMap { AuditKind(rawValue: String($0)) })
    }
}
