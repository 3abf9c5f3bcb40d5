import HatcheryProtocol
import Testing

@testable import Hatchery

struct ResultJSONTests {
    @Test func theObjectHasTheNamesAndTheOrderOfTheContract() {
        var ended = Ended(id: "abc", verdict: .exited)
        ended.exitCode = 0
        ended.wallNanoseconds = 12_300_000
        ended.cpuNanoseconds = 4_000_000
        ended.peakMemoryBytes = 1_048_576
        ended.peakProcesses = 3
        let spawned = Spawned(
            id: "abc", pid: 4711, zygote: "python", generation: 4, nurseryHit: true, spawnNanoseconds: 210_000,
            receipt: Receipt(
                active: [LayerSet(.userns), LayerSet(.pidns)], missing: [.init(layer: .landlock, why: "old \"kernel\"")]
            ),
            wallNanoseconds: 1)
        var stdout = OutputCollector(limit: nil, part: .head)
        Array("4é\n\u{1}".utf8).withUnsafeBytes { stdout.append($0) }
        let outcome = RunOutcome(
            spawned: spawned, ended: ended, verdict: .exited, stdout: stdout,
            stderr: OutputCollector(limit: 0, part: .head), stdinWritten: true, files: OwnedDescriptors())
        let result = RunResult(outcome, zygote: "python", files: [])
        #expect(
            result.json == #"""
                {"verdict": "exited", "exit_code": 0, "signal": null, "signal_name": null, "stdout": "4é\n\u0001", "stderr": "", "stdout_truncated_bytes": 0, "stderr_truncated_bytes": 0, "stdout_base64": null, "stdin_written": true, "usage": {"wall_seconds": 0.0123, "cpu_seconds": 0.004, "peak_memory_bytes": 1048576, "peak_pids": 3}, "evidence": {"limit": null, "observed": null, "violations": []}, "spawn": {"zygote": "python", "generation": 4, "nursery_hit": true, "spawn_seconds": 0.00021, "pid": 4711, "id": "abc"}, "receipt": {"active": ["userns", "pidns"], "missing": [{"layer": "landlock", "why": "old \"kernel\""}]}, "files": []}
                """#)
    }

    @Test func aFailureBeforeTheChildIsSetupFailedWithItsReason() {
        let result = RunResult(
            failure: HatcheryError(.setupFailed, side: .child, step: .capabilities, errno: 1), zygote: "exec")
        #expect(result.verdict == .setupFailed)
        #expect(result.evidence.observed == "child: drop capabilities: EPERM (Operation not permitted)")
        #expect(result.json.contains(#""spawn": {"zygote": "exec", "generation": null"#))
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ])
    func base64HasTheVectorsOfItsStandard(text: String, expected: String) {
        #expect(Base64.encode(Array(text.utf8)) == expected)
    }

    @Test func textDropsExactlyTheInvalidBytes() {
        #expect(StreamText([0xE2, 0x82, 0x41]).string == "A")
        #expect(StreamText([0xF5, 0x41, 0xC0, 0x80]).string == "A")
        #expect(StreamText([0xE2, 0x82, 0xAC]).hadInvalidBytes == false)
        // Cut, but what stands at the end was no code point before either.
        #expect(StreamText([0x41, 0xFF], isCutAtEnd: true).hadInvalidBytes)
        #expect(StreamText([0x41, 0xED, 0xA0], isCutAtEnd: true).hadInvalidBytes)
        #expect(StreamText([0x41, 0xF0, 0x9F, 0x98], isCutAtEnd: true) == StreamText([0x41]))
        #expect(StreamText([0x9F, 0x98, 0x80, 0x41], isCutAtStart: true) == StreamText([0x41]))
        // Without a cut a broken end is invalid.
        #expect(StreamText([0x41, 0xF0, 0x9F]).hadInvalidBytes)
    }
}
