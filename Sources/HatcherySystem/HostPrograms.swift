import Glibc

/// Programs of other packages that Hatchery calls, and where those put them. PATH is not asked: a daemon's is its starter's.
public enum HostPrograms {
    /// nft(8), for the rules of networked sandboxes.
    public static let nft = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"]
    /// pasta(1), by which an ordinary user's daemon gives a network.
    public static let pasta = ["/usr/bin/pasta", "/usr/local/bin/pasta"]
    /// What pasta makes its interface with.
    public static let tunnelDevice = "/dev/net/tun"

    /// The first that can be executed.
    public static func find(_ places: [String]) -> String? { places.first { access($0, X_OK) == 0 } }
}
