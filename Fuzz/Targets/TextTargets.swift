import HatcheryDaemon
import HatcheryJobs
import HatcheryProtocol

extension FuzzTarget {
    /// What people write. An error must name its place, and what is accepted must mean one thing.
    static let textTargets: [FuzzTarget] = [
        FuzzTarget(name: "configuration") {
            [
                "zygotes:\n  - {name: python, kind: python, preload: [json], nursery: {min: 1, max: 2}}\n",
                "profiles: {default: {network: none, limits: {wall: {default: 30s, max: 600s}, memory: {default: 512M}}}}\n",
                "socket: {path: /run/h.sock, mode: \"0660\"}\nrules: [{name: all, users: [1000], running: 3}]\n",
            ].map { Array($0.utf8) }
        } run: { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            do throws(ConfigurationError) {
                let configuration = try Configuration(yaml: text, file: "f")
                precondition((try? Configuration(yaml: text, file: "f")) == configuration)
            } catch {
                precondition(!"\(error)".isEmpty)
            }
        },
        FuzzTarget(name: "seccomp") {
            [
                "default errno ENOSYS\nforeign-architecture kill\nallow read # r\n",
                "default kill\nforeign-architecture kill\nrefuse mount EPERM # m\nallow ioctl low32(arg1) == TIOCSTI # i\n"
                    + "answer socket EAFNOSUPPORT arg0 & 0xf != 0 and arg1 >= 3 # s\ntell kill low32(arg1) == SIGSYS # k\nallow kill # k\n",
            ].map { Array($0.utf8) }
        } run: { bytes in
            guard let policy = try? SeccompPolicy(text: String(decoding: bytes, as: UTF8.self), file: "f") else { return }
            for architecture in SeccompArchitecture.allCases {
                for action in [ViolationAction.errno, .kill, .listen] {
                    guard let program = try? SeccompCompiler.compile(policy, onViolation: action, architecture: architecture)
                    else { continue }
                    precondition(program.instructionCount <= SeccompProgram.maximumInstructionCount)
                }
            }
        },
        FuzzTarget(name: "command-line") {
            ["ls -l 'a b' \"c \\\" d\" e\\ f", "", "'", "a\\"].map { Array($0.utf8) }
        } run: { bytes in
            _ = try? CommandLineText.split(String(decoding: bytes, as: UTF8.self))
        },
        FuzzTarget(name: "values") {
            ["512M", "1.5s", "30m", "0x10", "18446744073709551615", "9223372036854775807h"].map { Array($0.utf8) }
        } run: { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            if let size = try? ByteSize.parse(text) { precondition((try? ByteSize.parse(ByteSize.format(size))) == size) }
            if let time = try? DurationText.parse(text) {
                precondition((try? DurationText.parse(DurationText.format(time))) == time)
            }
        },
    ]
}
