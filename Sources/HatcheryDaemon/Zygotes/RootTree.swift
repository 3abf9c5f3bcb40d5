import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The default root: what of the host a zygote and its children see.
///
/// The host's /usr read-only, and of /etc only what programs need to start and to find names, certificates, fonts and time
/// zones. The host's own users, keys, configuration and state are not there.
enum RootTree {
    /// Copied, because each is small. numpy does not import without alternatives (BLAS) and ld.so.cache.
    static let copied = [
        "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ssl/certs",
        "/etc/ssl/openssl.cnf", "/etc/ca-certificates.conf", "/etc/localtime", "/etc/timezone", "/etc/fonts",
        "/etc/matplotlibrc", "/etc/mime.types", "/etc/magic", "/etc/protocols", "/etc/services", "/etc/networks",
        "/etc/gai.conf", "/etc/debian_version", "/etc/os-release", "/etc/inputrc", "/etc/terminfo",
        "/etc/java-17-openjdk", "/etc/java-21-openjdk", "/etc/R", "/etc/perl",
    ]

    static func spec(for zygote: ZygoteConfiguration, identity: Identity, extra: [String]) -> ZygoteSpec {
        var spec = ZygoteSpec()
        spec.uid = Identity.zygoteID
        spec.gid = Identity.zygoteID
        spec.emptyGroups = identity.isDistinct
        spec.binds = [.init(source: "/usr", destination: "/usr")]
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] { addTopLevel(name, to: &spec) }
        spec.copies = (copied + pythonConfiguration()).map { .init(source: $0, destination: $0) }
        spec.files = madeUpFiles()
        spec.directories = ["var/cache", "opt", "root", "media"]
        // Programs expect to be able to write there; it is the same budget.
        spec.links.append(.init(path: "/var/tmp", target: "../tmp"))
        for path in extra + zygote.bind where !isBelow(path, "/usr") && !spec.binds.contains(where: { isBelow(path, $0.destination) }) {
            spec.binds.append(.init(source: path, destination: path))
        }
        return spec
    }

    /// On a merged /usr these are links; elsewhere they are directories of their own.
    private static func addTopLevel(_ name: String, to spec: inout ZygoteSpec) {
        let path = "/" + name
        if let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path) {
            spec.links.append(.init(path: path, target: target))
        } else if access(path, F_OK) == 0 {
            spec.binds.append(.init(source: path, destination: path))
        }
    }

    /// Debian keeps sitecustomize and friends in /etc/python3*.
    private static func pythonConfiguration() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/etc")) ?? []
        return names.filter { $0.hasPrefix("python3") }.sorted().map { "/etc/" + $0 }
    }

    /// Users, hosts and lookup order are made up: the host's own are nobody's business inside.
    private static func madeUpFiles() -> [ZygoteSpec.File] {
        func file(_ path: String, _ text: String) -> ZygoteSpec.File { .init(path: path, contents: Array(text.utf8)) }
        return [
            file(
                "/etc/passwd",
                """
                root:x:0:0:root:/:/usr/sbin/nologin
                zygote:x:1:1:zygote:/home/sandbox:/usr/sbin/nologin
                sandbox:x:1000:1000:sandbox:/home/sandbox:/bin/sh
                nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin

                """),
            file("/etc/group", "root:x:0:\nzygote:x:1:\nsandbox:x:1000:\nnogroup:x:65534:\n"),
            file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            file("/etc/hostname", "sandbox\n"),
            file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"),
            file("/etc/resolv.conf", "# no network\n"),
            file("/etc/shells", "/bin/sh\n/bin/bash\n"),
        ]
    }

    static func isBelow(_ path: String, _ directory: String) -> Bool {
        path == directory || path.hasPrefix(directory + "/")
    }
}
