import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

// What a clone finds in itself of its zygote and of earlier requests; what requests can make the daemon do; how runs end.
extension Catalog {
    static let zygote: [Probe] = [
        Probe(
            "zygote.environment", "find the zygote's environment in its own /proc/self/environ", [.proc],
            .inAgent("read /proc/self/environ"),
            .that("the request's variable and what the profile sets") { answer in
                // Nothing that a zygote was started with: it always has these two.
                !answer.contains("OPENBLAS_NUM_THREADS") && !answer.contains("HATCHERY")
            }, needs: [.layer(.proc)]),
        Probe(
            "zygote.command-line", "find the zygote's command line in its own", [.proc], .inAgent("read /proc/self/cmdline"),
            .that("nothing of the interpreter's start") { $0.hasPrefix("ok ") && !$0.contains(" -X utf8") },
            needs: [.layer(.proc)]),
        Probe(
            "zygote.heap-file", "open the memory that all children share for writing", [.caps, .seccomp],
            .inAgent("frozen-file rw"), .refused("EPERM", "EACCES", "ENOENT"), needs: [.layer(.proc)], zygotes: [.python]),
        Probe(
            "zygote.heap-double", "map the shared memory a second time, to write through it", [.seccomp],
            .inAgent("frozen-share"), .refused("EINVAL", "ENOMEM"), needs: [.layer(.proc)], zygotes: [.python]),
        Probe(
            "zygote.heap-write", "change what the next child of the zygote has in its memory", [.mountns],
            .scenario { stage in
                let place = await stage.a.ask("here frozen")
                guard place.hasPrefix("ok 0x") else { return .skipped("there is no frozen heap: \(place)") }
                let address = place.split(separator: " ")[1]
                let before = await stage.b.ask("here peek \(address)")
                guard let byte = UInt8(before.dropFirst(3)) else { return .saw(before) }
                guard await stage.a.ask("here peek \(address)") == before else { return .saw("the two differ beforehand") }
                _ = await stage.a.ask("here poke \(address) \(~byte)")
                let through = await stage.a.ask("here poke-mem \(address) \(~byte)")
                let own = await stage.a.ask("here peek \(address)")
                guard own == "ok \(~byte)" else { return .saw("not even its own was changed: \(own), \(through)") }
                let beside = await stage.b.ask("here peek \(address)")
                let next = try await stage.withSandbox { await $0.ask("here peek \(address)") }
                _ = await stage.a.ask("here poke \(address) \(byte)")
                return .saw(beside == before && next == before ? "its own copy alone" : "another's memory was changed")
            }, .exactly("its own copy alone"), needs: [.layer(.proc)], zygotes: [.python]),
        Probe(
            "zygote.earlier-request", "find an earlier request's arguments, environment or input in its memory", [.fds],
            .scenario { stage in
                // The marker goes through one run by every way in; the next run looks for it. It is given with its bits turned.
                var marker: [UInt8] = Array(stage.token.utf8.reversed())
                marker += Array("0123456789".utf8)
                let text = String(decoding: marker, as: UTF8.self)
                try await stage.withSandbox {
                    $0.environment = [(name: "MARKER", value: text)]
                    $0.title = text
                } _: { agent in
                    _ = await agent.ask("here stat \(text)")
                }
                let turned = marker.map { byte -> String in
                    let digits = String(~byte, radix: 16)
                    return digits.count == 1 ? "0" + digits : digits
                }
                return .saw(try await stage.withSandbox { await $0.ask("here scan \(turned.joined())") })
            }, .exactly("ok 0"), needs: [.layer(.proc)]),
        Probe(
            "zygote.layout", "know the addresses of one child from those of another", [.seccomp],
            .scenario { stage in
                .saw(await stage.a.ask("here layout") == (await stage.b.ask("here layout")) ? "the same" : "its own")
            }, .exactly("its own"), published: ["From Zygote to Morula"], zygotes: [.exec]),
        Probe(
            "zygote.random", "know the random numbers of another child", [.seccomp],
            .scenario { stage in
                let code = "import random, uuid; print(random.random(), uuid.uuid4())"
                var options = RunOptions()
                options.sandbox = Stage.options(without: stage.without)
                let first = try await stage.client.run(.python(code: code), options)
                let second = try await stage.client.run(.python(code: code), options)
                guard first.exitCode == 0, second.exitCode == 0 else { return .saw(first.stderr + second.stderr) }
                return .saw(first.stdout == second.stdout ? "the same" : "its own")
            }, .exactly("its own"), published: ["CVE-2013-7373"], zygotes: [.python]),
        Probe(
            "zygote.parent", "be a child of the zygote or the daemon", [.pidns], .inAgent("ppid"), .exactly("ok 1")),
    ]

    static let daemon: [Probe] = [
        Probe(
            "daemon.title", "put a line of its own into what others read, by a title with a newline", [],
            .scenario { stage in .saw(await stage.outcome { $0.title = "x\nroot: all is well" }) },
            .refused("malformed", "invalid request"), published: ["CVE-2024-31317"]),
        Probe(
            "daemon.variable", "smuggle a second variable in by a newline", [],
            .scenario { stage in
                let answer = try await stage.withSandbox {
                    $0.environment = [(name: "PROBE", value: "1\nSMUGGLED=1")]
                } _: { await $0.ask("here variable SMUGGLED") }
                return .saw(answer)
            }, .exactly("none"), published: ["CVE-2024-31317"]),
        Probe(
            "daemon.cover-proc", "mount something over /proc", [.proc],
            .scenario { stage in .saw(await stage.outcome { $0.mounts = [.init(stage.directory, at: "/proc/self")] }) },
            .refused("invalid request"), published: ["CVE-2019-16884", "CVE-2019-19921"]),
        Probe(
            "daemon.cover-dev", "mount something over /dev", [.root],
            .scenario { stage in .saw(await stage.outcome { $0.mounts = [.init(stage.directory, at: "/dev/null")] }) },
            .refused("invalid request"), published: ["CVE-2025-31133"]),
        Probe(
            "daemon.cover-dotted", "mount something over /proc or /dev by a name with a dot in it", [.proc, .root],
            .scenario { stage in
                var seen: [String] = []
                for place in ["/./proc", "/././dev", "//.//sys"] {
                    seen.append(await stage.outcome { $0.mounts = [.init(stage.directory, at: place)] })
                }
                return .saw(Set(seen).sorted().joined(separator: ", "))
            }, .refused("invalid request"), published: ["CVE-2019-16884", "CVE-2025-31133"]),
        Probe(
            "daemon.mount-upwards", "have a mount point outside of the root", [.root],
            .scenario { stage in
                .saw(await stage.outcome { $0.mounts = [.init(stage.directory, at: "/srv/../../../tmp/x")] })
            }, .refused("invalid request"), published: ["CVE-2024-45310", "CVE-2025-24965"]),
        Probe(
            "daemon.copy-upwards", "have a file copied outside of the root", [.root],
            .scenario { stage in
                .saw(await stage.outcome { $0.filesIn = [.init(stage.directory + "/readable", to: "../../../../tmp/copied")] })
            }, .refused("invalid request"), published: ["CVE-2025-24965"]),
        Probe(
            "daemon.copy-through-link", "have a file copied in through a link that an archive planted", [.root, .mountns],
            .scenario { stage in
                let shared = try stage.makeShared("planted")
                defer { HostFiles.remove(shared) }
                symlink(stage.directory + "/writable", shared + "/script")
                let seen = await stage.outcome {
                    $0.mounts = [.init(shared, at: "/srv/planted", writable: true)]
                    $0.filesIn = [.init(stage.programs.program, to: "/srv/planted/script")]
                }
                return .saw(stage.writableCanary == stage.token ? seen : "the file outside was changed")
            }, .that("the set-up fails") { $0.hasPrefix("set-up failed") },
            published: ["CVE-2024-28185", "CVE-2024-28189"]),
        Probe(
            "daemon.copy-out-link", "have a host's file brought out by leaving a link to it", [.root],
            .scenario { stage in
                var options = RunOptions()
                options.sandbox = Stage.options(without: stage.without)
                let program = Stage.place + stage.token + "-out"
                options.filesIn = [.init(stage.programs.program, to: program)]
                options.filesOut = [.init("/tmp/result", to: stage.directory + "/result")]
                options.stdin = .bytes(Array("do symlink /etc/passwd /tmp/result\n".utf8))
                options.zygote = "exec"
                let result = try await stage.client.run(.program(program), options)
                unlink(stage.directory + "/result")
                return .saw(result.files.first?.error == nil ? "it came out" : "refused")
            }, .exactly("refused"), published: ["CVE-2024-28189", "CVE-2024-42472"]),
        Probe(
            "daemon.bind-link", "see through a link in a mounted directory that leads out of it", [.root],
            .scenario { stage in
                let shared = try stage.makeShared("linked")
                defer { HostFiles.remove(shared) }
                symlink(stage.directory + "/readable", shared + "/link")
                return try await stage.withSandbox { $0.mounts = [.init(shared, at: "/srv/linked")] } _: {
                    .saw(await $0.ask("do read /srv/linked/link"))
                }
            }, .absent, published: ["CVE-2024-42472"]),
        Probe(
            "daemon.other-daemon-child", "end another connection's sandbox by its name", [],
            .scenario { stage in
                do throws(HatcheryError) {
                    try await stage.client.kill(id: "0000000000000000")
                    return .saw("it was ended")
                } catch {
                    return .saw(error.kind == .notFound || error.kind == .notPermitted ? "refused" : "\(error)")
                }
            }, .exactly("refused"), published: ["CVE-2024-32462"]),
    ] + hostileRoots

    /// A root file system whose own links lead the set-up astray.
    private static func hostileRoot(_ name: String, _ link: String, _ published: [String]) -> Probe {
        Probe(
            "daemon.root-\(name)", "bring a root whose /\(link) is a link to the host", [.root, .mountns],
            .scenario { stage in
                let root = stage.directory + "/root-\(name)"
                let outside = try stage.makeShared("outside-\(name)")
                try HostFiles.makeDirectory(root)
                defer {
                    HostFiles.remove(root)
                    HostFiles.remove(outside)
                }
                try HostFiles.copy(stage.programs.program, to: root + "/probe", mode: 0o755)
                if link.contains("/") { try HostFiles.makeDirectory(root + "/" + link.prefix { $0 != "/" }) }
                symlink(outside, root + "/" + link)
                var options = RunOptions()
                options.sandbox = Stage.options(without: stage.without)
                options.rootFileSystem = root
                options.zygote = "exec"
                options.stdin = .bytes(Array("do list /dev\n".utf8))
                var seen = "it ran"
                do throws(HatcheryError) {
                    let result = try await stage.client.run(.program("/probe"), options)
                    let devices = result.stdout.split(separator: "\n").first ?? ""
                    if !devices.contains(",null,ptmx,") { seen = "without devices of its own: \(devices)" }
                } catch {
                    seen = "refused"
                }
                return .saw(HostFiles.isEmpty(outside) ? seen : "something was made outside")
            }, .refused("it ran", "refused"), published: published)
    }

    private static let hostileRoots: [Probe] = [
        hostileRoot("dev", "dev", ["CVE-2026-41579", "CVE-2026-47766", "CVE-2025-31133"]),
        hostileRoot("proc", "proc", ["CVE-2025-52881", "CVE-2019-19921", "CVE-2023-27561", "CVE-2023-28642"]),
        hostileRoot("tmp", "tmp", ["CVE-2026-87766", "CVE-2021-30465"]),
        hostileRoot("home", "home", ["CVE-2026-87766", "CVE-2021-30465"]),
        hostileRoot("shm", "dev/shm", ["CVE-2026-41579"]),
    ]
}

extension HostFiles {
    static func isEmpty(_ path: String) -> Bool {
        guard let directory = try? Files.open(path, flags: O_RDONLY | O_DIRECTORY) else { return false }
        return ((try? Files.names(in: directory.raw, limit: 10)) ?? ["?"]).isEmpty
    }
}
