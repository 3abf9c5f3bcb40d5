import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// User, group and securebits of the processes of a sandbox.
enum Credentials {
    // step 7 (child): after the id maps are written this process still has the zygote's unmapped ids.
    static func becomeInit(_ setup: SetupOrder) throws(SystemError) {
        try check(hatchery_setresgid(setup.initGID), "setresgid", "\(setup.initGID)")
        try check(hatchery_setresuid(setup.initUID), "setresuid", "\(setup.initUID)")
    }

    // step 18 (child): the zygote emptied its groups before it entered its user namespace, and setgroups is denied in this
    // one (CVE-2014-8989), so there is nothing to empty; a group that is there all the same is a fault.
    static func requireNoGroups(_ setup: SetupOrder) throws(SystemError) {
        guard setup.groupsMustBeEmpty else { return }
        let count = try check(hatchery_group_count(), "getgroups")
        if count != 0 { throw SystemError("getgroups", errno: EPERM, subject: "\(count) groups are left") }
    }

    // step 19 (child)
    static func setGID(_ gid: UInt32) throws(SystemError) {
        try check(hatchery_setresgid(gid), "setresgid", "\(gid)")
    }

    // step 20 (child)
    static func setUID(_ uid: UInt32) throws(SystemError) {
        // The next steps need CAP_SETPCAP; leaving uid 0 would clear everything (capabilities(7)).
        try check(hatchery_prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
        try check(hatchery_setresuid(uid), "setresuid", "\(uid)")
        try check(hatchery_raise_permitted_capabilities(), "capset")
    }

    // step 21 (child)
    static func lockSecurebits() throws(SystemError) {
        try check(
            hatchery_prctl(PR_SET_SECUREBITS, UInt(hatchery_securebits_locked), 0, 0, 0), "prctl(PR_SET_SECUREBITS)")
    }
}

enum ResourceLimits {
    // step 33 (child)
    static func apply(_ limit: LaunchOrder.Limit) throws(SystemError) {
        let resource = __rlimit_resource_t(limit.resource)
        var current = rlimit()
        try checkErrno(getrlimit(resource, &current), "getrlimit", "\(limit.resource)")
        // A hard limit can be lowered only; where the daemon itself has less, the child has that.
        let hard = min(rlim_t(limit.hard), current.rlim_max)
        var wanted = rlimit(rlim_cur: min(rlim_t(limit.soft), hard), rlim_max: hard)
        try checkErrno(setrlimit(resource, &wanted), "setrlimit", "\(limit.resource)")
    }
}
