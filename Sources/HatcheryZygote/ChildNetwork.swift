import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The inside of a network: what the init gives to the interface that the front put into its namespace, before it is sealed.
/// The payload never has a right over any of it.
enum ChildNetwork {
    /// Loopback's index in every network namespace.
    private static let loopback: Int32 = 1

    // step 42 (child)
    static func configure(_ network: NetworkSetup) throws(SystemError) {
        let socket = try NetlinkSocket()
        do throws(SystemError) {
            try socket.perform([Links.withoutLinkLocalAddress(NetworkSetup.interfaceIndex)])
        } catch {
            // A kernel without IPv6 has no such address.
            if error.errno != EAFNOSUPPORT && error.errno != EOPNOTSUPP { throw error }
        }
        var messages = [Links.bringUp(loopback), Links.bringUp(NetworkSetup.interfaceIndex)]
        for route in network.routes { messages += requests(route, network) }
        try socket.perform(messages)
    }

    private static func requests(_ route: NetworkSetup.Route, _ network: NetworkSetup) -> [NetlinkMessage] {
        let index = NetworkSetup.interfaceIndex
        let family = route.address.family
        return [
            Links.address(route.address, prefix: route.address.bits, on: index),
            Links.neighbour(route.gateway, network.gatewayLinkAddress, on: index),
            Links.route(to: (route.gateway, route.gateway.bits), on: index, family: family),
            Links.route(to: nil, via: route.gateway, on: index, family: family),
        ]
    }

    static let resolverPath = "/etc/resolv.conf"

    /// Puts resolv.conf over the root's own: a file of the scratch space, read-only, that belongs to the sandbox's root.
    static func placeResolver(_ text: String, scratch: Int32, root: Int32) throws(SystemError) {
        let name = "resolv.conf"
        let file = Descriptor(
            owning: try check(hatchery_openat(scratch, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644), "openat", name))
        let bytes = Array(text.utf8)
        try checkErrno(write(file.raw, bytes, bytes.count), "write", name)
        let tree = try Mounts.cloneTree(at: scratch, name, recursive: false)
        try Mounts.setAttributes(tree.raw, [.readOnly, .noSetuid, .noDevices, .noExecution], recursive: false)
        try RootAssembly.attach(tree.raw, root, resolverPath)
    }
}
