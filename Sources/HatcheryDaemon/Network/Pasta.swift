import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// pasta(1), the way out of the gateway for a daemon that has no right over the host's network: it takes what comes out of one device
/// in the gateway, and speaks to the internet for it with sockets of the daemon's own user.
///
/// It is the daemon's child. It ends when this object does, and with the thread that started it, so that a daemon that is killed
/// leaves none behind.
final class Pasta: @unchecked Sendable {
    /// The device that it makes is there after some 10 ms.
    private static let startNanoseconds: UInt64 = 20_000_000_000
    /// How long is waited for its end where it cannot be killed.
    private static let ownEndMilliseconds: Int32 = 500
    /// What is kept of what it says.
    static let textLimit = 4096

    let program: String
    let pid: Int32
    let pidfd: Descriptor
    /// The reading end of its stderr; not blocking.
    let errors: Descriptor
    let startedAt = MonotonicClock.now()
    /// The last that it said.
    private var said: [UInt8] = []

    /// The program that a configuration means.
    static func program(_ configuration: NatConfiguration) throws(Gateway.Failure) -> String {
        if let path = configuration.pasta {
            if access(path, X_OK) == 0 { return path }
            throw Gateway.Failure(
                "nat.pasta names \(path), which cannot be executed: \(ErrnoNames.describe(hatchery_errno()))",
                hint: "name the program of the package passt there, or leave the key out")
        }
        if let path = HostPrograms.find(HostPrograms.pasta) { return path }
        throw Gateway.Failure(
            "a daemon of an ordinary user has no right over the host's network; it gives one by pasta, which is not installed "
                + "(\(HostPrograms.pasta.joined(separator: ", ")))",
            hint: "install the package passt (apt-get install passt) or name the program in nat.pasta; "
                + "or use --net none, --net loopback, or a hatcheryd that root started", kind: .notPermitted)
    }

    /// Starts it. Called in the host's network namespace.
    /// - Parameter gateway: a descriptor of the gateway's network namespace.
    init(_ program: String, _ plan: NatPlan, gateway: Int32) throws(Gateway.Failure) {
        self.program = program
        do throws(SystemError) {
            try Pasta.checkDevice()
            let null = try Files.open("/dev/null", flags: O_WRONLY)
            let pipe = try Pipe()
            try pipe.readEnd.setNonblocking()
            pid = try Pasta.spawn(program, Pasta.arguments(plan), [gateway, null.raw, pipe.writeEnd.raw])
            do throws(SystemError) {
                pidfd = try Processes.open(pid: pid)
            } catch {
                kill(pid, SIGKILL)
                _ = try? Processes.reap(pid: pid, wait: true)
                throw error
            }
            errors = consume pipe.readEnd
        } catch {
            throw Gateway.Failure(
                "\(program): \(error)",
                hint: error.subject == HostPrograms.tunnelDevice
                    ? "as root: modprobe tun, and chmod 0666 \(HostPrograms.tunnelDevice), which is its usual mode; in a container: --device \(HostPrograms.tunnelDevice)"
                    : "")
        }
    }

    /// - Parameter isThere: whether its device is in the gateway.
    /// - Throws: what it said where it ended instead.
    func waitForDevice(_ isThere: () -> Bool) throws(Gateway.Failure) {
        let deadline = startedAt + Pasta.startNanoseconds
        while !isThere() {
            guard isAlive, MonotonicClock.now() < deadline else {
                let isLate = isAlive
                end()
                throw Gateway.Failure(
                    "\(program) \(isLate ? "made no device in time" : "ended at its start")\(last)",
                    hint: "`hatchery doctor` tells what a network needs")
            }
            usleep(1000)
        }
    }

    deinit { end() }

    /// It would say so itself, but not by which name.
    private static func checkDevice() throws(SystemError) { _ = try Files.open(HostPrograms.tunnelDevice, flags: O_RDWR) }

    /// SECURITY: nothing is forwarded to it or by it (-t, -u, -T, -U), no address of the sandboxes' stands for the host's loopback
    /// (--no-map-gw), and it gives nobody a configuration. Test: RootlessNetworkTests.
    ///
    /// Nor does it change the device once that is there: another link address would have the kernel forget what we wrote down of the
    /// neighbour.
    private static func arguments(_ plan: NatPlan) -> [String] {
        var arguments = [
            "--foreground", "--quiet", "--netns-only", "--netns", "/proc/self/fd/0", "--no-netns-quit",
            "--ns-ifname", Firewall.uplink, "--mac-addr", text(NatPlan.hostLinkAddress),
            "--mtu", "\(plan.mtu)",
            "-t", "none", "-u", "none", "-T", "none", "-U", "none",
            "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra",
        ]
        for block in plan.blocks {
            arguments += ["--address", "\(plan.gatewayAddress(in: block))", "--gateway", "\(plan.hostAddress(in: block))"]
            if !block.base.isVersion6 { arguments += ["--netmask", "\(plan.linkPrefix(of: block))"] }
            if let uplink = plan.configuration.uplink {
                arguments += [block.base.isVersion6 ? "--outbound-if6" : "--outbound-if4", uplink]
            }
        }
        if plan.blocks.count == 1 { arguments.append(plan.blocks[0].base.isVersion6 ? "--ipv6-only" : "--ipv4-only") }
        return arguments
    }

    private static func text(_ linkAddress: [UInt8]) -> String {
        linkAddress.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }

    /// The namespace goes to it as its standard input: it gives up the right to open another process's before it opens one, and it
    /// closes whatever else it inherits.
    private static func spawn(_ program: String, _ words: [String], _ stdio: [Int32]) throws(SystemError) -> Int32 {
        var arguments: [UnsafeMutablePointer<CChar>?] = ([program] + words).map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("LC_ALL=C"), nil]
        defer { for text in arguments + environment { free(text) } }
        return try check(hatchery_spawn_helper(program, &arguments, &environment, stdio, SIGKILL), "fork")
    }

    /// Whether it has not ended, reaped or not.
    var isAlive: Bool {
        var poll = pollfd(fd: pidfd.raw, events: Int16(POLLIN), revents: 0)
        return Glibc.poll(&poll, 1, 0) == 0
    }

    /// Ends and reaps it, where that has not been done.
    ///
    /// The AppArmor profile of the package passt takes signals of unconfined programs alone. A daemon that has a profile, too, has to
    /// take the device away (`Gateway.end`), at which pasta ends by itself.
    func end() {
        do throws(SystemError) {
            try Processes.signal(pidfd.raw, SIGKILL)
        } catch {
            var poll = pollfd(fd: pidfd.raw, events: Int16(POLLIN), revents: 0)
            guard Glibc.poll(&poll, 1, Pasta.ownEndMilliseconds) == 1 else { return }
        }
        _ = reap()
    }

    /// Waits for its end, and takes it. nil where that has been done.
    func reap() -> ExitStatus? { Processes.reap(pidfd: pidfd.raw) }

    /// Takes in what it has said since; a pipe that nobody reads would stop it.
    /// - Returns: false at the end.
    func listen() -> Bool {
        var buffer = [UInt8](repeating: 0, count: Pasta.textLimit)
        while true {
            let count = read(errors.raw, &buffer, buffer.count)
            if count <= 0 { return count < 0 }
            said = (said + buffer[..<count]).suffix(Pasta.textLimit)
        }
    }

    /// The last line that it said, as a continuation of a sentence; empty where it said nothing.
    var last: String {
        _ = listen()
        let lines = String(decoding: said, as: UTF8.self).split(separator: "\n")
        // On a host without a system log that is what it says of every line before it says the line.
        return lines.last { !$0.hasPrefix("Failed to send") }.map { ": \($0)" } ?? ""
    }
}
