import CCap
import CHatchery
import Glibc

/// Capabilities through libcap, where a set is read or named; the dropping itself is in the child's own order list.
public enum Capabilities {
    /// The number of capabilities that the running kernel knows: one more than the last.
    ///
    /// libcap finds it by asking the kernel, so a capability newer than this build is dropped too.
    public static var kernelCount: Int32 { cap_max_bits() }

    /// Removes everything from the bounding set of this thread, up to the kernel's own last capability.
    /// - Throws: EPERM without CAP_SETPCAP.
    public static func dropBoundingSet() throws(SystemError) {
        for capability in 0..<kernelCount {
            try checkErrno(cap_drop_bound(capability), "prctl(PR_CAPBSET_DROP)", name(capability))
        }
    }

    public static func clearAmbient() throws(SystemError) {
        try checkErrno(cap_reset_ambient(), "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")
    }

    /// Such as `cap_sys_admin`.
    public static func name(_ capability: Int32) -> String {
        guard let text = cap_to_name(capability) else { return "capability \(capability)" }
        defer { cap_free(text) }
        return String(cString: text)
    }

    /// Whether this process holds a capability in its effective set.
    public static func isEffective(_ capability: Int32) -> Bool {
        guard let set = cap_get_proc() else { return false }
        defer { cap_free(UnsafeMutableRawPointer(set)) }
        var value = CAP_CLEAR
        return cap_get_flag(set, capability, CAP_EFFECTIVE, &value) == 0 && value == CAP_SET
    }
}
