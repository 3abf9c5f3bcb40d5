import Foundation
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem
import HatcheryTestSupport
import Testing

/// `-t`: a terminal of the sandbox's own, for both kinds of zygote, as root and as an ordinary user.
@Suite struct TerminalTests {
    /// What outlives every mistake of these tests, and is never waited for where things go well.
    private let patience = Duration.seconds(15)

    private func options(_ size: TerminalSize = TerminalSize(rows: 33, columns: 101)) -> RunOptions {
        var options = RunOptions()
        options.terminal = size
        return options
    }

    @Test(arguments: Probe.Zygote.allCases)
    func theProgramRunsInATerminalThatItControls(_ zygote: Probe.Zygote) async throws {
        let code = """
            import os, fcntl, struct, termios
            print([os.isatty(n) for n in (0, 1, 2)], os.ttyname(0), os.ttyname(2))
            print(os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpgrp())
            print(struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2])
            with open("/dev/tty", "w") as tty: print("by name", file=tty)
            with open("/dev/stdout", "w") as again: print("by link", file=again)
            print("error", file=__import__("sys").stderr)
            print(sorted(os.listdir("/proc/self/fd")), sorted(os.listdir("/dev/pts")))
            """
        let result = try await Beds.root().client().run(Probe.payload(zygote, code: code), options())
        #expect(result.exitCode == 0, "\(result.stdout)")
        #expect(
            result.stdout == """
                [True, True, True] /dev/pts/0 /dev/pts/0\r
                True True\r
                (33, 101)\r
                by name\r
                by link\r
                error\r
                ['0', '1', '2', '3'] ['0', 'ptmx']\r

                """)
        #expect(result.stderr.isEmpty)
    }

    @Test func asAnOrdinaryUserToo() throws {
        let daemon = try Beds.user()
        let result = try UserClient.run(daemon, ["-t"], ["/usr/bin/tty"])
        #expect(result["stdout"] as? String == "/dev/pts/0\r\n", "\(result)")
    }

    /// The number of a terminal inside means nothing outside, nothing of the host's is to be seen, TIOCSTI is refused, and another
    /// sandbox cannot name it.
    @Test(arguments: Probe.Zygote.allCases)
    func theTerminalIsTheSandboxsOwn(_ zygote: Probe.Zygote) async throws {
        let code = """
            import fcntl, os, termios
            print(os.minor(os.fstat(0).st_rdev), os.stat("/dev/pts").st_dev)
            try: fcntl.ioctl(0, termios.TIOCSTI, b"x")
            except OSError as error: print(error.errno)
            # Taking a terminal away from somebody, as root would: this one is the only one there is.
            for number in range(1, 20): assert not os.path.exists(f"/dev/pts/{number}")
            ends = [os.openpty() for _ in range(10)]
            print([os.ttyname(line) for _, line in ends][-1])
            try:
                while True: ends.append(os.openpty())
            except OSError as error: print("at most", len(ends), error.errno)
            """
        let client = try await Beds.root().client()
        let first = try await client.run(Probe.payload(zygote, code: code), options())
        let second = try await client.run(Probe.payload(zygote, code: code), options())
        let lines = first.stdout.split(separator: "\r\n")
        #expect(lines.count == 4, "\(first.stdout)")
        #expect(lines.dropFirst().prefix(3) == ["\(EPERM)", "/dev/pts/10", "at most 15 \(ENOSPC)"], "\(first.stdout)")
        #expect(lines[0].hasPrefix("0 "))
        var host = stat()
        if stat("/dev/pts", &host) == 0 { #expect(lines[0] != "0 \(host.st_dev)") }
        #expect(second.exitCode == 0)
    }

    @Test(arguments: Probe.Zygote.allCases)
    func aSessionTalksAndResizes(_ zygote: Probe.Zygote) async throws {
        let code = """
            import fcntl, os, signal, struct, termios
            # Not print(): the signal may come in the middle of another one (RuntimeError: reentrant call).
            def size(*_): os.write(1, b"%r\\n" % (struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2],))
            signal.signal(signal.SIGWINCH, size)
            name = input("who? ")
            print("hello", name, flush=True)
            while True:
                try: print("<" + input() + ">", flush=True)
                except EOFError: break
            print("end")
            """
        var options = SessionOptions()
        options.terminal = TerminalSize()
        let session = try await Beds.root().client().session(Probe.payload(zygote, code: code), options)
        #expect(try await session.writeLine("you", timeout: patience).isComplete)
        // The echo of what was typed, then the answer.
        var seen = ""
        while !seen.contains("hello you"), case .line(let line) = try await session.readLine(timeout: patience) {
            seen += line.text
        }
        #expect(seen.contains("who? ") && seen.contains("hello you"))
        try session.resize(to: TerminalSize(rows: 7, columns: 9))
        #expect(try await session.readLine(timeout: patience).text == "(7, 9)\r")
        session.closeInput()
        var last = ""
        while case .line(let line) = try await session.readLine(timeout: patience) { last = line.text }
        #expect(last == "end\r")
        let end = try await session.close(grace: patience)
        #expect(end.verdict == .exited && end.exitCode == 0)
    }

    /// Ctrl-C typed into it is SIGINT for the foreground, and the end of whoever sits at it is SIGHUP.
    @Test func whatIsTypedIsWhatATerminalMakesOfIt() async throws {
        var options = SessionOptions()
        options.terminal = TerminalSize()
        let session = try await Beds.root().client().session(
            .program("/bin/sh", ["-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 1; done"]), options)
        #expect(try await session.readLine(timeout: patience).text == "ready\r")
        #expect(try await session.write([3], timeout: patience).isComplete)
        var seen = ""
        while case .line(let line) = try await session.readLine(timeout: patience) { seen += line.text }
        #expect(seen.contains("caught"))
        #expect(try await session.close(grace: patience).exitCode == 3)
    }

    @Test func stdinReachesItAndItsEndDoesToo() async throws {
        for (text, expected) in [("a\nb\n", "2\r\n"), ("a\nb", "2\r\n"), ("", "0\r\n")] {
            var options = options()
            options.stdin = .bytes(Array(text.utf8))
            let code = "import sys, termios\ns = termios.tcgetattr(0); s[3] &= ~termios.ECHO; termios.tcsetattr(0, termios.TCSANOW, s)\n"
                + "print(len(sys.stdin.read().split()))"
            let result = try await Beds.root().client().run(.program(Beds.python, ["-c", code]), options)
            #expect(result.stdoutBytes.suffix(3) == Array(expected.utf8)[...], "\(result.stdout)")
            #expect(result.stdinWritten)
        }
    }

    @Test func aFloodIsBoundedAndTheLimitEndsIt() async throws {
        var options = options()
        options.time = .seconds(1)
        options.outputLimit = 1000
        let result = try await Beds.root().client().run(.program("/usr/bin/yes"), options)
        #expect(result.verdict == .timedOut && result.stdoutBytes.count == 1000 && result.stdoutTruncatedBytes > 0)
    }

    @Test func withoutATerminalThereIsNothingToResize() async throws {
        let child = try await Beds.root().client().spawn(.program("/bin/cat"), stdinPipe: true)
        #expect(throws: HatcheryError.self) { try child.resize(to: TerminalSize()) }
    }
}
