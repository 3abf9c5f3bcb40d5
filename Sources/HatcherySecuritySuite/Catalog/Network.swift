import CHatchery
import HatcheryProtocol

// Sockets: those of the host, the network, and families where the kernel's bugs were.
extension Catalog {
    private static func unreachable(
        _ name: String, _ tried: String, _ attempt: String, _ published: [String] = []
    ) -> Probe {
        Probe(
            "sockets." + name, tried, [.netns], .attempt(attempt), .refused("ENETUNREACH", "EADDRNOTAVAIL"),
            published: published)
    }

    static let sockets: [Probe] = [
        Probe(
            "sockets.abstract", "connect to an abstract socket of the host", [.netns, .landlock],
            .scenario { stage in
                let name = "outside-" + stage.token
                _ = await stage.outside.ask("here abstract-offer " + name)
                guard await stage.outside.ask("do abstract-find " + name).hasPrefix("ok") else {
                    return .skipped("no abstract socket can be made outside")
                }
                return .saw(await stage.a.ask("do abstract-find " + name))
            }, .refused("ECONNREFUSED")),
        Probe(
            "sockets.path", "connect to a socket of the host", [.root, .mountns],
            .scenario { stage in
                let path = stage.directory + "/socket"
                _ = await stage.outside.ask("here socket-offer " + path)
                guard await stage.outside.ask("do socket-find " + path).hasPrefix("ok") else {
                    return .skipped("no socket can be made outside")
                }
                return .saw(await stage.a.ask("do socket-find " + path))
            }, .absent),
        Probe(
            "sockets.daemon", "connect to the daemon's own socket", [.root, .mountns], .attempt("packets-find {socket}"),
            .absent, needs: [.outside("packets-find {socket}")]),
        Probe(
            "sockets.host-loopback", "connect to a service on the host's loopback", [.netns],
            .scenario { stage in
                let port = 20_000 + Int(stage.outside.pid) % 20_000
                _ = await stage.outside.ask("here inet-offer 127.0.0.1 \(port)")
                guard await stage.outside.ask("do inet-find 127.0.0.1 \(port)").hasPrefix("ok") else {
                    return .skipped("there is no loopback outside either")
                }
                return .saw(await stage.a.ask("do inet-find 127.0.0.1 \(port)"))
            }, .refused("ENETUNREACH")),
        unreachable("internet", "connect to the internet", "inet-find 1.1.1.1 53"),
        unreachable("internet6", "connect to the internet by IPv6", "inet-find 2606:4700:4700::1111 53"),
        unreachable("datagram", "send a DNS question", "inet-send 9.9.9.9 53"),
        unreachable("metadata", "ask a cloud's metadata service", "inet-find 169.254.169.254 80"),
        unreachable("private", "connect to a private address", "inet-find 10.0.0.1 22", ["CVE-2024-29021"]),
        Probe(
            "sockets.interfaces", "find another interface than lo", [.netns], .attempt("read /proc/net/dev"),
            .that("lo alone") { answer in
                let lines = answer.split(separator: "?").dropFirst(2)
                return !lines.isEmpty && lines.allSatisfy { $0.drop { $0 == " " }.hasPrefix("lo:") }
            }, needs: [.layer(.proc)]),
        Probe(
            "sockets.urgent-data", "send urgent data on a Unix socket", [.seccomp], .attempt("oob"), .refused("EOPNOTSUPP"),
            published: ["CVE-2025-38236"]),
        Probe(
            "sockets.raw", "open a raw socket", [.seccomp, .caps], .attempt("sys socket 2 3 1"), .refused("EPERM")),
        Probe(
            "sockets.raw6", "open a raw IPv6 socket", [.seccomp, .caps], .attempt("sys socket 10 3 58"), .refused("EPERM")),
        // The descriptor is none: the filter answers before the kernel looks for it.
        Probe(
            "sockets.stacked-protocol", "put TLS or IPsec of the kernel's on a TCP socket", [.seccomp],
            .attempt("sys setsockopt -1 6 31 @ 4"), .refused("ENOPROTOOPT"), published: ["CVE-2023-0461"]),
        Probe(
            "sockets.encapsulation", "put IPsec of the kernel's on a UDP socket", [.seccomp],
            .attempt("sys setsockopt -1 17 100 @ 4"), .refused("ENOPROTOOPT"), published: ["CVE-2026-43284"]),
        Probe("sockets.pair", "make a socket pair of another family", [.seccomp], .attempt("sys socketpair 16 3 0 @"),
            .refused("EAFNOSUPPORT")),
    ]

    /// A family is asked for with a type that does not exist. The kernel answers EINVAL to that before it looks for the family
    /// (and loads no module), so that EAFNOSUPPORT is the filter's word, whatever this kernel has.
    private static func family(_ name: String, _ number: Int, _ published: [String] = []) -> Probe {
        Probe(
            "families." + name, "open a socket of family \(name)", [.seccomp], .attempt("sys socket \(number) 15 0"),
            .refused("EAFNOSUPPORT"), published: published)
    }

    /// A protocol of the internet families; the filter answers before the kernel looks for it.
    private static func inet(_ name: String, _ arguments: String, _ published: [String] = []) -> Probe {
        Probe(
            "families." + name, "open a socket of protocol \(name)", [.seccomp], .attempt("sys socket \(arguments)"),
            .refused("EPROTONOSUPPORT"), published: published)
    }

    static let families: [Probe] = [
        family(
            "netlink", 16,
            [
                "CVE-2016-3135", "CVE-2021-22555", "CVE-2022-1015", "CVE-2022-32250", "CVE-2023-32233", "CVE-2024-1086",
                "CVE-2026-43284",
            ]),
        family("packet", 17, ["CVE-2017-7308", "CVE-2020-14386"]),
        family("vsock", 40, ["CVE-2024-50264", "CVE-2025-21756"]),
        family("crypto", 38, ["CVE-2026-31431"]),
        family("rxrpc", 33, ["CVE-2026-43500"]),
        family("tipc", 30, ["CVE-2022-0435"]),
        family("key", 15), family("bluetooth", 31), family("can", 29), family("express-data-path", 44),
        family("kernel-multiplexer", 41), family("smc", 43), family("nfc", 39), family("ppp", 24), family("qrtr", 42),
        family("x25", 9), family("ax25", 3), family("appletalk", 5), family("phonet", 35), family("reliable-datagram", 21),
        inet("dccp", "2 6 33", ["CVE-2017-6074"]), inet("sctp", "2 1 132"), inet("udp-lite", "2 2 136"),
        inet("mptcp", "2 1 262"), inet("l2tp", "2 2 115"), inet("ping", "2 2 1"), inet("sctp6", "10 1 132"),
    ]
}
