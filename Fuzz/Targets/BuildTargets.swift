import HatcheryBuildSpec
import HatcheryConfigurationText
import HatcheryJobs
import HatcherySteps

extension FuzzTarget {
    /// What a build reads: its spec, and what comes out of the sandboxes of its sections.
    static let buildTargets: [FuzzTarget] = [
        FuzzTarget(name: "build-spec") {
            [
                "name: n\nbefore:\n  - make\nexecute:\n  rights: {network: loopback, writable: [out]}\n  steps:\n"
                    + "    - {background: serve, port: 80}\n    - shell: test -f x\nafter: [ls]\n",
                "secrets: {token: {file: t}}\npypi: {index-servers: {main: {repository: 'https://x', username: u, password-secret: token}}}\n"
                    + "production: {grant: {network: nat, secrets: [token]}, steps: ['publish {forge-commit-count}']}\n",
            ].map { Array($0.utf8) }
        } run: { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            do throws(ConfigurationError) {
                let spec = try BuildSpec(yaml: text, file: "f")
                precondition((try? BuildSpec(yaml: text, file: "f")) == spec)
            } catch {
                precondition(!"\(error)".isEmpty)
            }
        },
        FuzzTarget(name: "events") {
            [
                StepEvent(.started, task: 1).encoded() + StepEvent(.stdout, task: 1, bytes: [104, 105]).encoded()
                    + StepEvent(.ended, task: 1, bytes: StepEnd(.exited, value: 3).bytes).encoded() + StepEvent(.state).encoded()
            ]
        } run: { bytes in
            // However the bytes are cut, the same events come out.
            var (whole, pieces) = (StepEventReader(), StepEventReader())
            whole.append(bytes)
            var expected: [StepEventReader.Outcome] = []
            while case .event(let event) = whole.next() {
                expected.append(.event(event))
                if event.kind == .ended { _ = StepEnd(event.bytes) }
            }
            var got: [StepEventReader.Outcome] = []
            for byte in bytes {
                pieces.append([byte])
                while case .event(let event) = pieces.next() { got.append(.event(event)) }
            }
            precondition(got == expected)
        },
        FuzzTarget(name: "tree") {
            [tree(kind: 1, path: "a", size: 0) + tree(kind: 2, path: "a/b", size: 3) + [1, 2, 3] + tree(kind: 0, path: "", size: 0)]
        } run: { bytes in
            // Without a descriptor: what is not in the bytes is cut off.
            let reader = TreeStreamReader(-1, ahead: bytes)
            var entries = 0
            while let entry = try? reader.next() {
                let parts = entry.path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
                precondition(!parts.isEmpty && !parts.contains { $0.isEmpty || $0.elementsEqual("..".utf8) || $0.contains(0) })
                precondition(entry.mode & ~0o777 == 0)
                entries += 1
                if entries > bytes.count { preconditionFailure("entries out of nothing") }
            }
        },
    ]

    /// As `TreeStreamWriter` writes a header.
    @Sendable private static func tree(kind: UInt8, path: String, size: UInt8) -> [UInt8] {
        [kind, 0, 0xA4, 1] + [UInt8](repeating: 0, count: 12) + [size] + [UInt8](repeating: 0, count: 7) + [UInt8(path.utf8.count), 0]
            + Array(path.utf8)
    }
}
