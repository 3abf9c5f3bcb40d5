import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// What comes with `spawned`, as streams: pipes, or a terminal that is read and written by two descriptors. A terminal has one
/// stream only, so stderr is then at its end from the start.
struct ChildStreams: ~Copyable {
    var pidfd: Descriptor
    var stdout: Descriptor
    var stderr: Descriptor
    var stdin: Descriptor?

    /// - Throws: `.malformed` where the descriptors are not those of the contract; a failure of the client's own system calls.
    init(_ descriptors: OwnedDescriptors, of request: SpawnRequest) throws(HatcheryError) {
        let malformed = HatcheryError(.malformed, side: .client, detail: "wrong number of descriptors with spawned")
        guard descriptors.count == (request.terminal != nil ? 2 : request.stdinPipe ? 4 : 3) else { throw malformed }
        if request.terminal != nil { try ChildStreams.completeTerminal(descriptors) }
        guard let pidfd = descriptors.take(0), let stdout = descriptors.take(1), let stderr = descriptors.take(2) else {
            throw malformed
        }
        self.pidfd = pidfd
        self.stdout = stdout
        self.stderr = stderr
        stdin = descriptors.take(3)
    }

    /// pidfd and terminal become pidfd, stdout, stderr and stdin.
    private static func completeTerminal(_ descriptors: OwnedDescriptors) throws(HatcheryError) {
        let flag = hatchery_f_dupfd_cloexec
        do throws(SystemError) {
            descriptors.append(try Files.open("/dev/null", flags: O_RDONLY))
            let copy = try check(hatchery_fcntl(descriptors.borrowed[1], flag, 3), "fcntl(F_DUPFD_CLOEXEC)")
            descriptors.append(Descriptor(owning: copy))
        } catch {
            throw HatcheryError(client: error)
        }
    }
}
