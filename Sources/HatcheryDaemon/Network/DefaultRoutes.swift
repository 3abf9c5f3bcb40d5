import Glibc
import HatcherySystem

/// Whether the calling thread's network namespace knows a way to everywhere, as /proc/net/route and /proc/net/ipv6_route tell.
enum DefaultRoutes {
    private static let limit = 1 << 24
    /// RTF_UP, RTF_REJECT.
    private static let up: UInt32 = 0x1, reject: UInt32 = 0x200

    static func hasIPv4() -> Bool { hasIPv4((try? Files.readText("/proc/thread-self/net/route", limit: limit)) ?? "") }

    static func hasIPv6() -> Bool { hasIPv6((try? Files.readText("/proc/thread-self/net/ipv6_route", limit: limit)) ?? "") }

    /// Columns: interface, destination, gateway, flags, three counts, mask.
    static func hasIPv4(_ table: String) -> Bool {
        table.split(separator: "\n").dropFirst().contains { line in
            let words = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
            guard words.count > 7, words[1] == "00000000", words[7] == "00000000" else { return false }
            return isUsable(words[3])
        }
    }

    /// Columns: destination and its length, source and its length, next hop, three numbers, flags, interface.
    static func hasIPv6(_ table: String) -> Bool {
        table.split(separator: "\n").contains { line in
            let words = line.split(separator: " ")
            guard words.count > 9, words[0].allSatisfy({ $0 == "0" }), words[1] == "00", words[9] != "lo" else { return false }
            return isUsable(words[8])
        }
    }

    private static func isUsable(_ flags: Substring) -> Bool {
        guard let flags = UInt32(flags, radix: 16) else { return false }
        return flags & up != 0 && flags & reject == 0
    }
}
