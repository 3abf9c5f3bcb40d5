import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

@testable import HatcheryJobs

/// Rows C1 to C3: what is refused before anything starts. No daemon is asked.
struct HostilePathTests {
    private func open(_ folder: Folder, _ name: String, _ change: (inout ScriptPolicy) -> Void = { _ in }) throws -> ScriptFile {
        var policy = ScriptPolicy(baseDirectory: folder.path)
        change(&policy)
        return try ScriptFile(name, policy: policy)
    }

    private func refusal(_ folder: Folder, _ name: String, _ change: (inout ScriptPolicy) -> Void = { _ in }) -> HatcheryError.Kind? {
        do {
            _ = try open(folder, name, change)
            return nil
        } catch {
            return (error as? HatcheryError)?.kind
        }
    }

    @Test func whatLiesBelowTheBaseIsRead() throws {
        let folder = Folder()
        folder.write("a/b/ok.py", "print(1)")
        for name in ["a/b/ok.py", "./a/./b/ok.py", "a//b/ok.py"] {
            let file = try open(folder, name)
            #expect(file.bytes == Array("print(1)".utf8) && file.interpreter == "/usr/bin/python3" && file.warnings.isEmpty)
        }
    }

    @Test(arguments: [
        "../outside.sh", "a/../../outside.sh", "a/../ok.sh", "..", "a/..", "/etc/passwd", "/tmp/x.sh", "//etc/x.sh", "",
        ".", "./", "ok.sh/", "a/", "x\0.sh", "ok.sh\n", "\u{1B}[2Jok.sh", String(repeating: "a/", count: 3000) + "ok.sh",
        String(repeating: "a", count: 300) + ".sh",
    ])
    func namesThatAreNoNamesAreRefused(_ name: String) {
        let folder = Folder()
        folder.write("ok.sh", "")
        folder.write("a/ok.sh", "")
        #expect([.notPermitted, .invalidRequest].contains(refusal(folder, name)))
    }

    @Test func suffixesDecideAndNothingElse() {
        let folder = Folder()
        for name in ["x", "x.exe", "x.PY", "x.py.txt", ".py", "x."] {
            folder.write(name, "#!/bin/sh\n", mode: 0o755)
            #expect(refusal(folder, name) == .notPermitted)
        }
        folder.write("x.sh", "")
        #expect(refusal(folder, "x.sh", { $0.interpreters = [:] }) == .notPermitted)
        #expect(refusal(folder, "x.sh", { $0.interpreters[".sh"] = "sh" }) == .invalidRequest)
    }

    @Test func symbolicLinksAreRefused() {
        let folder = Folder()
        folder.write("real/ok.sh", "")
        folder.link("file.sh", to: "real/ok.sh")
        folder.link("folder", to: "real")
        folder.link("out", to: "/etc")
        folder.link("passwd.sh", to: "/etc/passwd")
        folder.link("proc", to: "/proc/self/cwd")
        folder.link("loop.sh", to: "loop.sh")
        folder.link("dangling.sh", to: "nothing")
        for name in ["file.sh", "folder/ok.sh", "out/passwd", "out/x.sh", "passwd.sh", "proc/x.sh", "loop.sh", "dangling.sh"] {
            #expect(refusal(folder, name) == .notPermitted)
        }
        let error = #expect(throws: HatcheryError.self) { try ScriptFile("file.sh", policy: ScriptPolicy(baseDirectory: folder.path)) }
        #expect(error?.description.contains("symbolic link") == true)
    }

    @Test func whatIsNoRegularFileIsRefusedAndNotOpened() throws {
        let folder = Folder()
        mkfifo(folder.path + "/fifo.sh", 0o644)
        folder.makeFolder("folder.sh", mode: 0o755)
        let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: (folder.path + "/s.sh").utf8) }
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        for name in ["fifo.sh", "folder.sh", "s.sh"] { #expect(refusal(folder, name) == .notPermitted) }
        if geteuid() == 0 {
            mknod(folder.path + "/null.sh", S_IFCHR | 0o666, makeDevice(1, 3))
            #expect(refusal(folder, "null.sh") == .notPermitted)
        }
        // Nobody who writes to the FIFO was woken up: it was never opened for reading.
        #expect(Glibc.open(folder.path + "/fifo.sh", O_WRONLY | O_NONBLOCK) == -1 && errno == ENXIO)
    }

    private func makeDevice(_ major: UInt, _ minor: UInt) -> UInt { (major & 0xFFF) << 8 | (minor & 0xFF) }

    @Test(arguments: [0o4755, 0o2755, 0o6755, 0o4644])
    func setuidAndSetgidAreRefused(_ mode: Int) {
        let folder = Folder()
        folder.write("x.sh", "", mode: mode_t(mode))
        #expect(refusal(folder, "x.sh") == .notPermitted)
    }

    @Test func whatEverybodyCanChangeIsToldOrRefused() throws {
        let folder = Folder()
        folder.write("open.sh", "", mode: 0o666)
        folder.makeFolder("all", mode: 0o777)
        folder.write("all/x.sh", "")
        folder.makeFolder("all/inner", mode: 0o755)
        folder.write("all/inner/y.sh", "")
        folder.makeFolder("sticky", mode: 0o1777)
        folder.write("sticky/z.sh", "")
        for name in ["open.sh", "all/x.sh", "all/inner/y.sh"] {
            #expect(try open(folder, name).warnings.count == 1)
            #expect(refusal(folder, name, { $0.worldWritable = .refuse }) == .notPermitted)
        }
        #expect(try open(folder, "sticky/z.sh", { $0.worldWritable = .refuse }).warnings.isEmpty)
        let loose = Folder(mode: 0o777)
        loose.write("x.sh", "")
        #expect(refusal(loose, "x.sh", { $0.worldWritable = .refuse }) == .notPermitted)
    }

    @Test func whatIsMissingIsToldApart() {
        let folder = Folder()
        folder.write("file.sh", "")
        #expect(refusal(folder, "none.sh") == .programNotFound)
        #expect(refusal(folder, "none/x.sh") == .programNotFound)
        #expect(refusal(folder, "file.sh/x.sh") == .programNotFound)
        #expect(refusal(folder, "x.sh", { $0.baseDirectory += "/none" }) == .invalidRequest)
    }

    @Test func aScriptWithoutEndIsRefused() {
        let folder = Folder()
        folder.write("huge.sh", "")
        truncate(folder.path + "/huge.sh", 1 << 40)
        #expect(refusal(folder, "huge.sh") == .notPermitted)
    }

    /// Swaps a directory for a link, and a file for another, without end; what is read is always what lies below the base.
    @Test func theSwapOfADirectoryIsSeen() throws {
        let folder = Folder()
        let outside = Folder()
        outside.write("x.sh", "outside")
        folder.write("here/x.sh", "inside")
        folder.link("link", to: outside.path)
        let hasEnded = DispatchSemaphore(value: 0)
        let swapper = Thread { [path = folder.path] in
            defer { hasEnded.signal() }
            while !Thread.current.isCancelled {
                rename(path + "/here", path + "/aside")
                rename(path + "/link", path + "/here")
                rename(path + "/here", path + "/link")
                rename(path + "/aside", path + "/here")
            }
        }
        swapper.start()
        // What is renamed while the folder is being removed would stay.
        defer {
            swapper.cancel()
            hasEnded.wait()
        }
        var (opened, refused) = (0, 0)
        while opened + refused < 30_000 && (opened < 500 || refused < 500) {
            if let file = try? open(folder, "here/x.sh") {
                opened += 1
                if file.bytes != Array("inside".utf8) { Issue.record("what lies outside was read") }
            } else {
                refused += 1
            }
        }
    }

    @Test func argumentsAreCheckedBeforeAnythingStarts() {
        for text in ["", "{", "{\"a\": }", "[1,]", "nul", "'a'", "1 2", "{\"a\"}", "\u{FEFF}{}", String(repeating: "[", count: 100_000)] {
            #expect(throws: HatcheryError.self) { try ScriptRun.check(Array(text.utf8)) }
        }
        #expect(throws: HatcheryError.self) { try ScriptRun.check([0x22, 0xFF, 0x22]) }
        let most = ScriptPolicy.maximumArgumentBytes
        let largest = [UInt8(ascii: "\"")] + [UInt8](repeating: 65, count: most - 2) + [UInt8(ascii: "\"")]
        #expect(throws: Never.self) { try ScriptRun.check(largest) }
        #expect(throws: HatcheryError.self) { try ScriptRun.check(largest + [0x20]) }
    }

    @Test func timeHasItsBounds() throws {
        let policy = ScriptPolicy(baseDirectory: "/")
        #expect(try ScriptRun.bounded(RunOptions(), policy).sandbox.time == .seconds(30))
        #expect(try ScriptRun.bounded(RunOptions(time: .seconds(600)), policy).sandbox.time == .seconds(600))
        for time in [Duration.zero, .seconds(-1), .seconds(601)] {
            #expect(throws: HatcheryError.self) { try ScriptRun.bounded(RunOptions(time: time), policy) }
        }
        var wide = RunOptions()
        #expect(try ScriptRun.bounded(wide, policy).ceiling == .init(stdout: 10 << 20, stderr: 1 << 20))
        (wide.outputLimit, wide.stderrLimit) = (1 << 30, 1 << 30)
        let bounded = try ScriptRun.bounded(wide, policy)
        #expect(bounded.outputLimit == 10 << 20 && bounded.stderrLimit == 1 << 20)
    }
}
