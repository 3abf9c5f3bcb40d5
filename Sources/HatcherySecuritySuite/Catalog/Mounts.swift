import HatcheryProtocol

// Mounts, namespaces and the ids in them.
extension Catalog {
    private static func refusedMount(_ name: String, _ tried: String, _ attempt: String, _ published: [String] = []) -> Probe {
        Probe("mounts." + name, tried, [.seccomp, .caps], .attempt(attempt), .refused("EPERM"), published: published)
    }

    /// A call of the mount API that came after many deny lists (CVE-2021-41133).
    private static func newMountCall(_ call: String, _ arguments: String, _ published: [String] = []) -> Probe {
        Probe(
            "mounts." + call, "\(call), which came after many deny lists", [.seccomp, .caps],
            .attempt("sys \(call) \(arguments)"), .refused("EPERM", "ENOSYS"), needs: [.kernel(call)],
            published: ["CVE-2021-41133"] + published)
    }

    /// The options of every mount in a mountinfo text whose line breaks became question marks.
    private static func mounts(_ answer: String) -> [[Substring]] {
        answer.dropFirst(3).split(separator: "?").map { $0.split(separator: " ") }.filter { $0.count > 6 }
    }

    static let mounts: [Probe] = [
        refusedMount("tmpfs", "mount a file system", "sys mount s:none s:/tmp s:tmpfs 0 0"),
        refusedMount("bind", "bind the root over /tmp", "sys mount s:/ s:/tmp s:none 4096 0"),
        refusedMount("remount", "make /usr writable", "sys mount s:none s:/usr s:none 4128 0"),
        refusedMount("move", "move /proc away", "sys mount s:/proc s:/tmp s:none 8192 0"),
        refusedMount("share", "make the root shared, so that mounts spread", "sys mount s:none s:/ s:none 0x100000 0"),
        refusedMount(
            "overlay", "mount an overlay", "sys mount s:overlay s:/tmp s:overlay 0 s:lowerdir=/usr,upperdir=/tmp,workdir=/tmp",
            ["CVE-2021-3493", "CVE-2023-0386"]),
        refusedMount("proc", "mount a second /proc", "sys mount s:proc s:/tmp s:proc 0 0"),
        refusedMount("sysfs", "mount /sys", "sys mount s:sysfs s:/tmp s:sysfs 0 0"),
        refusedMount("detach", "unmount what hides something", "sys umount2 s:/proc 2"),
        newMountCall("open_tree", "-100 s:/ 1"),
        newMountCall("move_mount", "-100 s:/proc -100 s:/tmp 0"),
        newMountCall("fsopen", "s:tmpfs 0"),
        newMountCall("fsconfig", "0 0 s:size s:1m 0", ["CVE-2022-0185"]),
        newMountCall("fsmount", "0 0 0"),
        newMountCall("fspick", "-100 s:/ 0"),
        newMountCall("mount_setattr", "-100 s:/ 0 @ 32"),
        newMountCall("open_tree_attr", "-100 s:/ 1 @ 32"),
        Probe(
            "mounts.statmount", "ask for mounts by number", [.seccomp], .attempt("sys statmount @ @ 512 0"),
            .refused("EPERM", "ENOSYS"), needs: [.kernel("statmount")]),
        Probe(
            "mounts.listmount", "list the mounts of a namespace by number", [.seccomp], .attempt("sys listmount @ @ 16 0"),
            .refused("EPERM", "ENOSYS"), needs: [.kernel("listmount")]),
        Probe(
            "mounts.propagation", "find a mount that passes events on to the host", [.mountns],
            .attempt("read /proc/self/mountinfo"),
            .that("no mount is shared or a slave") { answer in
                let all = mounts(answer)
                return !all.isEmpty && !answer.contains(" shared:") && !answer.contains(" master:")
            }, needs: [.layer(.proc)]),
        Probe(
            "mounts.nosuid", "find a mount on which setuid bits count", [.root], .attempt("read /proc/self/mountinfo"),
            .that("every mount is nosuid") { answer in
                let all = mounts(answer)
                return !all.isEmpty && all.allSatisfy { $0[5].split(separator: ",").contains("nosuid") }
            }, needs: [.layer(.proc)]),
        Probe(
            "mounts.read-only", "find /usr or the root mounted writable", [.root], .attempt("read /proc/self/mountinfo"),
            .that("/ and /usr are read-only") { answer in
                let all = mounts(answer).filter { $0[4] == "/" || $0[4] == "/usr" }
                return !all.isEmpty && all.allSatisfy { $0[5].split(separator: ",").contains("ro") }
            }, needs: [.layer(.proc)]),
    ]

    private static let kinds: [(layer: Layer, file: String, flag: String, word: String)] = [
        (.userns, "user", "0x10000000", "user"), (.mountns, "mnt", "0x20000", "mount"),
        (.pidns, "pid", "0x20000000", "pid"), (.netns, "net", "0x40000000", "network"),
        (.ipcns, "ipc", "0x8000000", "IPC"), (.utsns, "uts", "0x4000000", "UTS"),
        (.cgroupns, "cgroup", "0x2000000", "cgroup"),
    ]

    static let namespaces: [Probe] =
        kinds.map { kind in
            Probe(
                "namespaces.own-\(kind.file)", "share a \(kind.word) namespace with another sandbox or the host", [kind.layer],
                .scenario { stage in
                    let question = "do readlink /proc/self/ns/\(kind.file)"
                    let (a, b) = (await stage.a.ask(question), await stage.b.ask(question))
                    guard a.hasPrefix("ok "), b.hasPrefix("ok ") else { return .skipped("no /proc to tell by: \(a)") }
                    let host = await stage.outside.ask(question)
                    return .saw(a == b ? "shared by two sandboxes" : a == host ? "the host's" : "own")
                }, .exactly("own"))
        }
        + kinds.map { kind in
            Probe(
                "namespaces.unshare-\(kind.file)", "unshare into a new \(kind.word) namespace", [.seccomp],
                .attempt("sys unshare \(kind.flag)"), .refused("EPERM"),
                published: kind.layer == .userns ? nestedUserNamespace : [])
        } + [
            Probe(
                "namespaces.unshare-time", "unshare into a new time namespace", [.seccomp], .attempt("sys unshare 0x80"),
                .refused("EPERM")),
            Probe(
                "namespaces.clone-user", "clone into a new user namespace", [.seccomp], .attempt("clone 0x10000000"),
                .refused("EPERM"), published: nestedUserNamespace),
            Probe(
                "namespaces.clone-mount", "clone into a new mount namespace", [.seccomp, .caps], .attempt("clone 0x20000"),
                .refused("EPERM")),
            Probe(
                "namespaces.clone-all", "clone into seven new namespaces at once", [.seccomp], .attempt("clone 0x7e020000"),
                .refused("EPERM"), published: ["CVE-2020-5291"]),
            Probe(
                "namespaces.clone3", "clone3 into a new user namespace, where no filter can see the flags", [.seccomp],
                .attempt("clone3 0x10000000"), .refused("ENOSYS"), needs: [.kernel("clone3")], published: ["CVE-2021-41133"]),
            Probe(
                "namespaces.setns-user", "join a user namespace", [.seccomp], .attempt("sys setns fd:/proc/self/ns/user 0"),
                .refused("EPERM")),
            Probe(
                "namespaces.setns-net", "join a network namespace", [.seccomp, .caps],
                .attempt("sys setns fd:/proc/self/ns/net 0x40000000"), .refused("EPERM")),
            Probe(
                "namespaces.setns-init", "find the init's namespaces to join", [.proc], .attempt("open /proc/1/ns/mnt r"),
                .absent),
        ]

    /// Holes of the kernel that a process reaches once it has a user namespace of its own to be root in.
    private static let nestedUserNamespace = [
        "CVE-2022-0492", "CVE-2022-0185", "CVE-2016-3135", "CVE-2021-22555", "CVE-2022-1015", "CVE-2022-32250",
        "CVE-2023-32233", "CVE-2024-1086", "CVE-2026-43284", "CVE-2026-46300", "CVE-2026-43503", "CVE-2026-53362",
    ]

    /// `inside outside count` for each line of an id map, whose line breaks became question marks.
    private static func mappedIDs(_ answer: String) -> Int {
        answer.dropFirst(3).split(separator: "?").reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
    }

    private static let onlyItsOwnIDs = Expectation.that("one or two ids are mapped") { (1...2).contains(mappedIDs($0)) }

    static let ids: [Probe] = [
        Probe(
            "ids.uid-map", "find other ids than its own in the id map", [.idmap, .userns],
            .attempt("read /proc/self/uid_map"), onlyItsOwnIDs, needs: [.layer(.proc)]),
        Probe(
            "ids.gid-map", "find other groups than its own in the id map", [.idmap, .userns],
            .attempt("read /proc/self/gid_map"), onlyItsOwnIDs, needs: [.layer(.proc)]),
        Probe(
            "ids.write-uid-map", "write the id map", [.userns], .attempt("write /proc/self/uid_map 0"), .unwritable),
        Probe(
            "ids.write-gid-map", "write the group map", [.userns], .attempt("write /proc/self/gid_map 0"), .unwritable),
        Probe(
            "ids.write-setgroups", "allow setgroups again", [.userns], .attempt("write /proc/self/setgroups allow"),
            .unwritable, published: ["CVE-2014-8989"]),
        Probe(
            "ids.setgroups", "shed a group that denies something", [.userns, .caps], .attempt("sys setgroups 0 0"),
            .refused("EPERM"), published: ["CVE-2014-8989"]),
        Probe(
            "ids.setuid-root", "become root", [.caps, .idmap], .attempt("sys setuid 0"), .refused("EPERM", "EINVAL")),
        Probe(
            "ids.setgid-root", "become root's group", [.caps, .idmap], .attempt("sys setgid 0"), .refused("EPERM", "EINVAL")),
        Probe(
            "ids.setuid-other", "become the zygote's user", [.caps, .idmap], .attempt("sys setuid 1"),
            .refused("EPERM", "EINVAL")),
        Probe(
            "ids.not-root", "be root from the start, by whatever the request said", [.idmap], .attempt("ids"),
            .that("neither user nor group is 0") { answer in
                let words = answer.split(separator: " ")
                return words.count == 11 && !words[2...4].contains("0") && !words[6...8].contains("0")
            }, published: ["CVE-2026-30892"]),
        Probe(
            "ids.groups", "keep a group of the daemon", [.userns, .distinctUID], .attempt("ids"),
            .that("no supplementary groups") { $0.hasSuffix(" groups 0") }, needs: [.distinctIDs],
            published: ["CVE-2014-8989"]),
    ]
}
