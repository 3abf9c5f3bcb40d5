import CHatchery
import Glibc
import HatcherySystem

/// nft(8), which speaks to the kernel's packet filter. It runs in the network namespace of the calling thread.
enum PacketFilter {
    struct Failure: Error {
        var detail: String
        var hint: String
    }

    /// Loads a set of rules in one transaction.
    static func load(_ rules: String) throws(Failure) {
        guard let program = HostPrograms.find(HostPrograms.nft) else {
            throw Failure(
                detail: "network nat needs nft, and it is not installed", hint: "install the package nftables (apt-get install nftables)")
        }
        let refusal: String
        do throws(SystemError) {
            let input = try scratch("rules", rules)
            let output = try scratch("answer", "")
            let pid = try spawn(program, input: input.raw, output: output.raw)
            let ended = try Processes.reap(pid: pid, wait: true)
            guard let ended, ExitStatus(waitStatus: ended.status) != .exited(code: 0) else { return }
            lseek(output.raw, 0, SEEK_SET)
            let said = String(decoding: try readAll(output.raw, limit: 65_536), as: UTF8.self)
            refusal = said.split(separator: "\n").first.map(String.init) ?? "nft says nothing of why"
        } catch {
            throw Failure(detail: "\(program): \(error)", hint: "")
        }
        throw Failure(
            detail: "the firewall was not taken: \(refusal)",
            hint: "the kernel must have nf_tables with nat, fib and reject (CONFIG_NF_TABLES, NFT_NAT, NFT_FIB_INET, NFT_REJECT)")
    }

    /// An unnamed file in memory, to be read from its start.
    private static func scratch(_ name: String, _ text: String) throws(SystemError) -> Descriptor {
        let file = Descriptor(owning: try check(hatchery_memfd_create(name, 1 /* MFD_CLOEXEC */), "memfd_create"))
        let bytes = Array(text.utf8)
        try checkErrno(write(file.raw, bytes, bytes.count), "write", name)
        lseek(file.raw, 0, SEEK_SET)
        return file
    }

    private static func spawn(_ program: String, input: Int32, output: Int32) throws(SystemError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, output, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The front blocks the signals that it reads from a descriptor.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(program), strdup("-f"), strdup("-"), nil]
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("LC_ALL=C"), nil]
        defer { for text in arguments + environment { free(text) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, program, &actions, &attributes, &arguments, &environment)
        if result != 0 { throw SystemError("posix_spawn", errno: result, subject: program) }
        return pid
    }
}
