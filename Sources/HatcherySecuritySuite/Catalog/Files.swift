import Hatchery
import HatcheryProtocol
import HatcherySystem

// What can be reached by name or by descriptor: the running program's image, descriptors, the old root.
extension Catalog {
    static let image: [Probe] = [
        Probe(
            "image.own-write", "overwrite the running program through /proc/self/exe", [.root, .proc],
            .attempt("open /proc/self/exe w"), .unwritable, published: ["CVE-2019-5736"]),
        Probe(
            "image.init-read", "open the image of the sandbox's init, which is the daemon's", [.proc],
            .attempt("open /proc/1/exe r"), .absent, published: ["CVE-2019-5736"]),
        Probe(
            "image.init-write", "overwrite the init's image", [.proc], .attempt("open /proc/1/exe w"), .absent,
            published: ["CVE-2019-5736"]),
        Probe(
            "image.init-link", "reach the init's image through a link of one's own", [.proc],
            .attempt("open-through-link /tmp/image /proc/1/exe"), .absent, published: ["CVE-2019-5736"]),
        Probe(
            "image.program-write", "overwrite a program of the host's /usr", [.root, .mountns],
            .attempt("open /usr/bin/env w"), .unwritable, published: ["CVE-2019-5736"]),
        Probe(
            "image.program-create", "put a program into the host's /usr", [.root, .mountns],
            .attempt("create /usr/bin/hatchery-escape 0755 x"), .unwritable),
        Probe(
            "image.page-cache", "change a file that can only be read, through the pages that a pipe shares with it", [],
            .scenario { stage in
                let shared = try stage.makeShared("pages")
                defer { HostFiles.remove(shared) }
                try HostFiles.write(shared + "/file", stage.token, mode: 0o644)
                return try await stage.withSandbox { $0.mounts = [.init(shared, at: "/srv/shared")] } _: { agent in
                    let answer = await agent.ask("do splice-merge /srv/shared/file")
                    let outside = try? Files.readText(shared + "/file")
                    return .saw(outside == stage.token ? answer : "the file outside was changed")
                }
            }, .exactly("unchanged"), published: ["CVE-2022-0847"]),
        Probe(
            "image.outside", "open the image of a process outside", [.proc, .pidns], .attempt("open /proc/{outside}/exe r"),
            .absent, needs: [.outside("open /proc/{outside}/exe r")]),
    ]

    static let descriptors: [Probe] = [
        Probe(
            "descriptors.open", "find a descriptor beside the three streams, up to 70000", [.fds], .inAgent("descriptors"),
            .exactly("ok 0 1 2 "), published: ["CVE-2024-21626", "CVE-2016-9962"]),
        Probe(
            "descriptors.directories", "find a directory that was left open", [.fds], .inAgent("directory-descriptors"),
            .exactly("ok "), published: ["CVE-2024-21626"]),
        Probe(
            "descriptors.cwd", "enter a directory through /proc/self/fd", [.fds], .attempt("descriptor-cwd"), .exactly("none"),
            published: ["CVE-2024-21626"]),
        Probe(
            "descriptors.requested-cwd", "have the set-up enter /proc/self/fd/N as the working directory", [.fds],
            .scenario { stage in
                for number in [3, 7, 8, 9, 10] {
                    let seen = await stage.outcome { $0.workingDirectory = "/proc/self/fd/\(number)" }
                    if seen == "it ran" { return .saw("it ran in /proc/self/fd/\(number)") }
                }
                return .saw("refused")
            }, .exactly("refused"), published: ["CVE-2024-21626"]),
        Probe(
            "descriptors.init-list", "list the descriptors of the init", [.proc], .attempt("list /proc/1/fd"), .absent,
            published: ["CVE-2016-9962"]),
        Probe(
            "descriptors.init-cwd", "enter the init's working directory", [.proc], .attempt("open /proc/1/cwd rd"), .absent),
        Probe(
            "descriptors.pidfd-getfd", "take a descriptor out of another process", [.seccomp],
            .attempt("sys pidfd_getfd 0 0 0"), .refused("EPERM"), needs: [.kernel("pidfd_getfd")]),
        Probe(
            "descriptors.streams", "find something else than a pipe as a stream", [.fds],
            .attempt("readlink /proc/self/fd/1"), .that("a pipe") { $0.hasPrefix("ok pipe:") }, needs: [.layer(.proc)]),
    ]

    /// All that a default root may hold at its top.
    private static let topLevel: Set<Substring> = [
        "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc", "root", "run",
        "sbin", "srv", "sys", "tmp", "usr", "var",
    ]

    static let root: [Probe] = [
        Probe(
            "root.up", "leave the root by 64 times `..`", [.root], .attempt("up"),
            .that("nothing but the usual directories") {
                $0.hasPrefix("ok ") && topLevel.isSuperset(of: $0.dropFirst(3).split(separator: ","))
            }),
        Probe(
            "root.up-descriptor", "leave the root by openat(\"..\") on descriptors", [.root], .attempt("up-descriptor"),
            .exactly("ok root"), published: ["CVE-2024-21626"]),
        Probe(
            "root.own-link", "find another root behind /proc/self/root", [.root], .attempt("readlink /proc/self/root"),
            .exactly("ok /"), needs: [.layer(.proc)]),
        Probe("root.init", "list the init's root", [.proc], .attempt("list /proc/1/root"), .absent),
        Probe(
            "root.host-read", "read a file of the host by its name", [.root, .mountns], .attempt("read {readable}"), .absent,
            needs: [.outside("read {readable}")]),
        Probe(
            "root.host-write", "write a file of the host by its name", [.root, .mountns],
            .scenario { stage in
                let answer = await stage.a.ask(stage.filled("do write {writable} x"))
                return .saw(stage.writableCanary == stage.token ? answer : "the file outside was changed")
            }, .absent),
        Probe(
            "root.host-link", "read a file of the host through a link of one's own", [.root],
            .attempt("open-through-link /tmp/link {readable}"), .absent, needs: [.outside("read {readable}")],
            published: ["CVE-2026-87766"]),
        Probe(
            "root.handle", "open a file by its handle, past every mount", [.seccomp, .caps], .attempt("handle /etc/passwd"),
            .that("EPERM or ENOSYS") { $0.hasPrefix("EPERM") || $0.hasPrefix("ENOSYS") },
            needs: [.kernel("name_to_handle_at")]),
        Probe("root.chroot", "chroot", [.seccomp, .caps], .attempt("sys chroot s:/tmp"), .refused("EPERM")),
        Probe("root.pivot", "pivot_root", [.seccomp, .caps], .attempt("sys pivot_root s:/ s:/tmp"), .refused("EPERM")),
        Probe("root.sys", "look at /sys", [.root], .attempt("list /sys"), .refused("ENOENT", "ok ")),
        Probe("root.shadow", "open the host's password hashes", [.root], .attempt("open /etc/shadow r"), .absent),
        Probe(
            "root.users", "read the host's list of users", [.root],
            .scenario { stage in
                let host = await stage.outside.ask("do read /etc/passwd")
                let inside = await stage.a.ask("do read /etc/passwd")
                return .saw(host == inside ? "the host's own" : "made up")
            }, .exactly("made up")),
        Probe(
            "root.scaffold", "find the places where the root was put together", [.root],
            .scenario { stage in
                .saw([await stage.a.ask("do list /mnt"), await stage.a.ask("do list /srv")].joined(separator: " | "))
            }, .that("both empty or absent") { answer in
                let parts = answer.split(separator: "|", omittingEmptySubsequences: false).map { word in
                    String(word.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
                }
                return parts.allSatisfy { $0 == "ok" || $0 == "ENOENT" }
            }, published: ["CVE-2026-87766"]),
        Probe(
            "root.policy", "find the daemon's configuration or policies, to change what holds for the next sandbox", [.root],
            .attempt("list /etc/hatchery"), .absent,
            published: ["CVE-2017-5206", "CVE-2017-5207", "CVE-2016-10117", "CVE-2016-10123"]),
        Probe("root.write", "make a file in the root", [.root], .attempt("create /escape 0644 x"), .unwritable),
        Probe("root.run", "find sockets and pid files in /run", [.root], .attempt("list /run"), .refused("ok ", "ENOENT")),
        Probe(
            "root.etc-write", "change a file that later sandboxes read", [.root, .mountns],
            .attempt("create /etc/ld.so.preload 0644 /tmp/x.so"), .unwritable),
    ]
}
