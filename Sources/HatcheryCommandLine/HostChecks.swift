import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// What this host offers for sandboxes. Where the kernel can simply be asked by doing it, that is done; files of /proc/sys
/// only say why it failed.
enum HostChecks {
    static func all() -> [HostCheck] {
        [
            kernel(), cloneThree(), namespaces(), identity(), freshProc(), seccomp(), landlock(), controlGroups(),
            network(), memfd(),
            daemonProgram(),
        ]
    }

    /// mount_setattr(2) is the youngest call that nothing stands in for.
    static let oldestKernel = (5, 12)

    private static func kernel() -> HostCheck {
        let release = text("/proc/sys/kernel/osrelease") ?? "unknown"
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        guard numbers.count == 2, (numbers[0], numbers[1]) < oldestKernel else { return .ok("kernel", release) }
        return HostCheck(
            name: "kernel", state: .missing,
            found: "\(release) is older than \(oldestKernel.0).\(oldestKernel.1) (mount_setattr)",
            mend: "boot a newer kernel")
    }

    private static func cloneThree() -> HostCheck {
        let result = hatchery_probe_clone3()
        if result != -ENOSYS && result != -EPERM { return .ok("clone3", "allowed") }
        return HostCheck(
            name: "clone3", state: .missing,
            found: "\(ErrnoNames.describe(-result)): a seccomp policy around us refuses it",
            mend: "docker run --security-opt seccomp=unconfined, or a profile that allows clone3, unshare and mount")
    }

    // MARK: Namespaces

    private static func namespaces() -> HostCheck {
        let result = hatchery_probe_namespaces()
        if result == 0 {
            let most = text("/proc/sys/user/max_user_namespaces") ?? "?"
            return .ok("namespaces", "all seven can be made (at most \(most) user namespaces)")
        }
        let (cause, mend) = namespaceCause(-result)
        return HostCheck(
            name: "namespaces", state: .missing, found: "unshare: \(ErrnoNames.describe(-result))\(cause)", mend: mend)
    }

    private static func namespaceCause(_ errno: Int32) -> (cause: String, mend: String) {
        if text("/proc/sys/user/max_user_namespaces") == "0" {
            return ("; user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=28633")
        }
        if text("/proc/sys/kernel/unprivileged_userns_clone") == "0" && geteuid() != 0 {
            return ("; kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1")
        }
        if text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" && geteuid() != 0 {
            return (
                "; kernel.apparmor_restrict_unprivileged_userns is 1",
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give hatcheryd an AppArmor profile with userns"
            )
        }
        if status("Seccomp") == "2" {
            return (
                "; a seccomp policy is around us",
                "docker run --security-opt seccomp=unconfined, or a profile that allows unshare"
            )
        }
        if errno == ENOSPC {
            return ("; a limit of namespaces is reached", "raise the sysctls below user.max_*_namespaces")
        }
        return ("", "")
    }

    private static func freshProc() -> HostCheck {
        if hatchery_probe_namespaces() != 0 {
            return HostCheck(name: "proc", state: .degraded, found: "cannot be tried without namespaces")
        }
        let result = hatchery_probe_fresh_proc()
        if result == 0 { return .ok("proc", "a fresh /proc can be mounted") }
        return HostCheck(
            name: "proc", state: .degraded,
            found: "a fresh /proc is refused (\(ErrnoNames.describe(-result))): the /proc around us is masked",
            mend: "docker run --security-opt systempaths=unconfined")
    }

    // MARK: Ids

    private static func identity() -> HostCheck {
        if Capabilities.isEffective(CAP_SYS_ADMIN) {
            return .ok("identity", "root: every sandbox has a uid of its own from the daemon's range")
        }
        if geteuid() == 0 && Capabilities.isEffective(CAP_SETUID) && Capabilities.isEffective(CAP_SETGID) {
            return .ok("identity", "a container's root: it gives every sandbox ids of its own by itself")
        }
        let mendRange = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \(userName())"
        for file in ["/etc/subuid", "/etc/subgid"] where !hasRange(file) {
            return HostCheck(
                name: "identity", state: .degraded,
                found: "\(file) lends \(userName()) no range: all sandboxes of this user share one uid", mend: mendRange
            )
        }
        for helper in ["newuidmap", "newgidmap"] where !isInPath(helper) {
            return HostCheck(
                name: "identity", state: .degraded,
                found: "\(helper) is missing: all sandboxes of this user share one uid",
                mend: "apt-get install uidmap")
        }
        return .ok("identity", "user: sandboxes have uids of their own from the lent range")
    }

    private static func userName() -> String {
        getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())"
    }

    private static func hasRange(_ path: String) -> Bool {
        guard let text = try? Files.readText(path) else { return false }
        let names = [userName(), "\(geteuid())"]
        return text.split(separator: "\n").contains { line in
            let parts = line.split(separator: ":")
            return parts.count == 3 && names.contains(String(parts[0])) && (UInt32(parts[2]) ?? 0) >= 4096
        }
    }

    private static func isInPath(_ program: String) -> Bool {
        (DaemonLocator.environment("PATH") ?? "/usr/bin:/bin").split(separator: ":").contains {
            access("\($0)/\(program)", X_OK) == 0
        }
    }

    // MARK: Filters and limits

    private static func seccomp() -> HostCheck {
        let result = hatchery_probe_seccomp()
        if result >= 0 { return .ok("seccomp", "filters can be loaded") }
        return HostCheck(
            name: "seccomp", state: .missing, found: ErrnoNames.describe(-result),
            mend: "boot a kernel with CONFIG_SECCOMP_FILTER, or allow seccomp(2) in the container's policy")
    }

    private static func landlock() -> HostCheck {
        let version = hatchery_probe_landlock()
        if version > 0 { return .ok("landlock", "ABI \(version)") }
        let isOff = version == -EOPNOTSUPP
        return HostCheck(
            name: "landlock", state: .degraded,
            found: isOff
                ? "built into the kernel and switched off" : "the kernel has none (\(ErrnoNames.describe(-version)))",
            mend: isOff ? "add landlock to the kernel's lsm= parameter" : "boot a kernel with CONFIG_SECURITY_LANDLOCK")
    }

    private static func controlGroups() -> HostCheck {
        let name = "cgroup"
        let mounts = (text("/proc/self/mounts") ?? "").split(separator: "\n").map { $0.split(separator: " ") }
        guard let mount = mounts.first(where: { $0.count > 3 && $0[2] == "cgroup2" }) else {
            return HostCheck(
                name: name, state: .degraded,
                found: "no cgroup v2 hierarchy is mounted: limits hold by rlimits and by the daemon",
                mend: "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup")
        }
        let place = String(mount[1])
        let controllers = (text(place + "/cgroup.controllers") ?? "").split(separator: " ").map(String.init)
        let lacking = ["cpu", "memory", "pids"].filter { !controllers.contains($0) }
        let isReadOnly = mount[3].split(separator: ",").contains("ro")
        if isReadOnly {
            return HostCheck(
                name: name, state: .degraded, found: "\(place) is read-only",
                mend: "docker run --cgroupns=private with a writable cgroup")
        }
        if !lacking.isEmpty {
            return HostCheck(
                name: name, state: .degraded, found: "\(place) lacks the controllers \(lacking.joined(separator: " "))",
                mend: "boot with cgroup_no_v1=\(lacking.joined(separator: ",")) or systemd.unified_cgroup_hierarchy=1")
        }
        return .ok(name, "v2 at \(place) with \(controllers.joined(separator: " "))")
    }

    // MARK: Network

    /// What sandboxes with `nat` need; those without need nothing.
    private static func network() -> HostCheck {
        func lacking(_ found: String, _ mend: String) -> HostCheck {
            HostCheck(name: "network", state: .degraded, found: found + ": no sandbox can have `nat`", mend: mend)
        }
        guard HostPrograms.find(HostPrograms.nft) != nil else {
            return lacking("nft is not installed", "apt-get install nftables")
        }
        if Capabilities.isEffective(CAP_SYS_ADMIN) {
            guard Capabilities.isEffective(CAP_NET_ADMIN) else {
                return lacking("CAP_NET_ADMIN is missing", "docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN")
            }
            guard text("/proc/sys/net/ipv4/ip_forward") == "1" else {
                return lacking("the host does not forward packets", "sysctl -w net.ipv4.ip_forward=1, and for good a file in /etc/sysctl.d")
            }
            return .ok("network", "nat: the host forwards, and nft is there")
        }
        guard let pasta = HostPrograms.find(HostPrograms.pasta) else {
            return lacking("pasta is not installed", "apt-get install passt; elsewhere than in /usr/bin it is named by nat.pasta")
        }
        do throws(SystemError) {
            _ = try Files.open(HostPrograms.tunnelDevice, flags: O_RDWR)
        } catch {
            return lacking(
                "\(error)", "modprobe tun, and chmod 0666 \(HostPrograms.tunnelDevice); in a container --device \(HostPrograms.tunnelDevice)")
        }
        return .ok("network", "nat: by \(pasta)")
    }

    private static func memfd() -> HostCheck {
        do throws(SystemError) {
            _ = try SealedMemory.make(name: "doctor", bytes: [1])
            return .ok("memfd", "sealed memory can be made")
        } catch {
            return HostCheck(name: "memfd", state: .missing, found: error.description)
        }
    }

    private static func daemonProgram() -> HostCheck {
        do throws(HatcheryError) {
            return .ok("hatcheryd", try PrivateDaemon.program())
        } catch {
            return HostCheck(
                name: "hatcheryd", state: .degraded, found: "no private daemon can be started: \(error.detail)",
                mend: "install hatcheryd beside hatchery; " + error.hint)
        }
    }

    // MARK: Reading

    private static func text(_ path: String) -> String? {
        guard let text = try? Files.readText(path) else { return nil }
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    private static func status(_ key: String) -> String? {
        let lines = (text("/proc/self/status") ?? "").split(separator: "\n")
        return lines.first { $0.hasPrefix(key + ":") }.map {
            $0.dropFirst(key.count + 1).filter { $0 != "\t" && $0 != " " }
        }
    }
}
