import CHatchery
import Foundation
import Glibc
import Hatchery
import HatcheryTestSupport
import Testing

/// The second line: what Landlock stops when the first line is taken away.
@Suite struct LandlockTests {
    private static func isActive() async throws -> Bool {
        try await Beds.root().client().run(.program("/bin/true")).receipt.active.contains(.landlock)
    }

    /// Two sandboxes in one network namespace: an abstract socket of one is out of the other's reach.
    private func connectAcross(_ without: [LayerSet]) async throws -> String {
        let client = try await Beds.root().client()
        var options = RunOptions()
        options.without = LayerSet(without)
        let name = "hatchery-\(UUID().uuidString)"
        let serve = """
            import socket, sys
            s = socket.socket(socket.AF_UNIX); s.bind("\\0" + sys.argv[1]); s.listen(); print("up", flush=True); s.accept()
            """
        let server = try await client.spawn(.python(code: serve, [name]), options.sandbox)
        var buffer = [UInt8](repeating: 0, count: 8)
        #expect(read(server.stdout.raw, &buffer, 3) == 3)
        let connect = """
            import errno, socket, sys
            try: socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[1]); print("connected")
            except OSError as error: print(errno.errorcode[error.errno])
            """
        let result = try await client.run(.python(code: connect, [name]), options)
        try? await server.kill()
        return result.stdout
    }

    @Test func abstractSocketsEndAtTheSandboxEvenInASharedNetwork() async throws {
        guard Beds.available(try await Self.isActive(), "the kernel has no Landlock") else { return }
        guard hatchery_probe_landlock() >= 6 else { return print("skipped: the kernel's Landlock has no scopes (ABI 6)") }
        #expect(try await connectAcross([LayerSet(.netns)]) == "EPERM\n")
    }

    @Test func withoutBothLayersTheyAreReached() async throws {
        #expect(try await connectAcross([LayerSet(.netns), LayerSet(.landlock)]) == "connected\n")
    }

    @Test func writingWorksWhereItShould() async throws {
        let script = """
            set -e
            for d in /tmp /dev/shm /home/sandbox /extra; do
              mkdir $d/a; echo x > $d/a/f; mv $d/a/f $d/g; ln $d/g $d/h; ln -s g $d/s; mkfifo $d/p; truncate -s 0 $d/g; rm -r $d/a
            done
            echo x > /dev/null; echo out > /dev/stdout; head -c 1 /dev/urandom | wc -c; echo me > /proc/self/comm
            """
        var options = RunOptions()
        options.temporaryFileSystems = [.init(destination: "/extra")]
        let result = try await Beds.root().client().run(.program("/bin/sh", ["-c", script]), options)
        #expect(result.stdout == "out\n1\n", "\(result.stderr)")
        #expect(result.exitCode == 0)
    }
}
