import Hatchery
import HatcheryProtocol
import HatcheryTestSupport
import Testing

/// What a preload leaves behind: refused or told, with the one at fault.
@Suite struct AuditTests {
    private func daemon(_ zygote: String) throws -> TestDaemon {
        try TestDaemon(
            "zygotes: [{name: python, kind: python, interpreter: \(Beds.python), nursery: {min: 0, max: 0}, \(zygote)}]")
    }

    private static let shared = "warmup: 'import mmap, builtins; builtins.kept = mmap.mmap(-1, 4096)'"

    @Test func aPreloadThatLeavesSharedMemoryIsRefused() throws {
        let error = #expect(throws: TestDaemon.Refused.self) { try daemon(Self.shared) }
        #expect(error?.description.contains("the warmup left shared memory") == true, "\(String(describing: error))")
        // A lock between processes lies in shared memory too; the module at fault is named.
        let lock = #expect(throws: TestDaemon.Refused.self) {
            try daemon("preload: [json], warmup: 'import multiprocessing, builtins; builtins.kept = multiprocessing.Value(\"i\")'")
        }
        #expect(lock?.description.contains("the warmup left shared memory") == true, "\(String(describing: lock))")
    }

    /// Why it is refused: where it is allowed, two children do meet there.
    @Test func sharedMemoryThatIsAllowedIsAChannelAndTold() async throws {
        let daemon = try daemon(Self.shared + ", allow: [shared_memory]")
        defer { daemon.stop() }
        let client = try await daemon.client()
        _ = try await client.run(.python(code: "kept[:5] = b'hello'"))
        #expect(try await client.run(.python(code: "print(kept[:5])")).stdout == "b'hello'\n")
        let findings = try await client.zygotes().first?.findings ?? []
        #expect(findings.contains { $0.contains("shared memory") }, "\(findings)")
    }

    @Test func aSecretInTheEnvironmentIsRefusedByName() throws {
        for (name, value) in [("API_TOKEN", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("db_password", "x")] {
            let error = #expect(throws: TestDaemon.Refused.self) { try daemon("environment: {\(name): \(value)}") }
            #expect(error?.description.contains("\(name) in the environment") == true, "\(String(describing: error))")
        }
        let set = #expect(throws: TestDaemon.Refused.self) {
            try daemon("warmup: 'import os; os.environ[\"MY_PASSWORD\"] = \"x\"'")
        }
        #expect(set?.description.contains("the warmup left MY_PASSWORD in the environment") == true)
        for harmless in ["environment: {TOKENIZERS_PARALLELISM: \"false\", KEY: x, MONKEY: x}", "environment: {API_TOKEN: x}, allow: [secrets]"] {
            #expect(throws: Never.self) { try daemon(harmless).stop() }
        }
    }

    @Test func socketsAndDescriptorsAreToldAndClosedInChildren() async throws {
        let daemon = try daemon("warmup: 'import socket, builtins; builtins.kept = socket.socket(), open(\"/etc/passwd\")'")
        defer { daemon.stop() }
        let client = try await daemon.client()
        let findings = try await client.zygotes().first?.findings ?? []
        #expect(findings.contains { $0.hasPrefix("the warmup left descriptor") && $0.contains("socket:") }, "\(findings)")
        #expect(findings.contains { $0.contains("/etc/passwd") })
        #expect(daemon.logText.contains("the warmup left descriptor"))
        let result = try await client.run(.python(code: "import os; print(os.listdir('/proc/self/fd'))"))
        #expect(result.stdout == "['0', '1', '2', '3']\n", "the last is the directory that is read")
    }
}
