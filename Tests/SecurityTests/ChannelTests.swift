import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// Ways from one sandbox to another that no file leads along: what namespaces separate, what the policy refuses, and what is left
/// open and named in Docs/ThreatModel.md. One sandbox sets a sign and holds it; a second one, and a third after the first has ended, look for it.
@Suite struct ChannelTests {
    struct Channel: Sendable, CustomTestStringConvertible {
        let name: String
        /// Python; `mark` is a word that only this test uses.
        let send: String
        /// Prints "seen" where the sign is there.
        let look: String
        /// Whether a sandbox beside it sees it: only what the threat model names.
        var isOpenBeside = false

        var testDescription: String { name }
    }

    static let channels: [Channel] = [
        Channel(
            name: "System V shared memory", send: "assert c.shmget(0x4843, 4096, 0o1666) >= 0",
            look: "if c.shmget(0x4843, 0, 0) >= 0: print('seen')"),
        Channel(
            name: "System V semaphores", send: "assert c.semget(0x4843, 1, 0o1666) >= 0",
            look: "if c.semget(0x4843, 0, 0) >= 0: print('seen')"),
        Channel(
            name: "System V queues", send: "assert c.msgget(0x4843, 0o1666) >= 0",
            look: "if c.msgget(0x4843, 0) >= 0: print('seen')"),
        // Refused or made: what counts is that nobody else finds it.
        Channel(
            name: "POSIX queues", send: "rt.mq_open(b'/' + mark, os.O_CREAT | os.O_RDWR, 0o666, None)",
            look: "if rt.mq_open(b'/' + mark, os.O_RDONLY) >= 0: print('seen')"),
        Channel(
            name: "POSIX shared memory", send: "open('/dev/shm/' + mark.decode(), 'w').write('x')",
            look: "if os.path.exists('/dev/shm/' + mark.decode()): print('seen')"),
        Channel(
            name: "files", send: "[open(d + mark.decode(), 'w').write('x') for d in ('/tmp/', '/home/sandbox/')]",
            look: "if any(os.path.exists(d + mark.decode()) for d in ('/tmp/', '/home/sandbox/', '/var/tmp/')): print('seen')"),
        Channel(
            name: "abstract sockets",
            send: "s = socket.socket(socket.AF_UNIX); s.bind(b'\\0' + mark); s.listen()",
            look: "if socket.socket(socket.AF_UNIX).connect_ex(b'\\0' + mark) == 0: print('seen')"),
        Channel(
            name: "keys of the user and the session",
            send: "[c.syscall(add_key, b'user', mark, b'x', 1, ring) for ring in (-3, -4, -5)]",
            look: "if any(c.syscall(keyctl, 10, ring, b'user', mark, 0) > 0 for ring in (-3, -4, -5)): print('seen')"),
        Channel(
            name: "process names", send: "open('/proc/self/comm', 'wb').write(mark[:15])",
            look: """
                for pid in filter(str.isdigit, os.listdir('/proc')):
                    if open(f'/proc/{pid}/comm', 'rb').read().strip() == mark[:15]: print('seen')
                """),
        Channel(
            name: "pipe pages of a user",
            // All of the user's soft limit (16,384 pages of /proc/sys/fs/pipe-user-pages-soft) in large pipes.
            send: """
                pipes = []
                try:
                    while len(pipes) < 100: pipes.append(os.pipe()); fcntl.fcntl(pipes[-1][1], 1031, 1 << 20)
                except OSError: pass
                assert len(pipes) > 10
                """,
            look: """
                ends = os.pipe()
                try: fcntl.fcntl(ends[1], 1031, 1 << 20)
                except OSError: print('seen')
                """),
        Channel(
            name: "inotify instances of a user",
            send: """
                held = []
                while len(held) < 100000 and (n := c.inotify_init()) >= 0: held.append(n)
                assert held
                """,
            look: "if c.inotify_init() < 0: print('seen')"),
        Channel(
            name: "advisory locks on shared inodes",
            send: "held = open('/usr/bin/env'); fcntl.flock(held, fcntl.LOCK_EX)",
            look: """
                try: fcntl.flock(open('/usr/bin/env'), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError: print('seen')
                """, isOpenBeside: true),
    ]

    private static let preamble = """
        import ctypes, ctypes.util, fcntl, os, socket, sys
        c = ctypes.CDLL(None, use_errno=True); rt = ctypes.CDLL("librt.so.1", use_errno=True)
        mark = sys.argv[1].encode()
        add_key, keyctl = (248, 250) if os.uname().machine == "x86_64" else (217, 219)

        """

    @Test(.enabled(if: Beds.available(Beds.isRoot, "without root all sandboxes share one user")), arguments: channels)
    func onlyWhatTheThreatModelNamesIsSeen(_ channel: Channel) async throws {
        let client = try await Beds.root().client()
        let mark = "mark-\(UInt32.random(in: 0...UInt32.max))"
        func program(_ body: String) -> Payload { Probe.payload(.exec, code: Self.preamble + body, [mark]) }
        let held = try await client.spawn(
            program(channel.send + "\n" + channel.look + "\nprint('held', flush=True); sys.stdin.read()"), stdinPipe: true)
        let line = try await Self.firstLines(of: held)
        // The look must be able to see: it does so from the same sandbox, where that makes sense.
        #expect(line.hasSuffix("held\n"), "\(channel.name): \(line)")
        let beside = try await client.run(program(channel.look))
        #expect(beside.exitCode == 0, "\(beside.stderr)")
        #expect((beside.stdout.contains("seen")) == channel.isOpenBeside, "\(channel.name), beside")
        held.closeStdin()
        #expect(try await held.wait().exitCode == 0)
        let after = try await client.run(program(channel.look))
        #expect(after.exitCode == 0 && after.stdout == "", "\(channel.name), afterwards")
    }

    /// Reads until "held"; the pipe is polled, so that no thread of the pool waits.
    private static func firstLines(of child: Child) async throws -> String {
        var text = ""
        _ = fcntl(child.stdout.raw, F_SETFL, O_NONBLOCK)
        try await Wait.until("the sign is set") {
            var chunk = [UInt8](repeating: 0, count: 4096)
            let count = read(child.stdout.raw, &chunk, chunk.count)
            if count > 0 { text += String(decoding: chunk[..<count], as: UTF8.self) }
            return text.hasSuffix("held\n") || count == 0
        }
        return text
    }
}
